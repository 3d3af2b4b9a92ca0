"""Counting when things break: whose fault a failure is, a database that goes away, a process that is killed."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from care_collective.db.call import Database
from care_collective.errors import CareError, Code
from care_collective.messaging import service
from care_collective.messaging.service import Messaging
from care_collective.rollout import outcomes as counting
from care_collective.rollout.outcomes import BOUNDS_MS, Attempt, Outcomes, kind_of
from care_collective.rollout.policy import OFF, ON, Decision, Source
from engines.stage import holding, waiting
from harness import FIRST_WORDS, Care, Town

V2 = Decision(ON, Source.ENVIRONMENT_STAGE)


def attempt(code: Code | None = None, **more: Any) -> Attempt:  # noqa: ANN401
    """An attempt of a pair of its own, unless one is given."""
    given: dict[str, Any] = {"help_request_id": uuid4(), "user_id": uuid4(), "duration_ms": 12.0, **more}
    return Attempt(community_id=None, version="v2", endpoint="start-conversation", code=code, **given)


async def kinds(care: Care, outcomes: Outcomes) -> list[tuple[str, str | None]]:
    """What stands in the table of one process, oldest first."""
    rows = await care.owner.fetch(
        "select kind, code from care.engine_outcomes where node_id = $1 order by opened_at", outcomes.node_id
    )
    return [(row["kind"], row["code"]) for row in rows]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "success"),
        ({"code": Code.SERVER_ERROR}, "failure"),
        ({"code": Code.RPC_ERROR}, "failure"),
        ({"code": Code.UNAVAILABLE, "sqlstate": "55P03"}, "failure"),
        ({"code": Code.UNAVAILABLE, "sqlstate": "57014"}, "failure"),
        ({"code": Code.UNAVAILABLE, "sqlstate": "40P01"}, "failure"),
        ({"code": Code.UNAVAILABLE, "sqlstate": "53100"}, "shared"),
        ({"code": Code.UNAVAILABLE, "connection": "none"}, "shared"),
        ({"code": Code.UNAVAILABLE, "connection": "none", "sqlstate": "57P03"}, "shared"),
        ({"code": Code.UNAVAILABLE, "connection": "lost", "sqlstate": "57P01"}, None),
        ({"code": Code.UNAVAILABLE, "reason": "engine_off"}, "answer"),
        *[
            ({"code": code}, "answer")
            for code in Code
            if code not in {Code.SERVER_ERROR, Code.RPC_ERROR, Code.UNAVAILABLE}
        ],
    ],
)
def test_whose_fault_an_outcome_is(given: dict[str, Any], expected: str | None) -> None:
    assert kind_of(attempt(**given)) == expected


async def test_the_bounds_of_both_sides_are_the_same(shared: Care) -> None:
    assert tuple(await shared.owner.fetchval("select care.histogram_bounds()")) == BOUNDS_MS


@asynccontextmanager
async def logged_in(care: Care) -> AsyncIterator[Database]:
    """A pool of one connection and little patience."""
    pool = await asyncpg.create_pool(
        care.server.dsn(user="care_app", database=care.name),
        min_size=1,
        max_size=1,
        server_settings={"timezone": "UTC"},
    )
    try:
        yield Database(pool, acquire_seconds=0.1)
    finally:
        pool.terminate()


async def test_a_connection_that_breaks_is_the_engines_fault_while_the_database_answers(scratch: Care) -> None:
    town = await scratch.town()
    helper, request = await town.member("Hal"), await town.request(await town.member("Olga"))
    outcomes = Outcomes(scratch.database, uuid4())
    facade = Messaging(scratch.database, lambda: V2, outcomes=outcomes)
    async with holding(scratch, helper):
        opening = asyncio.create_task(facade.start_help_conversation(helper.caller(), request, FIRST_WORDS))
        await waiting(scratch)
        await scratch.owner.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and wait_event_type = 'Lock'"
        )
        result = await opening
    assert (result.error, outcomes.waiting, dict(outcomes.totals)) == (Code.UNAVAILABLE, 1, {})
    await outcomes.flush()
    assert await kinds(scratch, outcomes) == [("failure", "unavailable")]
    assert list(outcomes.totals) == [("v2", "open", "unavailable")]


async def test_a_connection_that_breaks_is_nobodys_fault_while_the_database_is_away(scratch: Care) -> None:
    async with logged_in(scratch) as database:
        outcomes = Outcomes(database, uuid4())
        running = asyncio.create_task(outcomes.run(every_seconds=60))
        async with database.pool.acquire(), asyncio.timeout(30):  # nothing is left for the trivial call
            outcomes.opened(attempt(Code.UNAVAILABLE, connection="lost", sqlstate="57P01"))
            while ("v2", "open", "shared") not in outcomes.totals:  # noqa: ASYNC110  looked into at once, not at 60 s
                await asyncio.sleep(0.01)
        running.cancel()
        await outcomes.flush()
    assert await kinds(scratch, outcomes) == [("shared", "unavailable")]


async def test_a_pool_with_nothing_left_is_shared(town: Town) -> None:
    helper, request = await town.member("Hal"), await town.request(await town.member("Olga"))
    async with logged_in(town.care) as database:
        outcomes = Outcomes(database, uuid4())
        facade = Messaging(database, lambda: V2, outcomes=outcomes)
        async with database.pool.acquire():
            result = await facade.start_help_conversation(helper.caller(), request, FIRST_WORDS)
            assert result.error == Code.UNAVAILABLE
            with pytest.raises(CareError):
                await facade.list_conversations(helper.caller(), cursor=None, limit=1, filter_="all")
        await outcomes.flush()
    assert await kinds(town.care, outcomes) == [("shared", "unavailable")]
    assert set(outcomes.totals) == {("v2", "open", "shared"), ("both", "read", "shared")}


async def test_what_cannot_be_written_is_kept_and_bounded(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MOST_ATTEMPTS", 5)
    monkeypatch.setattr(counting, "BATCH", 2)
    async with logged_in(town.care) as database:
        outcomes = Outcomes(database, uuid4())
        async with database.pool.acquire():
            for number in range(8):
                outcomes.opened(attempt(reference=str(number)))
                await outcomes.flush()
            assert (outcomes.waiting, outcomes.dropped) == (5, 3)
        await outcomes.flush()
        await outcomes.flush()
        assert (outcomes.waiting, outcomes.dropped) == (0, 3)
    rows = await town.care.owner.fetch(
        "select reference from care.engine_outcomes where node_id = $1 order by reference", outcomes.node_id
    )
    assert [row["reference"] for row in rows] == ["0", "1", "2", "3", "4"]
    written = await town.care.owner.fetchrow(
        "select last_event, dropped from care.engine_writers where node_id = $1", outcomes.node_id
    )
    assert tuple(written) == (5, 3)
    # Every call is in the counts a minute: those are few, whatever happens.
    assert await minutes(town.care, outcomes.node_id) == {("v2", "open", "success"): 8}


async def minutes(care: Care, node_id: UUID) -> dict[tuple[str, str, str], int]:
    """What a process counted, by engine, verb and code."""
    rows = await care.owner.fetch(
        "select version, verb, code, sum(calls) as calls, sum((select sum(h) from unnest(histogram) as h)) as spread "
        "from care.engine_minutes where node_id = $1 group by 1, 2, 3",
        node_id,
    )
    assert all(row["calls"] == row["spread"] for row in rows)
    return {(row["version"], row["verb"], row["code"]): row["calls"] for row in rows}


async def test_an_error_that_nobody_foresaw_is_counted_and_raised(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = Outcomes(town.care.database, uuid4())
    facade = Messaging(town.care.database, lambda: V2, outcomes=outcomes)

    async def fail(*_: object) -> None:
        raise KeyError("conversation_id")

    monkeypatch.setitem(service._ENGINES, "v2", fail)
    with pytest.raises(KeyError):
        await facade.start_help_conversation((await town.member()).caller(), uuid4(), FIRST_WORDS)
    await outcomes.flush()
    assert await kinds(town.care, outcomes) == [("failure", "server_error")]


async def test_every_way_into_the_facade_is_counted_and_a_switched_off_engine_is_no_failure(town: Town) -> None:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    outcomes = Outcomes(town.care.database, uuid4())
    stage, request = V2, await town.request(owner)
    facade = Messaging(town.care.database, lambda: stage, outcomes=outcomes)
    given = {
        "p_help_request_id": request,
        "p_helper_id": helper.user_id,
        "p_initial_message": FIRST_WORDS,
    }
    stage = Decision(OFF, Source.ENVIRONMENT_ENABLED)
    await facade.call("create_conversation_atomic", helper.caller(), given)
    stage = V2
    answer = await facade.call("create_conversation_atomic", helper.caller(), given)
    conversation = UUID(answer.data()["conversation_id"])
    short = await facade.start_help_conversation(helper.caller(), request, "short")
    assert short.error == Code.VALIDATION_ERROR
    await facade.send_message(helper.caller(), conversation, "Hello")
    await facade.get_conversation(owner.caller(), conversation)
    sending = {"p_conversation_id": conversation, "p_sender_id": owner.user_id, "p_content": " "}
    await facade.call("send_message_v2", owner.caller(), sending)
    await facade.mark_read(owner.caller(), conversation, 1)  # neither a send nor a read of words
    await outcomes.flush()
    assert sorted(await kinds(town.care, outcomes), key=str) == [
        ("answer", "engine_off"), ("answer", "validation_error"), ("success", None),
    ]  # fmt: skip
    assert await minutes(town.care, outcomes.node_id) == {
        ("v2", "open", "engine_off"): 1,
        ("v2", "open", "success"): 1,
        ("v1", "open", "validation_error"): 1,  # refused before an engine was chosen
        ("both", "send", "success"): 1,
        ("both", "send", "validation_error"): 1,
        ("both", "read", "success"): 1,
    }


class Clock:
    """Seconds that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_minutes_are_the_processes_own_whatever_flushes_were_lost(town: Town) -> None:
    clock = Clock()
    outcomes = Outcomes(town.care.database, uuid4(), clock=clock)
    for after in (0, 59, 60, 61, 200):
        clock.now = 1000 + after
        outcomes.called("send", None, 3)
        await outcomes.flush()
        await outcomes.flush()
    rows = await town.care.owner.fetch(
        "select slot, calls from care.engine_minutes where node_id = $1 order by slot", outcomes.node_id
    )
    assert [tuple(row) for row in rows] == [(0, 2), (1, 2), (3, 1)]
    assert outcomes.totals["both", "send", "success"].calls == 5


