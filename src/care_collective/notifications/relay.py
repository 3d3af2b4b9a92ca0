"""Publishes outbox rows as hints. What they say is in the tables; a hint lost between two processes loses nothing."""

import asyncio
from typing import Final

import msgspec
import structlog

from care_collective.db.call import Database
from care_collective.errors import CareError
from care_collective.notifications.fanout import Fanout

log = structlog.get_logger("care_collective.notifications")

# Rows of any node that ended between its commit and its hint are found by looking.
POLL_SECONDS: Final = 1.0
# What is written meanwhile goes out as one: notifying transactions commit one after the other, in the whole server.
GATHER_SECONDS: Final = 0.01
BATCH: Final = 200


class _Untold(msgspec.Struct, frozen=True):
    """What care.untold_hints answers: outbox rows by community and id, and what they tell."""

    rows: list[tuple[str, str]]
    hints: list[str]


class Relay:
    """Publishes what is unpublished, soon after a nudge and at least every second. Nodes share the rows.

    Through a `fanout` where there is one and it is connected, else by NOTIFY.
    """

    def __init__(
        self,
        database: Database,
        fanout: Fanout | None = None,
        *,
        poll_seconds: float = POLL_SECONDS,
        gather_seconds: float = GATHER_SECONDS,
    ) -> None:
        self._database = database
        self._fanout = fanout
        self._poll_seconds = poll_seconds
        self._gather_seconds = gather_seconds
        self._nudged = asyncio.Event()

    def nudge(self) -> None:
        """Says that something may have been committed. Costs nothing and never fails."""
        self._nudged.set()

    async def run(self) -> None:
        """Publishes for ever; cancel it to end."""
        while True:
            self._nudged.clear()
            try:
                more = await self._batch() == BATCH
            except CareError as error:
                log.warning("notifications.relay_failed", error_code=str(error.code))
                more = False
                self._nudged.clear()  # a database that is away is not asked for every call that fails on it
            except Exception:
                log.exception("notifications.relay_fault")  # an ended task would tell no open page any more
                more = False
            await asyncio.sleep(self._gather_seconds)
            if not more:
                await self._wait()

    async def _batch(self) -> int:
        """Publishes a batch; how many rows that was."""
        if self._fanout is not None and self._fanout.connected:
            text = await self._database.value("care.untold_hints", p_limit=BATCH)
            untold = msgspec.json.decode(text, type=_Untold)
            if not untold.rows:
                return 0
            # Marked only now: what a process that dies in between has told is told again, and nothing is forgotten.
            if await self._fanout.publish(untold.hints):
                await self._database.value("care.mark_told", p_rows=msgspec.json.encode(untold.rows).decode())
                return len(untold.rows)
        return int(await self._database.value("care.publish_hints", p_limit=BATCH))

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._poll_seconds):
                await self._nudged.wait()
        except TimeoutError:
            pass
