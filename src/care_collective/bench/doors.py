"""A verb over HTTP against pgbench calling the same SQL function: same database, same connections, in turn.

The figure is the median of the rounds' ratios, so that a slower minute of the machine slows both sides.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import asyncpg

from care_collective.bench import meter, pgbench
from care_collective.bench.load import Feed, Links, Run, request
from care_collective.bench.report import Report, Row, at_least, failure, middle, percentile
from care_collective.bench.stand import (
    CONVERSATION,
    HELPER,
    OWNERS,
    REQUEST,
    Site,
    Stand,
    Tell,
    database,
    identity,
    site,
    stand,
)

EACH: Final = 40  # conversations of a helper, and messages of the thread that is read
FASTEST: Final = 2500  # calls a second that one connection could reach: so many pairs are prepared
FIRST_WORDS: Final = "Hello, I live two streets away and can help on Friday."
WORDS: Final = "That works for me. Shall we say four in the afternoon?"
_THREAD_MESSAGES: Final = 200
_WARM_SECONDS: Final = 1
_ROOT: Final = "/api/messaging"
_GOALS: Final = {"create": 0.50, "send": 0.50, "inbox": 0.45, "thread": 0.45}


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured: `rounds` of `seconds` for each side, over `connections`."""

    rounds: int = 5
    seconds: int = 3
    connections: int = 16

    @property
    def span(self) -> int:
        """Pairs that one connection can use up in one run, the first second of pgbench included."""
        return FASTEST * (self.seconds + _WARM_SECONDS)

    @property
    def runs(self) -> int:
        """Runs of both sides, and one to warm up."""
        return 2 * self.rounds + 1


@dataclass(frozen=True, slots=True)
class _Round:
    """One turn of both sides, and what each spent."""

    over_http: Run
    by_pgbench: pgbench.Calls
    http_spent: meter.Spent
    pgbench_spent: meter.Spent

    @property
    def ratio(self) -> float:
        return self.over_http.rate / self.by_pgbench.rate

    @property
    def http_ms(self) -> tuple[float, float, float]:
        """CPU of the site, the database and the load for a request."""
        spent, number = self.http_spent, len(self.over_http.latencies)
        return 1000 * spent.site / number, 1000 * spent.database / number, 1000 * spent.load / number

    @property
    def pgbench_ms(self) -> float:
        """CPU of the database and pgbench for a call."""
        return 1000 * self.pgbench_spent.measured / self.by_pgbench.number


async def measure(verb: str, effort: Effort, *, tell: Tell) -> Report:
    """The row of a verb: create, send, inbox or thread."""
    requests = EACH + effort.span * effort.runs if verb == "create" else EACH
    async with stand(tell=tell) as on:
        tell("Making a community, its people and their requests")
        async with database(on, "care", members=effort.connections, requests=requests, each=EACH) as owner:
            await _furnish(owner, effort)
            async with site(on, "care") as web:
                return Report([await _measure(verb, on, web, owner, effort, tell=tell)])


async def _furnish(owner: asyncpg.Connection, effort: Effort) -> None:
    for number in range(1, effort.connections + 1):
        await owner.fetchval("select bench.make_messages($1, $2, $3, $4)", number, EACH, OWNERS, _THREAD_MESSAGES)
    await owner.execute("vacuum analyze")


async def _measure(verb: str, on: Stand, web: Site, owner: asyncpg.Connection, effort: Effort, *, tell: Tell) -> Row:
    rounds: list[_Round] = []
    written = await _written(verb, owner)
    with Links(web.host, web.port, effort.connections) as links:
        warm = await asyncio.to_thread(links.closed_loop, _feeds(verb, web, effort, 0), _WARM_SECONDS)
        for number in range(1, effort.rounds + 1):
            tell(f"{verb}: round {number} of {effort.rounds}")
            feeds = _feeds(verb, web, effort, 2 * number - 1)
            began = meter.spent(on.server.pid, web.pid)
            over_http = await asyncio.to_thread(links.closed_loop, feeds, effort.seconds)
            between = meter.spent(on.server.pid, web.pid)
            by_pgbench = await _rival(verb, on, effort, 2 * number)
            spent = meter.spent(on.server.pid, web.pid).since(between)
            rounds.append(_Round(over_http, by_pgbench, between.since(began), spent))
    # A refusal would be quicker than a write, and pgbench takes it for one.
    made = len(warm.latencies) + sum(len(r.over_http.latencies) + r.by_pgbench.number for r in rounds)
    missing = made - (await _written(verb, owner) - written)
    if missing > 0 and verb in {"create", "send"}:
        raise failure(f"{missing} of {made} calls wrote nothing: the figure would be wrong.")
    return _row(verb, rounds, effort)


