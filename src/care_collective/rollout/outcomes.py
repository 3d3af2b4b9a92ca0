"""Counts what became of every attempt to open a conversation, and how long calls take (rollout.md, counting).

A call only notes, in memory: nothing here waits in a member's request. A task writes what was noted every 2 seconds, so
kill -9 loses at most that. Ages are told and not times, so that no node's clock has to be right.
"""

import asyncio
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
import structlog

from care_collective.db.call import Database
from care_collective.errors import CareError, Code

log = structlog.get_logger("care_collective.rollout")

Verb = Literal["open", "send", "read"]
# shared: V1 would have met it too, so that it is no engine's failure.
Kind = Literal["success", "failure", "answer", "shared"]

FAILURES: Final = frozenset({Code.SERVER_ERROR, Code.RPC_ERROR, Code.UNAVAILABLE})
# The reasons of a refusal by decision, never failures: V2 is switched off; and it is, and V1 is retired.
ENGINE_OFF: Final = "engine_off"
PAUSED: Final = "paused"
DECIDED: Final = frozenset({ENGINE_OFF, PAUSED})
# The upper ends of the buckets in milliseconds; one more bucket has no end. care.histogram_bounds says the same.
BOUNDS_MS: Final = (
    1, 2, 3, 4, 5, 7, 10, 15, 20, 25, 35, 50, 75, 100, 150, 200, 300, 400, 500, 750, 1000, 2000, 5000, 10000,
)  # fmt: skip

FLUSH_SECONDS: Final = 2.0
SLOT_SECONDS: Final = 60.0
BATCH: Final = 1000
# While the database is away: some 10 MB of attempts, and the counts of a day at some ten kinds of calls a minute.
# What is noted past that is dropped and counted, the newest first: the oldest failure opens its attempt.
MOST_ATTEMPTS: Final = 20_000
MOST_COUNTS: Final = 15_000
CLOSE_SECONDS: Final = 3.0


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One call that was to open a conversation, and what became of it.

    `code` is None for a success. `connection` as CareError's. `reference` is the request's id.
    """

    community_id: UUID | None
    help_request_id: UUID
    user_id: UUID
    version: Literal["v1", "v2"]
    endpoint: str
    duration_ms: float
    code: Code | None = None
    reason: str | None = None
    connection: Literal["none", "lost"] | None = None
    sqlstate: str | None = None
    reference: str | None = None


def kind_of(attempt: Attempt) -> Kind | None:
    """What a call counts as. None: the connection broke in the middle, and only a call afterwards tells whether the
    engine or the database is at fault."""
    if attempt.code is None:
        return "success"
    if attempt.code not in FAILURES or attempt.reason in DECIDED:
        return "answer"
    # Class 53: no connection, memory or disk left, for whomever.
    if attempt.connection == "none" or (attempt.sqlstate or "").startswith("53"):
        return "shared"
    return None if attempt.connection == "lost" else "failure"


class Counts(msgspec.Struct):
    """Calls and how they spread over the buckets; `seconds` is their sum, `written` how many of them are stored."""

    calls: int = 0
    seconds: float = 0.0
    written: int = 0
    histogram: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BOUNDS_MS) + 1))

    def add(self, duration_ms: float) -> None:
        """Counts one call."""
        self.calls += 1
        self.seconds += duration_ms / 1000
        self.histogram[bisect_left(BOUNDS_MS, duration_ms)] += 1


class Kept(msgspec.Struct, frozen=True):
    """An attempt that waits to be written, since `noted` by the process's clock."""

    number: int
    noted: float
    kind: Kind
    attempt: Attempt

    def told(self, now: float) -> dict[str, Any]:
        """As care.record_attempts takes it."""
        attempt = self.attempt
        return {
            "number": self.number,
            "age_ms": (now - self.noted) * 1000,
            "community_id": attempt.community_id,
            "help_request_id": attempt.help_request_id,
            "user_id": attempt.user_id,
            "version": attempt.version,
            "endpoint": attempt.endpoint,
            "kind": self.kind,
            "code": attempt.reason if attempt.reason in DECIDED else attempt.code,
            "duration_ms": attempt.duration_ms,
            "reference": attempt.reference,
        }


