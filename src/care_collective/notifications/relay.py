"""Publishes outbox rows as hints. What they say is in the tables; a hint lost between two processes loses nothing."""

import asyncio
from typing import Final

import structlog

from care_collective.db.call import Database
from care_collective.errors import CareError

log = structlog.get_logger("care_collective.notifications")

# Rows of any node that ended between its commit and its hint are found by looking.
POLL_SECONDS: Final = 1.0
# What is written meanwhile goes out as one: notifying transactions commit one after the other, in the whole server.
GATHER_SECONDS: Final = 0.01
BATCH: Final = 200


class Relay:
    """Publishes what is unpublished, soon after a nudge and at least every second. Nodes share the rows."""

    def __init__(
        self, database: Database, *, poll_seconds: float = POLL_SECONDS, gather_seconds: float = GATHER_SECONDS
    ) -> None:
        self._database = database
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
                more = await self._database.value("care.publish_hints", p_limit=BATCH) == BATCH
            except CareError as error:
                log.warning("notifications.relay_failed", error_code=str(error.code))
                more = False
                self._nudged.clear()  # a database that is away is not asked for every call that fails on it
            await asyncio.sleep(self._gather_seconds)
            if not more:
                await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._poll_seconds):
                await self._nudged.wait()
        except TimeoutError:
            pass
