"""Operators are told once, by a real mail server and a real HTTP server, and again until it has arrived."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from care_collective.rollout.alerts import Alerts, Change, Sender, email_sender, make_senders, url_sender
from mail_harness import mail_server
from rollout.conftest import FLAG, Deployment

SITE = "https://care.example"


@dataclass(slots=True)
class Hook:
    """An HTTP server that keeps what is posted and answers the statuses given, then 204."""

    statuses: list[int] = field(default_factory=list)
    posted: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        status = self.statuses.pop(0) if self.statuses else 204
        if status == 204:
            self.posted.append((headers, body))
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@asynccontextmanager
async def hook_server() -> AsyncIterator[tuple[str, Hook]]:
    """The URL of an HTTP server on this machine, and what it takes."""
    hook = Hook()
    server = await asyncio.start_server(hook.answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/alerts", hook


async def trip(deployed: Deployment) -> str:
    """Has the guard roll back; the change's id."""
    await deployed.attempts("----")
    await deployed.guard.look()
    return str((await deployed.changes("trip"))[0]["id"])


async def operator(deployed: Deployment) -> str:
    """A new operator's address."""
    person = await (await deployed.care.town()).member("Olga")
    await deployed.care.owner.execute(
        "insert into care.operators (user_id, granted_by) values ($1, 'a test')", person.user_id
    )
    return str(await deployed.care.owner.fetchval("select email from care.users where id = $1", person.user_id))


async def test_a_trip_is_told_once_to_every_operator_and_the_url(deployed: Deployment) -> None:
    addresses = sorted([await operator(deployed), await operator(deployed)])
    reference = await trip(deployed)
    async with mail_server() as (smtp, box), hook_server() as (url, hook), httpx.AsyncClient() as outbound:
        senders = make_senders(smtp_url=smtp, alert_url=url, base_url=SITE, outbound=outbound)
        nodes = [Alerts(deployed.care.database, senders) for _ in range(4)]
        await asyncio.gather(*(node.tell() for node in nodes))
        assert await nodes[0].tell() == 0

    ((recipients, message),) = box.taken
    assert sorted(recipients) == addresses
    assert message["Subject"] == "V2 was rolled back by the guard"
    assert reference in message["Message-ID"]
    assert message.get_content_type() == "text/plain"
    text = message.get_content()
    for part in ("4 of the last 4 offers", "New conversations open in V1", reference, SITE, "(detector)"):
        assert part in text

    ((headers, body),) = hook.posted
    assert headers["content-type"] == "application/json"
    assert headers["idempotency-key"] == reference
    assert {name: body[name] for name in ("id", "event", "flag", "why", "actor")} == {
        "id": reference, "event": "rollout.trip", "flag": FLAG, "why": "detector", "actor": "guard",
    }  # fmt: skip
    assert body["numbers"]["helpers"] == 4
    assert (await deployed.changes("trip"))[0]["told_at"] is not None


@pytest.mark.parametrize("local", ["(((", "olga,", '"', ":;", "x>,<"])
async def test_an_odd_address_keeps_no_operator_from_being_told_and_names_nobody_else(
    deployed: Deployment, local: str
) -> None:
    odd, plain = await operator(deployed), await operator(deployed)
    await deployed.care.owner.execute("update care.users set email = $2 || email where email = $1", odd, local)
    await trip(deployed)
    async with mail_server() as (smtp, box), httpx.AsyncClient() as outbound:
        senders = make_senders(smtp_url=smtp, alert_url=None, base_url=SITE, outbound=outbound)
        await Alerts(deployed.care.database, senders).tell()
    ((recipients, _),) = box.taken
    unquoted = {re.sub(r"\\(.)", r"\1", re.sub(r'^"(.*)"@', r"\1@", address)) for address in recipients}
    assert unquoted == {local + odd, plain}


