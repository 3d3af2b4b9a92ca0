"""Closing the loop: reminds owners of offers they have not answered, and ends requests that nobody touches any more."""

import asyncio
from typing import Final
from uuid import UUID

import msgspec
import structlog

from care_collective.db.call import Database
from care_collective.errors import CareError

log = structlog.get_logger("care_collective.requests")

CHORE: Final = "requests"
EVERY_SECONDS: Final = 600.0
# How long a node that is gone keeps others from it.
HOLD_SECONDS: Final = 1800
BATCH: Final = 100
# A community at a time, so that one with very many waits for its next turn and not all others for it.
MOST_BATCHES: Final = 20
# Between two batches: members' calls come in between.
PAUSE_SECONDS: Final = 0.2


async def tend(database: Database, holder: UUID, *, pause_seconds: float = PAUSE_SECONDS) -> bool:
    """One round over every community, where this process has the chore; whether it has.

    What fails in one is logged and keeps no other waiting. Errors: CareError where nothing can be begun.
    """
    if not await database.value("care.hold_chore", p_name=CHORE, p_holder=holder, p_seconds=HOLD_SECONDS):
        return False
    for community_id in msgspec.json.decode(await database.value("care.list_tended"), type=list[UUID]):
        try:
            await _tend_one(database, community_id, pause_seconds)
        except CareError as error:
            log.warning("requests.tending_failed", community_id=str(community_id), error_code=str(error.code))
    return True


async def _tend_one(database: Database, community_id: UUID, pause_seconds: float) -> None:
    for _ in range(MOST_BATCHES):
        if await database.value("care.tend_requests", p_community_id=community_id, p_limit=BATCH) < BATCH:
            break
        await asyncio.sleep(pause_seconds)


async def keep_tended(database: Database, holder: UUID, *, every_seconds: float = EVERY_SECONDS) -> None:
    """A round every ten minutes, for ever; `holder` names this process. Of several nodes one does it.

    The first comes after the first ten minutes: nothing here is in a hurry, and a start is.
    """
    while True:
        await asyncio.sleep(every_seconds)
        try:
            await tend(database, holder)
        except CareError as error:
            log.warning("requests.tending_failed", error_code=str(error.code))