def _row(verb: str, rounds: list[_Round], effort: Effort) -> Row:
    latencies = [1000 * latency for r in rounds for latency in r.over_http.latencies]
    return at_least(
        f"{verb} over HTTP against pgbench",
        middle([r.ratio for r in rounds]),
        _GOALS[verb],
        http_per_second=round(middle([r.over_http.rate for r in rounds])),
        pgbench_per_second=round(middle([r.by_pgbench.rate for r in rounds])),
        p50_ms=round(percentile(latencies, 0.5), 2),
        p95_ms=round(percentile(latencies, 0.95), 2),
        ratios=[round(r.ratio, 3) for r in rounds],
        connections=effort.connections,
        **_cpu(rounds),
    )


def _cpu(rounds: list[_Round]) -> dict[str, Any]:
    """Milliseconds of CPU a call. `ratio_by_cpu` is what the figure would be on a machine that nobody else uses."""
    if not meter.known():
        return {}
    return {
        "ratio_by_cpu": middle([r.pgbench_ms / sum(r.http_ms) for r in rounds]),
        "site_cpu_ms": middle([r.http_ms[0] for r in rounds]),
        "database_cpu_ms": middle([r.http_ms[1] for r in rounds]),
        "load_cpu_ms": middle([r.http_ms[2] for r in rounds]),
        "pgbench_cpu_ms": middle([r.pgbench_ms for r in rounds]),
        "cores_used_by_others": middle([max(r.http_spent.others, r.pgbench_spent.others) for r in rounds]),
    }


async def _written(verb: str, owner: asyncpg.Connection) -> int:
    table = "public.conversations_v2" if verb == "create" else "public.messages_v2"
    return int(await owner.fetchval(f"select count(*) from {table}"))  # noqa: S608  one of two names


async def _rival(verb: str, on: Stand, effort: Effort, run: int) -> pgbench.Calls:
    return await pgbench.run(
        on,
        "care",
        verb,
        connections=effort.connections,
        seconds=effort.seconds,
        run=time.time_ns() % 1_000_000_000,
        base=EACH + 1 + run * effort.span,
        span=effort.span,
        shift=effort.span // effort.connections,
        each=EACH,
        thread=EACH,
    )


def _feeds(verb: str, web: Site, effort: Effort, run: int) -> list[Feed]:
    return [_feed(verb, web, effort, run, client) for client in range(effort.connections)]


def _feed(verb: str, web: Site, effort: Effort, run: int, client: int) -> Iterator[bytes]:
    """What one connection asks, one after another; each its own helper, since one member's writes queue."""
    token = web.token(identity(HELPER, client + 1))
    shift = client * (effort.span // effort.connections)
    for i in count():
        key = f"http-{run}-{client}-{i}"
        match verb:
            case "create":
                place = identity(REQUEST, EACH + 1 + run * effort.span + (i + shift) % effort.span)
                path = f"{_ROOT}/help-requests/{place}/start-conversation"
                yield request("POST", path, token, body=f'{{"initial_message":"{FIRST_WORDS}"}}', key=key)
            case "send":
                place = identity(CONVERSATION, (client + 1) * 1_000_000 + 1 + i % EACH)
                yield request(
                    "POST", f"{_ROOT}/conversations/{place}/messages", token, body=f'{{"content":"{WORDS}"}}', key=key
                )
            case "inbox":
                yield request("GET", f"{_ROOT}/conversations", token)
            case _:
                place = identity(CONVERSATION, (client + 1) * 1_000_000 + EACH)
                yield request("GET", f"{_ROOT}/conversations/{place}/messages", token)