@pytest.mark.parametrize("action", ["kill", "resume", "warn"])
async def test_kill_resume_and_warn_are_told_and_other_changes_are_not(deployed: Deployment, action: str) -> None:
    for name in (action, "set", "rule", "cohort_add"):
        await deployed.care.owner.execute(
            "insert into care.rollout_changes (flag, actor, action, from_stage, to_stage, words) "
            "values ($1, 'olga@example.org', $2, 'on', 'internal', 'Because.')",
            FLAG,
            name,
        )
    told = list[Change]()
    await Alerts(deployed.care.database, {"kept": _keep(told)}).tell()
    (change,) = told
    assert change.action == action
    assert {"kill": "open in V1", "resume": "stage internal", "warn": "open as before"}[action] in change.consequence()


async def test_a_stop_after_v1_has_retired_is_told_as_a_pause(deployed: Deployment) -> None:
    await deployed.care.owner.execute("update care.rollout_flags set retired_at = now()")
    await trip(deployed)
    told = list[Change]()
    await Alerts(deployed.care.database, {"kept": _keep(told)}).tell()
    (change,) = told
    assert "New offers are paused" in change.consequence()


async def test_what_one_channel_has_told_is_not_told_again_when_another_failed(deployed: Deployment) -> None:
    await operator(deployed)
    await trip(deployed)
    async with mail_server() as (smtp, box), hook_server() as (url, hook), httpx.AsyncClient() as outbound:
        senders = make_senders(smtp_url=smtp, alert_url=url, base_url=SITE, outbound=outbound)
        box.refusals, hook.statuses = 2, [500]
        alerts = Alerts(deployed.care.database, senders)
        pauses = []
        for _ in range(3):
            assert await alerts.tell() == 1
            pauses.append(await _pause(deployed))
            if pauses[-1] is not None:
                assert alerts.not_sent == 1
                assert await alerts.tell() == 0  # not before the pause is over
                assert alerts.not_sent == 1
            await deployed.care.owner.execute("update care.rollout_changes set telling_until = now()")
        assert await alerts.tell() == 0
        assert alerts.not_sent == 0
    assert [None if pause is None else round(pause, -1) for pause in pauses] == [10, 20, None]
    assert (len(box.taken), len(hook.posted)) == (1, 1)


async def test_a_node_that_died_while_telling_is_followed_by_another(deployed: Deployment) -> None:
    await trip(deployed)
    await deployed.care.database.value("care.take_untold")  # and no more is heard of it
    told = list[Change]()
    alerts = Alerts(deployed.care.database, {"kept": _keep(told)})
    assert await alerts.tell() == 0
    await deployed.care.owner.execute("update care.rollout_changes set telling_until = now()")
    assert await alerts.tell() == 1
    assert len(told) == 1


async def test_a_clock_that_was_set_back_delays_no_alert_for_long(deployed: Deployment) -> None:
    await trip(deployed)
    await deployed.care.owner.execute("update care.rollout_changes set telling_until = now() + interval '1 day'")
    assert await Alerts(deployed.care.database, {"kept": _keep([])}).tell() == 1


async def test_without_settings_there_is_the_log(deployed: Deployment) -> None:
    await trip(deployed)
    async with httpx.AsyncClient() as outbound:
        senders = make_senders(smtp_url=None, alert_url=None, base_url=SITE, outbound=outbound)
        assert list(senders) == ["log"]
        assert await Alerts(deployed.care.database, senders).tell() == 1
    assert (await deployed.changes("trip"))[0]["told_by"] == ["log"]


async def test_a_server_that_cannot_be_reached_is_a_failed_send(deployed: Deployment) -> None:
    await operator(deployed)
    await trip(deployed)
    async with httpx.AsyncClient() as outbound:
        senders = {
            "email": email_sender("smtp://127.0.0.1:1", base_url=SITE),
            "url": url_sender("http://127.0.0.1:1/", base_url=SITE, outbound=outbound),
        }
        alerts = Alerts(deployed.care.database, senders)
        await alerts.tell()
    assert alerts.not_sent == 1
    assert (await deployed.changes("trip"))[0]["told_by"] == []


def _keep(told: list[Change]) -> Sender:
    async def send(change: Change, operators: Sequence[str]) -> None:
        told.append(change)

    return send


async def _pause(deployed: Deployment) -> float | None:
    value = await deployed.care.owner.fetchval(
        "select extract(epoch from telling_until - now())::double precision from care.rollout_changes"
    )
    return None if value is None else float(value)
