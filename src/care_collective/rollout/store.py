"""The flags as this process knows them: kept in memory, followed by notification and by a poll beneath it.

Asking costs no call. What cannot be read leaves what was read last, and says so.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final
from uuid import UUID

import msgspec
import structlog

from care_collective.db.call import Database
from care_collective.db.listen import Listener
from care_collective.errors import CareError
from care_collective.rollout.node import Node
from care_collective.rollout.policy import MESSAGING_V2, Decision, Declared, Stored, in_force

log = structlog.get_logger("care_collective.rollout")

CHANNEL: Final = "care_rollout"
POLL_SECONDS: Final = 2.0
# While no notification can arrive: the switch has to reach every node within a second (goals.md).
DEAF_POLL_SECONDS: Final = 0.5
# So long without an answer, several polls, is no hiccup: health says it.
STALE_SECONDS: Final = 10.0
_LEAVE_SECONDS: Final = 2.0


class Row(msgspec.Struct, frozen=True):
    """A flag as care.read_flag answers it."""

    name: str
    stage: str
    salt: str
    stopped: str | None
    generation: int
    cohort: frozenset[UUID]
    retired: bool = False

    def stored(self) -> Stored:
        """The same, as the policy reads it."""
        return Stored(self.stage, self.stopped is not None, self.salt, self.cohort, self.generation, self.retired)


_decode = msgspec.json.Decoder(list[Row]).decode


class FlagStore:
    """Every flag's decision on this node. `declared` is what the environment says of messaging_v2.

    `clock` answers seconds and only measures; `poll_seconds` is the longest that a lost notification can cost.
    """

    def __init__(
        self,
        database: Database,
        listener: Listener,
        node: Node,
        declared: Declared = Declared(),  # noqa: B008  frozen
        *,
        clock: Callable[[], float] = time.monotonic,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self.node = node
        self.generation = 0
        self._database = database
        self._listener = listener
        self._declared = declared
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._stored: dict[str, Stored] = {}
        self._decisions: dict[str, Decision] = {MESSAGING_V2: in_force(declared)}
        self._asked_at: float | None = None  # since when no answer has come, None before the first question
        self._wake = asyncio.Event()

    def decide(self, flag: str = MESSAGING_V2) -> Decision:
        """What is in force here. Errors: KeyError for a flag that there is not."""
        return self._decisions[flag]

    def current(self, flag: str = MESSAGING_V2) -> Stored:
        """What the database said last; nothing at all before it was read."""
        return self._stored.get(flag, Stored())

    @property
    def stale(self) -> bool:
        """Whether the database has not answered for so long that this may be an old state."""
        return self._asked_at is not None and self._clock() - self._asked_at > STALE_SECONDS

    async def refresh(self) -> None:
        """Reads every flag, and reports until the database knows what is in force here. Errors: CareError."""
        if self._asked_at is None:
            self._asked_at = self._clock()
        reported = None
        while reported != (state := self._state()):
            reported = state
            text = await self._database.value("care.report_node", **state)
            self._asked_at = self._clock()
            self._take(_decode(text))

    async def follow(self) -> None:
        """Keeps up with every change, for ever; at the end tells that this node is gone."""
        end = self._listener.subscribe(CHANNEL, lambda _: self._wake.set(), reread=self._wake.set)
        try:
            while True:
                self._wake.clear()
                try:
                    await self.refresh()
                except (CareError, msgspec.DecodeError) as error:
                    log.warning("rollout.flag_not_read", error_type=type(error).__name__, stale=self.stale)
                with suppress(TimeoutError):
                    hears = self._listener.connected
                    async with asyncio.timeout(self._poll_seconds if hears else DEAF_POLL_SECONDS):
                        await self._wake.wait()
        finally:
            end()
            with suppress(CareError, TimeoutError):
                async with asyncio.timeout(_LEAVE_SECONDS):
                    await self._database.value("care.forget_node", p_node_id=self.node.id)

    def _state(self) -> dict[str, object]:
        decision = self.decide()
        return {
            "p_node_id": self.node.id,
            "p_name": self.node.name,
            "p_release": self.node.release,
            "p_generation": self.generation,
            "p_stage": str(decision.stage),
            "p_source": str(decision.source),
            "p_alarm": decision.alarm,
        }

    def _take(self, rows: Iterable[Row]) -> None:
        stored = {row.name: row.stored() for row in rows}
        if stored == self._stored:
            return
        decisions = {name: in_force(self._declared_of(name), found) for name, found in stored.items()}
        decisions.setdefault(MESSAGING_V2, in_force(self._declared))
        before, self._decisions = self._decisions, decisions
        self._stored = stored
        self.generation = max((found.generation for found in stored.values()), default=0)
        for name, decision in decisions.items():
            if before.get(name) != decision:
                (log.error if decision.alarm else log.info)(
                    "rollout.flag",
                    flag=name,
                    stage=str(decision.stage),
                    source=str(decision.source),
                    alarm=decision.alarm,
                    generation=self.generation,
                )

    def _declared_of(self, flag: str) -> Declared:
        return self._declared if flag == MESSAGING_V2 else Declared()
