"""Live streams: how soon a message is seen, what an open stream holds, and what open ones cost those who write.

Each stream is another member's, of a conversation of their own. "Seen" counts from when the write was sent, so that it
is never less than from its commit.

Whether commits are slowed is asked twice: of their time at a steady pace, each waking a stream, and of as many as there
can be, with all streams open and none woken. As many as there can be with each waking one is told beside it and is no
figure of commits: what the site reads for a woken stream is time that the writes do not have where the cores are full,
and the clients and PostgreSQL are on the same ones.
"""

import asyncio
import http.client
import time
from itertools import count
from typing import Any, Final, NamedTuple

import msgspec

from care_collective.bench import meter
from care_collective.bench.doors import WORDS, Effort
from care_collective.bench.load import Feed, Links, request
from care_collective.bench.readers import Readers
from care_collective.bench.report import Report, Row, at_least, at_most, failure, middle, percentile
from care_collective.bench.stand import CONVERSATION, HELPER, OWNER, Site, Stand, Tell, database, identity, site, stand
from care_collective.bench.start import megabytes

STREAMS: Final = 1000
_SEEN_MS: Final = 100
_KILOBYTES: Final = 30
_LEFT: Final = 0.95
_SLOWED: Final = 1.05
_A_SECOND: Final = 20  # messages, while it is measured how soon they are seen
_TALKED_SECONDS: Final = 5  # times the rounds' seconds
_SETTLED_SECONDS: Final = 5.0
_WARM_SECONDS: Final = 1  # of each run, in which the site also forgets streams that were just closed
_ROOT: Final = "/api/messaging"


class _Sent(msgspec.Struct):
    """What the site answers to a message."""

    seq: int


async def measure(effort: Effort, *, streams: int = STREAMS, tell: Tell) -> Report:
    """The rows of so many open streams."""
    async with stand(tell=tell) as on:
        tell("Making a community, its people and their conversations")
        members = streams + effort.connections
        async with database(on, "care", members=members, requests=1, each=1), site(on, "care") as web:
            return Report(await _measure(on, web, effort, streams, tell))


async def _measure(on: Stand, web: Site, effort: Effort, streams: int, tell: Tell) -> list[Row]:
    looking = [_look(web, number) for number in range(1, streams + 1)]
    runs: dict[str, list[_Cost]] = {"none": [], "idle": [], "woken": []}
    run = _Runs(on, web, effort)
    await run.cost(streams, 0)
    tell("live: how long a commit takes with none open")
    alone = await asyncio.to_thread(_talk, web, streams, effort.seconds * _TALKED_SECONDS)
    before = megabytes(web.pid)
    tell(f"live: opening {streams} streams")
    with await asyncio.to_thread(Readers, web.host, web.port, looking) as readers:
        held = 1000 * (megabytes(web.pid) - before) / streams
        tell("live: how soon a message is seen")
        talked = await asyncio.to_thread(_talk, web, streams, effort.seconds * _TALKED_SECONDS)
        seen = await asyncio.to_thread(_waits, readers, talked)
    for number in range(1, effort.rounds + 1):
        tell(f"live: round {number} of {effort.rounds}")
        runs["none"].append(await run.cost(streams, 3 * number))
        with await asyncio.to_thread(Readers, web.host, web.port, looking) as readers:
            runs["idle"].append(await run.cost(streams, 3 * number + 1))
            runs["woken"].append(await run.cost(0, 3 * number + 2))
            await asyncio.to_thread(readers.seen)  # which says that none has ended
    commits, commits_alone = _middle_ms(talked), _middle_ms(alone)
    return [
        at_most(
            "live: seen after a commit, p95",
            round(percentile(seen, 0.95), 1),
            _SEEN_MS,
            unit="ms",
            p50_ms=round(percentile(seen, 0.5), 1),
            longest_ms=round(max(seen), 1),
            of_that_the_write_p50_ms=round(commits, 1),
            messages=len(seen),
            streams=streams,
        ),
        at_most("live: memory of a stream", round(held, 1), _KILOBYTES, unit="KB", site_mb=round(before, 1)),
        at_most(
            "live: time of a commit that wakes a stream against none open",
            round(commits / commits_alone, 2),
            _SLOWED,
            p50_ms=round(commits, 2),
            p50_ms_with_none=round(commits_alone, 2),
            a_second=_A_SECOND,
        ),
        _left("live: writes with idle streams against none", runs["idle"], runs["none"]),
        msgspec.structs.replace(
            _left("live: writes that wake streams against none, all cores full", runs["woken"], runs["none"]),
            goal="none: told beside it",
            met=True,
        ),
    ]


class _Cost(msgspec.Struct, frozen=True):
    """A run of writes, and the CPU of the site and the database for each, in milliseconds; others' cores beside."""

    rate: float
    site_ms: float
    database_ms: float
    others: float


