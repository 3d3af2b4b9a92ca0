"""The switch over HTTP: operators alone, with a reason, and every attempt in the audit log."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from care_collective.db.call import Database
from care_collective.rollout.kpis import Rollout
from care_collective.rollout.switch import command
from care_collective.web.api import health, rollout
from care_collective.web.services import Services
from harness import FIRST_WORDS, Care, Person, Town
from web.test_verbs import refused, shaped
from web_harness import bearer, browser, services_for, start

ROLLOUT = "/api/ops/rollout"
WHY = {"reason": "The numbers of this morning."}


@pytest.fixture
def engine() -> str:
    """The switch is above the engines: one is enough."""
    return "v2"


@pytest.fixture
async def node(scratch: Care) -> AsyncIterator[Services]:
    """A node that the environment tells nothing, on a database of its own."""
    services = services_for(scratch)
    yield services
    await services.close()


async def operator_of(town: Town) -> Person:
    """A member who runs the deployment."""
    operator = await town.member("Otto")
    await town.care.owner.execute("insert into care.operators values ($1, 'a test')", operator.user_id)
    return operator


async def audited(care: Care) -> list[tuple[str, str, bool]]:
    """Who tried what, and whether it was allowed."""
    rows = await care.owner.fetch("select actor, action, allowed from care.audit_log order by at")
    return [tuple(row) for row in rows]


async def test_an_operator_moves_stops_and_resumes_and_everybody_else_is_refused(scratch: Care, node: Services) -> None:
    town = await scratch.town()
    operator, member, owner = await operator_of(town), await town.member("Mia"), await town.member("Olga")
    email = await scratch.owner.fetchval("select email from care.users where id = $1", operator.user_id)
    async with browser(node, town) as client:

        async def post(who: Person, verb: str, body: dict[str, str], key: str | None = None) -> httpx.Response:
            headers = bearer(who) | ({} if key is None else {"Idempotency-Key": key})
            return await client.post(f"{ROLLOUT}/{verb}", json=body, headers=headers)

        async def features(who: Person | None = None) -> bool:
            await node.flags.refresh()
            answer = await client.get("/api/features", headers={} if who is None else bearer(who))
            return bool(answer.json()["messaging_v2"])

        for verb in ("set", "kill", "resume", "cohort"):
            refused(await post(member, verb, {"stage": "on", "why": "other", **WHY}), 403, "permission_denied", "role")
        refused(await client.get(ROLLOUT, headers=bearer(member)), 403, "permission_denied", "role")
        refused(await client.get(ROLLOUT), 401, "unauthenticated")
        assert len(await audited(scratch)) == 5
        assert {line[2] for line in await audited(scratch)} == {False}
        assert not await features()

        shaped(await post(operator, "set", {"stage": "percentage:0", **WHY}), rollout.Changed)
        assert (await features(operator), await features(member)) == (True, False)
        mia = await scratch.owner.fetchval("select email from care.users where id = $1", member.user_id)
        shaped(await post(operator, "cohort", {"action": "add", "email": mia.upper(), **WHY}), rollout.Changed)
        assert (await features(operator), await features(member)) == (False, True)
        shaped(await post(operator, "set", {"stage": "on", **WHY}), rollout.Changed)
        assert await features()

        first = await post(operator, "kill", {"why": "complaints", **WHY}, "tap")
        shaped(first, rollout.Changed)
        again = await post(operator, "kill", {"why": "complaints", **WHY}, "tap")
        assert (again.json(), again.headers["idempotency-replayed"]) == (first.json(), "true")
        told = await post(operator, "kill", {"why": "errors", **WHY})
        assert "stopped already" in refused(told, 409, "conflict", "state").error
        assert not await features()
        offer = await client.post(
            start(await town.request(owner)), json={"initial_message": FIRST_WORDS}, headers=bearer(member)
        )
        assert offer.json()["version"] == "v1"

        seen: Rollout = shaped(await client.get(ROLLOUT, headers=bearer(operator)), Rollout)
        assert (seen.stage, seen.stopped, seen.readable) == ("on", "killed", True)
        assert seen.stopped_by is not None
        assert (seen.stopped_by.actor, seen.stopped_by.why, seen.stopped_by.words) == (
            email,
            "complaints",
            WHY["reason"],
        )
        assert [change.action for change in seen.changes] == ["kill", "set", "cohort_add", "set"]
        assert [member.email for member in seen.cohort] == [mia]
        assert [(n.stage, n.source, n.generation) for n in seen.nodes] == [("off", "database:killed", seen.generation)]

        shaped(await post(operator, "resume", WHY), rollout.Changed)
        assert (await features(member), await features(operator), await features()) == (True, False, False)
        shaped(await post(operator, "cohort", {"action": "remove", "email": mia, **WHY}), rollout.Changed)
        assert (await features(member), await features(operator)) == (False, True)
        health = (await client.get("/api/health")).json()["flag"]
        expected = {"messaging_v2": "internal", "source": "database:stage", "alarm": False, "stale": False}
        assert health.items() >= {**expected, "generation": node.flags.generation}.items()

        assert health["off_means"] == "v1"
        retired = {"reason": "It is time", "force": "true"}
        (await command(Database(scratch.owner), "retire", retired, by=email, login="a test")).data()
        await node.flags.refresh()
        assert (await client.get("/api/health")).json()["flag"]["off_means"] == "paused"
        assert shaped(await client.get(ROLLOUT, headers=bearer(operator)), Rollout).retired
        paused = await client.post(
            start(await town.request(owner)), json={"initial_message": FIRST_WORDS}, headers=bearer(member)
        )
        found = refused(paused, 503, "unavailable", "paused")
        assert found.error.startswith("New offers are paused")
    assert (email, "rollout.kill", True) in await audited(scratch)


async def test_a_member_cannot_fill_the_audit_log(scratch: Care, node: Services) -> None:
    town = await scratch.town()
    members = [await town.member("Mia", status="pending"), await town.member("Ned")]
    async with browser(node, town) as client:
        for member in members * 5:
            body = {"why": "other", "flag": "x" * 60_000, "reason": "r" * 3000}
            refused(
                await client.post(f"{ROLLOUT}/kill", json=body, headers=bearer(member)),
                403,
                "permission_denied",
                "role",
            )
    rows = await scratch.owner.fetch("select actor_id, subject, details::text from care.audit_log order by at")
    assert [row["actor_id"] for row in rows] == [member.user_id for member in members]  # a line each, not one a try
    assert max(len(row["subject"]) + len(row["details"]) for row in rows) < 500
    await scratch.owner.execute("update care.audit_log set at = at - interval '61 seconds'")
    async with browser(node, town) as client:
        await client.post(f"{ROLLOUT}/kill", json={}, headers=bearer(members[0]))
    assert len(await audited(scratch)) == 3


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("set", {"stage": "nearly", **WHY}, "stage"),
    ("set", {"stage": "percentage:abc", **WHY}, "stage"),
    ("set", {"stage": "percentage:150", **WHY}, "stage"),
    ("set", {"stage": "percentage:-5", **WHY}, "stage"),
    ("set", {"stage": "percentage:10.005", **WHY}, "stage"),
    ("set", {"stage": "on"}, "reason"),
    ("set", {"stage": "on", "reason": "\u2800"}, "reason"),
    ("kill", {"why": "other"}, "reason"),
    ("kill", {"why": "weather", **WHY}, "why"),
    ("cohort", {"action": "add", "email": "nobody@example.org", **WHY}, "email"),
    ("cohort", {"action": "greet", "email": "nobody@example.org", **WHY}, "action"),
]


async def test_what_is_wrong_is_refused_in_words_and_audited_and_changes_nothing(scratch: Care, node: Services) -> None:
    town = await scratch.town()
    operator = await operator_of(town)
    before = await scratch.owner.fetchval("select care.read_flags()")
    async with browser(node, town) as client:
        for verb, body, field in WRONG:
            answer = await client.post(f"{ROLLOUT}/{verb}", json=body, headers=bearer(operator))
            assert set(refused(answer, 400, "validation_error").fields or ()) == {field}, body
    assert await scratch.owner.fetchval("select care.read_flags()") == before
    lines = await scratch.owner.fetch("select allowed, details from care.audit_log order by at")
    assert [(line["allowed"], json.loads(line["details"])["arguments"].get("stage")) for line in lines] == [
        (False, body.get("stage")) for _, body, _ in WRONG
    ]


async def test_where_the_environment_declares_the_stage_set_is_refused_and_kill_is_not(scratch: Care) -> None:
    town = await scratch.town()
    operator = await operator_of(town)
    declaring = services_for(scratch, messaging_v2_rollout="on")
    await declaring.flags.refresh()
    async with browser(declaring, town) as client:
        answer = await client.post(f"{ROLLOUT}/set", json={"stage": "off", **WHY}, headers=bearer(operator))
        assert "MESSAGING_V2_ROLLOUT" in refused(answer, 409, "conflict", "state").error
        killed = await client.post(f"{ROLLOUT}/kill", json={"why": "security", **WHY}, headers=bearer(operator))
        shaped(killed, rollout.Changed)
        await declaring.flags.refresh()
        found = health.Flag(**(await client.get("/api/health")).json()["flag"])
        assert (found.messaging_v2, found.source) == ("off", "database:killed")
    await declaring.close()
