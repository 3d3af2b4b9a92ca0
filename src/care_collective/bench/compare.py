"""V2 against V1: what an opening takes in each, and what is left when a call is cut in the middle.

Both go through the facade that the web process calls, over a pool like its own; cut is a call whose task is cancelled
at a random moment, which closes or cancels what the database is doing for it, as a process that dies would.
"""

import asyncio
import random
import time
from dataclasses import dataclass
from typing import Any, Final, Literal

import asyncpg

from care_collective.bench.doors import FIRST_WORDS, Effort
from care_collective.bench.report import Report, at_least, at_most, middle, percentile
from care_collective.bench.stand import REQUEST, Stand, Tell, database, helper, identity, stand
from care_collective.db.call import Answer, Caller, Database
from care_collective.db.pool import make_pool
from care_collective.errors import Code, words
from care_collective.messaging.models import Result
from care_collective.messaging.service import Messaging
from care_collective.rollout import policy

Engine = Literal["v1", "v2"]

_THROUGHPUT: Final = 1.7
_FASTEST: Final = 4000  # openings a second that an engine could reach: so many requests are prepared
_CUTS: Final = 150
_QUIET: Final = 30  # openings by which calls and commits are counted
_CLEANS: Final = {
    "v1": "the helper's own retry; for who never comes back, `doctor` names it",
    "v2": "nobody has to: it is whole or it is not there",
}
_TOLD: Final = {
    "v1": f"{words(Code.UNAVAILABLE)} (what was begun is not seen by anybody)",
    "v2": words(Code.UNAVAILABLE),
}


class _Counted(Database):
    """Counts the calls: each is one statement, one round trip, one transaction."""

    calls = 0

    async def call(self, function: str, caller: Caller = Caller(), /, **arguments: object) -> Answer:  # noqa: B008
        """Calls and counts."""
        self.calls += 1
        return await super().call(function, caller, **arguments)


@dataclass(slots=True)
class _Openings:
    """Opens conversations in one engine, each on a pair that nobody used before."""

    messaging: Messaging
    name: Engine
    used: int = 0

    async def one(self, number: int, place: int) -> Result:
        """Helper `number` (from 1) offers on request `place`, with a key of this pair's."""
        caller = helper(number, f"{self.name}-{number}-{place}")
        return await self.messaging.start_help_conversation(caller, identity(REQUEST, place), FIRST_WORDS)

    def next(self) -> int:
        """A request that this engine's helper 1 has not offered on; odd ones are V1's, so that engines never meet."""
        self.used += 1
        return 2 * self.used - (self.name == "v1")


@dataclass(frozen=True, slots=True)
class _Speed:
    rate: float
    latencies: list[float]
    failed: int


async def measure(effort: Effort, *, tell: Tell, cuts: int = _CUTS) -> Report:
    """The rows and the table of V2 against V1."""
    requests = 2 * (_FASTEST * effort.seconds * effort.rounds + 2 * cuts + 5 * _QUIET)
    async with stand(tell=tell) as on:
        tell("Making a community, its people and their requests")
        async with database(on, "care", members=effort.connections, requests=requests) as owner:
            return await _compare(on, owner, effort, cuts, tell)


async def _compare(on: Stand, owner: asyncpg.Connection, effort: Effort, cuts: int, tell: Tell) -> Report:
    table: dict[Engine, dict[str, Any]] = {"v1": {}, "v2": {}}
    pool = await make_pool(on.url("care_app", "care"), size=effort.connections)
    try:
        engines = {name: _Openings(_messaging(Database(pool), name), name) for name in table}
        for name, openings in engines.items():
            tell(f"compare: calls and commits of {name}")
            calls, commits = await _counted(on, openings)
            atomic = "yes, one transaction" if commits == 1 else f"no, {commits:g} transactions"
            table[name] |= {"database operations": calls, "round trips": calls, "atomic": atomic}
        speeds: dict[Engine, list[_Speed]] = {"v1": [], "v2": []}
        for number in range(1, effort.rounds + 1):
            tell(f"compare: round {number} of {effort.rounds}")
            for name, openings in engines.items():
                speeds[name].append(await _fast(openings, effort))
        for name in engines:
            table[name] |= _pace(speeds[name])
        for name, openings in engines.items():
            tell(f"compare: cutting {cuts} openings of {name}")
            table[name] |= await _cut(openings, owner, cuts)
    finally:
        pool.terminate()
    ratios = [new.rate / old.rate for new, old in zip(speeds["v2"], speeds["v1"], strict=True)]
    rows = [
        at_least(
            "compare: throughput of V2 against V1", middle(ratios), _THROUGHPUT, ratios=[round(r, 3) for r in ratios]
        ),
        at_most("compare: calls of V2 for an opening", table["v2"]["round trips"], 1, v1=table["v1"]["round trips"]),
        at_least("compare: orphans that cuts leave in V1", table["v1"]["orphans left"], 1, cuts=cuts),
        at_most("compare: orphans that cuts leave in V2", table["v2"]["orphans left"], 0, cuts=cuts),
    ]
    shown = [{"what": what, "V1": table["v1"][what], "V2": table["v2"][what]} for what in table["v2"]]
    return Report(rows, {"V2 against V1": shown})


