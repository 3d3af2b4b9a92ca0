"""How letters to members stand, and another try for those that failed. Ids and codes, nobody's address."""

from datetime import datetime
from uuid import UUID

import msgspec

from care_collective.db.call import Database

MOST_SHOWN = 50


class Failed(msgspec.Struct, frozen=True):
    """A letter that was given up (`dead_at`) or is tried again at `due_at`. `error`: a code of operations/smtp.py."""

    id: UUID
    community: str
    kind: str
    created_at: datetime
    attempts: int
    error: str
    due_at: datetime
    dead_at: datetime | None = None


class State(msgspec.Struct, frozen=True):
    """How many letters are due, have failed and were given up; the newest of the latter two."""

    waiting: int
    failing: int
    dead: int
    letters: list[Failed] = []


async def state(owner: Database) -> State:
    """How letters stand."""
    counts = msgspec.json.decode(await owner.value("care.letter_counts"), type=State)
    failed = msgspec.json.decode(await owner.value("care.failed_letters", p_most=MOST_SHOWN), type=list[Failed])
    return msgspec.structs.replace(counts, letters=failed)


async def retry(owner: Database) -> int:
    """Lets all that failed go out at the next look of a running site, those given up among them; how many."""
    letters: int = await owner.value("care.retry_deliveries")
    return letters