async def test_no_clock_of_a_node_has_to_be_right(town: Town) -> None:
    """One process lives in 1970 and another in 2100; the attempt is one, at the database's time."""
    pair = {"help_request_id": uuid4(), "user_id": uuid4()}
    for begun, code in ((0.0, Code.UNAVAILABLE), (4e9, None)):
        clock = Clock()
        clock.now = begun
        outcomes = Outcomes(town.care.database, uuid4(), clock=clock)
        outcomes.opened(attempt(code, **pair))
        clock.now += 3
        await outcomes.flush()
    row = await town.care.owner.fetchrow(
        "select kind, retries, now() - opened_at < interval '30 seconds' as recent from care.engine_outcomes "
        "where user_id = $1",
        pair["user_id"],
    )
    assert tuple(row) == ("success", 1, True)


# Notes an attempt every few milliseconds and says so, and how many there were before a flush that is done.
NOTING = """
import asyncio, sys
from uuid import UUID, uuid4
from care_collective.db.call import Database
from care_collective.db.pool import make_pool
from care_collective.rollout.outcomes import Attempt, Outcomes

class Telling(Outcomes):
    noted = 0

    async def flush(self):
        before = self.noted
        await super().flush()
        print(before, flush=True)

async def main():
    outcomes = Telling(Database(await make_pool(sys.argv[1], size=2)), UUID(sys.argv[2]))
    running = asyncio.create_task(outcomes.run(every_seconds=0.05))
    while True:
        outcomes.opened(Attempt(community_id=None, help_request_id=uuid4(), user_id=uuid4(), version="v2",
                                endpoint="a-test", duration_ms=1.0))
        outcomes.noted += 1
        print("noted", flush=True)
        await asyncio.sleep(0.005)

asyncio.run(main())
"""


async def test_kill_9_loses_no_more_than_was_noted_since_the_last_flush(town: Town) -> None:
    node_id = uuid4()
    dsn = town.care.server.dsn(user="care_app", database=town.care.name)
    flushed, noted = await asyncio.to_thread(_killed_while_noting, dsn, str(node_id))
    stored = await town.care.owner.fetchval("select count(*) from care.engine_outcomes where node_id = $1", node_id)
    assert 0 < flushed <= stored <= noted


def _killed_while_noting(*arguments: str) -> tuple[int, int]:
    """How many attempts were noted before the last flush that was done, and in all, by a process that was killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", NOTING, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(counting.__file__).parents[2])},
    )
    assert process.stdout is not None
    flushes, noted = [0], 0
    for line in process.stdout:
        if line == "noted\n":
            noted += 1
        else:
            flushes.append(int(line))
        if len(set(flushes)) > 3 and noted > flushes[-1] + 3:
            process.kill()
    process.communicate()
    return flushes[-1], noted
