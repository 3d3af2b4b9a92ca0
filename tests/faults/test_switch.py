"""The switch on three processes that serve one database: how soon each follows, and what the commands say of it."""

import asyncio
import json
import logging
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from time import monotonic
from typing import Any

import httpx
import pytest

from care_collective.db.call import Database
from care_collective.rollout.switch import reach
from cli.process import Shell
from engines.stage import rounds
from harness import Care, Postgres, care

NODES = 3
# Seconds from the change to the last node (goals.md), as a rule: three processes, the tests and a database may share a
# core. By polls alone three of five rounds would be as fast once in sixty times.
WITHIN = 1.0
SLOWEST = 30.0
POOL = 16  # connections of a node for its members' calls
WAITING = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
LISTENING = (
    "select count(*) from pg_stat_activity "
    "where datname = current_database() and application_name like '%listener' and state = 'idle' and query <> ''"
)
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Site:
    """Three nodes on one database, and the commands beside them."""

    care: Care
    shell: Shell
    environ: dict[str, str]
    clients: list[httpx.AsyncClient]
    pids: list[int]

    async def command(self, *arguments: str) -> Any:  # noqa: ANN401
        """Runs a command of the group beside the nodes."""
        return await asyncio.to_thread(self.shell.run, "rollout", *arguments, **self.environ)

    async def change(self, action: str, **arguments: str) -> dict[str, Any]:
        """A change as a command makes it, without the start of a process."""
        made = await self.care.owner.fetchval(
            "select care.command_rollout($1, $2, null, 'test')", action, json.dumps({"reason": "A test", **arguments})
        )
        answer: dict[str, Any] = json.loads(made)
        assert answer["success"], answer
        return answer

    async def forward(self) -> None:
        """Has V2 on for all, wherever the flag stood, on every node."""
        row = await self.care.owner.fetchrow("select stage, stopped from care.rollout_flags")
        if row["stopped"] is not None or row["stage"] != "on":
            await self.change("set" if row["stopped"] is None else "resume", stage="on")
        await self.told(True)

    async def told(self, expected: bool) -> list[float]:
        """The seconds after which each node answers this to nobody."""
        began = monotonic()

        async def until(client: httpx.AsyncClient) -> float:
            while (await client.get("/api/features")).json()["messaging_v2"] is not expected:
                assert monotonic() - began < SLOWEST
            return monotonic() - began

        return list(await asyncio.gather(*(until(client) for client in self.clients)))

    async def listening(self) -> None:
        """Returns once every node listens."""
        ends = monotonic() + SLOWEST
        while await self.care.owner.fetchval(LISTENING) < NODES:
            assert monotonic() < ends
            await asyncio.sleep(0.01)


def shown(what: str, took: list[float]) -> None:
    """Logs how a series went."""
    log.info("%s, %s rounds: median %.3f s, slowest %.3f s", what, len(took), median(took), max(took))


