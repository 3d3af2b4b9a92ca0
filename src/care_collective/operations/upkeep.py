"""What a serving process does by itself from time to time."""

import asyncio
from typing import Final

import structlog

from care_collective.db.call import Database
from care_collective.errors import CareError

log = structlog.get_logger("care_collective.operations")

HOUR_SECONDS: Final = 3600.0


async def keep_pruned(database: Database, *, every_seconds: float = HOUR_SECONDS) -> None:
    """Removes expired sessions and idempotency keys past their time, for ever. Several nodes may: it is repeatable."""
    while True:
        try:
            await database.value("care.prune")
        except CareError as error:
            log.warning("operations.prune_failed", error_code=str(error.code))
        await asyncio.sleep(every_seconds)
