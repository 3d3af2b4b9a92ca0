"""What a serving process does by itself from time to time."""

import asyncio
from typing import Final

import structlog

from care_collective.db.call import Database
from care_collective.errors import CareError

log = structlog.get_logger("care_collective.operations")

HOUR_SECONDS: Final = 3600.0
# Between two batches: members' calls and the server's own vacuum come in between.
PAUSE_SECONDS: Final = 0.2


async def keep_pruned(
    database: Database, *, every_seconds: float = HOUR_SECONDS, pause_seconds: float = PAUSE_SECONDS
) -> None:
    """Removes expired sessions and idempotency keys past their time, for ever. Several nodes may: it is repeatable.

    Each round goes on, a batch a call, until nothing is left to remove.
    """
    while True:
        removed = 0
        try:
            removed = await database.value("care.prune")
        except CareError as error:
            log.warning("operations.prune_failed", error_code=str(error.code))
        await asyncio.sleep(pause_seconds if removed else every_seconds)