class Outcomes:
    """The counts of one process, under its `node_id`. `clock` answers seconds and never goes back.

    `totals` are all calls since the start by engine, verb and code, for /metrics; `dropped` attempts and counts were
    lost because the database was away for too long.
    """

    def __init__(self, database: Database, node_id: UUID, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.node_id = node_id
        self.totals: dict[tuple[str, Verb, str], Counts] = {}
        self.dropped = 0
        self._database = database
        self._clock = clock
        self._began = clock()
        self._number = 0
        self._waiting: deque[Kept] = deque()
        self._doubtful: list[tuple[float, Attempt]] = []
        self._doubt = asyncio.Event()
        self._minutes: dict[tuple[int, str, Verb, str], Counts] = {}

    @property
    def waiting(self) -> int:
        """How many attempts are not written yet."""
        return len(self._waiting) + len(self._doubtful)

    def opened(self, attempt: Attempt) -> None:
        """Notes what became of a call that was to open a conversation."""
        kind = kind_of(attempt)
        if kind is not None:
            self._keep(self._clock(), kind, attempt)
        elif self._has_room():
            self._doubtful.append((self._clock(), attempt))
            self._doubt.set()

    def called(self, verb: Verb, fault: CareError | None, duration_ms: float) -> None:
        """Notes a send or a read, which both engines do by one path; `fault` is the refusal or fault, if any."""
        code = "success" if fault is None else "shared" if fault.connection == "none" else str(fault.code)
        self._count("both", verb, code, duration_ms)

    async def run(self, *, every_seconds: float = FLUSH_SECONDS) -> None:
        """Writes what was noted, for ever; a connection that broke is looked into at once."""
        loop = asyncio.get_running_loop()
        due = loop.time() + every_seconds
        while True:
            try:
                async with asyncio.timeout_at(due):
                    await self._doubt.wait()
            except TimeoutError:
                await self.flush()
                due = loop.time() + every_seconds
            else:
                await self._settle()

    async def close(self) -> None:
        """Writes what is left, unless the database does not answer within 3 seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.flush()

    async def flush(self) -> None:
        """Writes what was noted. What cannot be written is kept for the next time."""
        await self._settle()
        try:
            await self._write_attempts()
            await self._write_minutes()
        except CareError as error:
            log.warning("rollout.outcomes_kept", error_code=str(error.code), waiting=self.waiting, dropped=self.dropped)

    async def _settle(self) -> None:
        """Asks the database something trivial: whether calls broke for all, or only those that opened something."""
        self._doubt.clear()
        count = len(self._doubtful)
        if not count:
            return
        kind: Kind = "failure"
        try:
            await self._database.value("pg_catalog.now")
        except CareError:
            kind = "shared"
        settled, self._doubtful = self._doubtful[:count], self._doubtful[count:]
        for noted, attempt in settled:
            self._keep(noted, kind, attempt)

    def _keep(self, noted: float, kind: Kind, attempt: Attempt) -> None:
        code = "success" if attempt.code is None else str(attempt.reason if attempt.reason in DECIDED else attempt.code)
        self._count(attempt.version, "open", "shared" if kind == "shared" else code, attempt.duration_ms)
        if self._has_room():
            self._number += 1
            self._waiting.append(Kept(self._number, noted, kind, attempt))

    def _has_room(self) -> bool:
        if self.waiting < MOST_ATTEMPTS:
            return True
        self.dropped += 1
        return False

    def _count(self, version: str, verb: Verb, code: str, duration_ms: float) -> None:
        total = self.totals.get((version, verb, code))
        if total is None:
            total = self.totals[version, verb, code] = Counts()
        total.add(duration_ms)
        key = (int((self._clock() - self._began) // SLOT_SECONDS), version, verb, code)
        counts = self._minutes.get(key)
        if counts is None:
            if len(self._minutes) >= MOST_COUNTS:
                self.dropped += 1
                return
            counts = self._minutes[key] = Counts()
        counts.add(duration_ms)

    async def _write_attempts(self) -> None:
        while self._waiting:
            now = self._clock()
            batch = [self._waiting[place].told(now) for place in range(min(BATCH, len(self._waiting)))]
            await self._database.value(
                "care.record_attempts",
                p_node_id=self.node_id,
                p_events=msgspec.json.encode(batch).decode(),
                p_dropped=self.dropped,
            )
            for _ in batch:
                self._waiting.popleft()

    async def _write_minutes(self) -> None:
        changed = [
            (key, counts, counts.calls) for key, counts in self._minutes.items() if counts.calls > counts.written
        ]
        for start in range(0, len(changed), BATCH):
            batch = changed[start : start + BATCH]
            now = self._clock() - self._began
            told = [
                {
                    "slot": slot,
                    "age_ms": (now - slot * SLOT_SECONDS) * 1000,
                    "version": version,
                    "verb": verb,
                    "code": code,
                    "calls": counts.calls,
                    "histogram": counts.histogram,
                }
                for (slot, version, verb, code), counts, _ in batch
            ]
            await self._database.value(
                "care.record_minutes", p_node_id=self.node_id, p_minutes=msgspec.json.encode(told).decode()
            )
            for _, counts, calls in batch:
                counts.written = calls
        present = int((self._clock() - self._began) // SLOT_SECONDS)
        self._minutes = {k: c for k, c in self._minutes.items() if k[0] >= present or c.calls > c.written}