class _Runs:
    """Runs of writes, with what they took."""

    def __init__(self, on: Stand, web: Site, effort: Effort) -> None:
        self._on, self._web, self._effort = on, web, effort

    async def cost(self, after: int, number: int) -> _Cost:
        """Writes by the helpers after helper `after`, each in their own conversation; `number` is the run's."""
        feeds: list[Feed] = [_feed(self._web, after + 1 + client, number) for client in range(self._effort.connections)]
        # Anew each time: the site ends a connection that was idle while streams were opened.
        with Links(self._web.host, self._web.port, self._effort.connections) as links:
            await asyncio.to_thread(links.closed_loop, feeds, _WARM_SECONDS)
            began = meter.spent(self._on.server.pid, self._web.pid)
            run = await asyncio.to_thread(links.closed_loop, feeds, self._effort.seconds)
            spent, written = meter.spent(self._on.server.pid, self._web.pid).since(began), len(run.latencies)
        if not written:
            raise failure("The site answered nothing in a whole run.")
        return _Cost(run.rate, 1000 * spent.site / written, 1000 * spent.database / written, spent.others)


def _left(name: str, runs: list[_Cost], none: list[_Cost]) -> Row:
    ratios = [with_.rate / without.rate for with_, without in zip(runs, none, strict=True)]
    detail: dict[str, Any] = {"ratios": [round(ratio, 3) for ratio in ratios]}
    for label, found in (("", runs), ("_with_none", none)):
        detail[f"a_second{label}"] = round(middle([run.rate for run in found]))
        if meter.known():
            detail[f"site_cpu_ms{label}"] = middle([run.site_ms for run in found])
            detail[f"database_cpu_ms{label}"] = middle([run.database_ms for run in found])
    if meter.known():
        detail["cores_used_by_others"] = middle([run.others for run in (*runs, *none)])
    return at_least(name, middle(ratios), _LEFT, **detail)


class _Written(NamedTuple):
    """When a write was sent, and when it was answered."""

    sent: float
    answered: float


def _middle_ms(talked: dict[tuple[int, int], _Written]) -> float:
    return 1000 * percentile([one.answered - one.sent for one in talked.values()], 0.5)


def _talk(web: Site, streams: int, seconds: int) -> dict[tuple[int, int], _Written]:
    """Writes to one stream after another at a steady pace: by stream and seq, when each was written."""
    link = http.client.HTTPConnection(web.host, web.port, timeout=20)
    token = web.token(identity(OWNER, 2))
    due: dict[tuple[int, int], _Written] = {}
    began = time.monotonic()
    for place in range(_A_SECOND * seconds):
        time.sleep(max(0.0, began + place / _A_SECOND - time.monotonic()))
        number = place * 7 % streams
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        sent = time.monotonic()
        link.request("POST", _messages(number + 1), f'{{"content":"{WORDS}"}}', headers)
        answer = link.getresponse()
        body = answer.read()
        if answer.status != 201:
            raise failure(f"The site answered {answer.status} to a message.")
        due[number, msgspec.json.decode(body, type=_Sent).seq] = _Written(sent, time.monotonic())
    link.close()
    return due


def _waits(readers: Readers, talked: dict[tuple[int, int], _Written]) -> list[float]:
    """Milliseconds from each write to where it was seen. Errors: CareError where one is not in time."""
    ends, found = time.monotonic() + _SETTLED_SECONDS, list[float]()
    while len(found) < len(talked):
        if time.monotonic() > ends:
            missing = len(talked) - len(found)
            raise failure(f"{missing} of {len(talked)} messages were not seen in {_SETTLED_SECONDS:.0f} s.")
        # A stream begins with the place of what was written before it.
        found += [
            1000 * (one.at - talked[one.stream, one.seq].sent)
            for one in readers.seen()
            if (one.stream, one.seq) in talked
        ]
        time.sleep(0.05)
    return found


def _look(web: Site, number: int) -> bytes:
    path = f"{_ROOT}/stream?conversation={_conversation(number)}"
    return request("GET", path, web.token(identity(HELPER, number)))


def _feed(web: Site, number: int, run: int) -> Feed:
    token = web.token(identity(HELPER, number))
    for i in count():
        key = f"live-{run}-{number}-{i}"
        yield request("POST", _messages(number), token, body=f'{{"content":"{WORDS}"}}', key=key)


def _messages(number: int) -> str:
    return f"{_ROOT}/conversations/{_conversation(number)}/messages"


def _conversation(number: int) -> str:
    """The one conversation of helper `number`, with owner 2 about request 1."""
    return str(identity(CONVERSATION, number * 1_000_000 + 1))