def _messaging(over: Database, name: Engine) -> Messaging:
    decision = policy.Decision(policy.ON if name == "v2" else policy.OFF, policy.Source.DEFAULT)
    return Messaging(over, lambda: decision)


async def _fast(openings: _Openings, effort: Effort) -> _Speed:
    """As many helpers as connections, each opening one conversation after another for `effort.seconds`."""
    latencies: list[float] = []
    failed = 0
    began = time.perf_counter()
    end = began + effort.seconds

    async def work(number: int) -> None:
        nonlocal failed
        while (now := time.perf_counter()) < end:
            result = await openings.one(number, openings.next())
            latencies.append(time.perf_counter() - now)
            failed += not result.success

    await asyncio.gather(*(work(number) for number in range(1, effort.connections + 1)))
    return _Speed(len(latencies) / (time.perf_counter() - began), latencies, failed)


def _pace(speeds: list[_Speed]) -> dict[str, Any]:
    latencies = [1000 * latency for speed in speeds for latency in speed.latencies]
    failed = sum(speed.failed for speed in speeds)
    return {
        "success rate": f"{100 * (1 - failed / max(1, len(latencies))):.2f} %",
        "latency p50": f"{percentile(latencies, 0.5):.1f} ms",
        "latency p95": f"{percentile(latencies, 0.95):.1f} ms",
        "throughput": f"{middle([speed.rate for speed in speeds]):.0f} a second",
    }


async def _counted(on: Stand, openings: _Openings) -> tuple[float, float]:
    """Calls and commits of one opening. What a pool itself commits is the same for few openings and for many."""
    commits = []
    calls = 0
    observer = await asyncpg.connect(on.url("postgres", "postgres"))  # elsewhere, so that it does not count itself
    for number in (_QUIET, 2 * _QUIET):
        before = await _commits(observer)
        pool = await make_pool(on.url("care_app", "care"), size=1)
        pid = await pool.fetchval("select pg_backend_pid()")
        counted = _Counted(pool)
        usual, openings.messaging = openings.messaging, _messaging(counted, openings.name)
        for _ in range(number):
            await openings.one(1, openings.next())
        openings.messaging = usual
        await pool.close()  # a session that ends hands its counts on
        while await observer.fetchval("select exists (select 1 from pg_stat_activity where pid = $1)", pid):  # noqa: ASYNC110  another process's end
            await asyncio.sleep(0.01)
        commits.append(await _commits(observer) - before)
        calls = counted.calls
    await observer.close()
    return calls / (2 * _QUIET), (commits[1] - commits[0]) / _QUIET


async def _commits(observer: asyncpg.Connection) -> int:
    return int(await observer.fetchval("select xact_commit from pg_stat_database where datname = 'care'"))


async def _cut(openings: _Openings, owner: asyncpg.Connection, cuts: int) -> dict[str, Any]:
    """Cuts openings at random moments, counts what is left, then lets each helper try again with the same key."""
    chance = random.Random(1)  # noqa: S311  when to cut is no secret
    for _ in range(_QUIET):
        await openings.one(1, openings.next())
    orphans, whole = await _left(owner)
    places = []
    for _ in range(cuts):
        # As long as the one before: what was usual a second ago misses every opening of a machine that is busy now.
        began = time.perf_counter()
        await openings.one(1, openings.next())
        usual = time.perf_counter() - began
        place = openings.next()
        task = asyncio.create_task(openings.one(1, place))
        await asyncio.sleep(chance.uniform(0, 1.2 * usual))
        if task.cancel():
            places.append(place)
        await asyncio.wait([task])
    orphans_left, whole_left = await _left(owner)
    answers = [await openings.one(1, place) for place in places]
    orphans_after, _ = await _left(owner)
    return {
        "openings cut": len(places),
        "whole all the same": whole_left - whole - (2 * cuts - len(places)),
        "orphans left": orphans_left - orphans,
        "who cleans them": _CLEANS[openings.name],
        "helpers well after one retry": sum(answer.success for answer in answers),
        "orphans after the retries": orphans_after - orphans,
        "what the caller is told": _TOLD[openings.name],
    }


async def _left(owner: asyncpg.Connection) -> tuple[int, int]:
    """Violations of any kind, and conversations that people see, once the database has noticed who is gone."""
    await asyncio.sleep(0.2)
    return (
        int(await owner.fetchval("select count(*) from care.violations()")),
        int(await owner.fetchval("select count(*) from care.threads")),
    )