@pytest.fixture(scope="module")
async def site(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """The three nodes, for all tests of this file."""
    name = await postgres.create()
    environ = {
        "DATABASE_URL": postgres.server.dsn(user="care_app", database=name),
        "DATABASE_OWNER_URL": postgres.server.dsn(database=name),
        "CARE_SECRET_KEY": "a secret key for tests, of 32 bytes",
        "CARE_LOG": "error",
    }
    shell = Shell(tmp_path_factory.mktemp("switch"))
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(care(postgres, name, size=4))
        processes = [shell.serving("serve", "--port", "0", **environ) for _ in range(NODES)]
        nodes = await asyncio.gather(*(asyncio.to_thread(one.__enter__) for one in processes))
        urls = [re.findall(r"ready at (\S+)", node.greeting)[0] for node in nodes]
        clients = [await stack.enter_async_context(httpx.AsyncClient(base_url=url)) for url in urls]
        yield Site(opened, shell, environ, clients, [node.process.pid for node in nodes])
        await asyncio.gather(*(asyncio.to_thread(one.__exit__, None, None, None) for one in processes))
        assert await opened.owner.fetchval("select count(*) from care.rollout_nodes") == 0, "each said goodbye"
    await postgres.drop(name)


async def test_a_kill_reaches_the_last_of_three_nodes_within_a_second(site: Site) -> None:
    took: list[float] = []
    for _ in range(rounds(5)):
        await site.forward()
        _, found = await asyncio.gather(site.change("kill", why="errors"), site.told(False))
        took.append(max(found))
    shown("kill to last node", took)
    assert median(took) <= WITHIN


async def test_nodes_whose_listening_connection_was_just_cut_follow_all_the_same(site: Site) -> None:
    took: list[float] = []
    for _ in range(rounds(2)):
        await site.forward()
        await site.listening()
        cut = await site.care.owner.fetchval(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity "
            "where datname = current_database() and application_name like '%listener'"
        )
        assert cut == NODES
        _, found = await asyncio.gather(site.change("kill", why="errors"), site.told(False))
        took.append(max(found))
    shown("kill after the listener was cut", took)


async def follows_while_busy(site: Site) -> bool:
    """Whether every node follows a kill while calls that wait for a table hold the whole pool of one of them."""
    await site.forward()
    holder = await site.care.connect()
    async with holder.transaction():
        await holder.execute("lock table care.sessions in access exclusive mode")
        cookie = {"cookie": "care_session=any"}
        calls = (site.clients[0].get("/api/auth/me", headers=cookie, timeout=30) for _ in range(POOL + 4))
        busy = [asyncio.create_task(call) for call in calls]
        while await site.care.owner.fetchval(WAITING) < POOL and not any(call.done() for call in busy):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        made = await site.change("kill", why="errors")
        since = datetime.fromisoformat(made["at"])
        nodes = await reach(Database(site.care.owner), generation=made["generation"], since=since, wait_seconds=SLOWEST)
        held = not any(call.done() for call in busy)
    await asyncio.gather(*busy)
    await holder.close()
    assert [node.seconds is not None for node in nodes] == [True] * NODES
    return held


async def test_a_node_whose_members_use_up_every_connection_follows_all_the_same(site: Site) -> None:
    """As with a V2 that hangs. Calls give up after two seconds: where one did, the round has shown nothing."""
    for _ in range(5):
        if await follows_while_busy(site):
            return
    raise AssertionError("no node followed while the pool was held")


async def test_the_commands_say_what_is_in_force_where_and_name_a_silent_node(site: Site) -> None:
    await site.forward()
    killed = await site.command("kill", "--why", "data-loss", "A thread is gone", "--wait", "30", "--json")
    assert killed.code == 0, killed.err
    assert len(killed.json["nodes"]) == NODES
    assert (killed.json["silent"], killed.json["features"]) == ([], {"messaging_v2": False})
    seen = await site.command("status")
    assert seen.code == 0
    assert "A thread is gone" in seen.out
    assert seen.out.count("database:killed") == NODES
    assert "no data" in seen.out
    whole = (await site.command("status", "--json")).json
    assert (whole["in_force"], whole["numbers"]["v2"]["success_rate"], whole["exit"]) == ("off", None, None)

    os.kill(site.pids[0], signal.SIGSTOP)
    try:
        resumed = await site.command("resume", "--why", "It was found", "--wait", "0.5", "--json")
    finally:
        os.kill(site.pids[0], signal.SIGCONT)
    assert resumed.code == 3
    assert [str(site.pids[0]) in name for name in resumed.json["silent"]] == [True]
    assert str(site.pids[0]) in resumed.err
    declared = await asyncio.to_thread(
        site.shell.run, "rollout", "set", "on", "--why", "x", "--yes", **site.environ, MESSAGING_V2_ENABLED="true"
    )
    assert (declared.code, "The environment declares" in declared.err) == (1, True)
    history = (await site.command("history", "--limit", "2", "--json")).json["changes"]
    assert [(change["action"], change["words"]) for change in history] == [
        ("resume", "It was found"), ("kill", "A thread is gone"),
    ]  # fmt: skip
