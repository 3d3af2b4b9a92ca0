"""V1's conversations in operators' hands: how they stand, mending them, moving them whole into V2, and the proof of it.

SQL does each conversation in a transaction of its own, under the locks of rule 11; here is the order and the count.
Whatever is stopped half way is resumed by doing it again.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from care_collective.db.call import Database
from care_collective.errors import CareError, Code
from care_collective.operations.doctor import examine

Tell = Callable[[str], None]

_BATCH: Final = 200
_FIRST: Final = UUID(int=0)
# A conversation whose people write at this moment is met again when the others are done.
_ROUNDS: Final = 3

# Why a conversation stays in V1, and what may be done about it.
STAYS: Final = {
    "busy": "It was locked for too long. Run it again.",
    "orphan": "Nothing was written in it: care-collective legacy repair mends it.",
    "not_in_v1": "V1 has it no more. Perhaps it was moved meanwhile: care-collective legacy verify.",
    "first_message_short": "Its first message has fewer than 10 characters, which V2 cannot hold. It goes on in V1.",
    "hidden": "It is hidden as a whole and its first message is not, which V2 cannot tell apart. Hide that too.",
    "double_pair": "V2 has another conversation of these two on this request. Both go on where they are.",
    "unread_sum": "A count of unread messages is wrong: care-collective legacy repair mends it.",
}
_DOCTOR: Final = "It is not as it has to be: see care-collective doctor. It goes on in V1."

WRONG: Final = {
    "missing": "It is not in V2.",
    "double": "It is in V1 too.",
    "count": "It has not as many messages as were moved.",
    "content": "Its messages are not those that were moved.",
    "members": "It has not two inbox rows of V2.",
}


class Orphan(msgspec.Struct, frozen=True):
    """A V1 conversation without a message."""

    community_id: UUID
    conversation_id: UUID
    opened_at: str
    age_seconds: int


class Repaired(msgspec.Struct, frozen=True):
    """What was mended: kind orphan or unread_sum. `done` is false where it was to be tried only, or was not needed."""

    kind: str
    community_id: UUID
    conversation_id: UUID
    done: bool


class Stayed(msgspec.Struct, frozen=True):
    """A conversation that was not moved, why in one word, and what may be done."""

    community_id: UUID
    conversation_id: UUID
    why: str

    @property
    def next_step(self) -> str:
        """What may be done about it, in words for an operator."""
        return STAYS.get(self.why, _DOCTOR)


class Moved(msgspec.Struct):
    """What came of a move: how many conversations were moved (or could be, in a dry run), and which stayed."""

    moved: int = 0
    already: int = 0
    stayed: list[Stayed] = msgspec.field(default_factory=list)


class Found(msgspec.Struct, frozen=True):
    """A moved conversation that is not as it was moved."""

    community_id: UUID
    conversation_id: UUID
    wrong: str


class Verified(msgspec.Struct):
    """How many moved conversations and messages were compared, and what was found."""

    conversations: int = 0
    messages: int = 0
    found: list[Found] = msgspec.field(default_factory=list)


class _Compared(msgspec.Struct, frozen=True):
    community_id: UUID
    conversation_id: UUID
    messages: int
    wrong: str | None


async def status(owner: Database) -> dict[str, Any]:
    """How V1 stands, as care.legacy_status answers."""
    found: dict[str, Any] = (await owner.call("care.legacy_status")).data()
    return found


async def repair(owner: Database, *, older_seconds: int, actor: str, dry_run: bool = False) -> list[Repaired]:
    """Removes orphans that nobody has touched for so long, and counts anew what doctor finds counted wrongly.

    Each in a transaction of its own, with a line in the audit log. What is completed or written to meanwhile, or is
    locked for too long, is left.
    """
    orphans = msgspec.json.decode(
        await owner.value("care.legacy_orphans", p_older_seconds=older_seconds), type=list[Orphan]
    )
    mended = []
    for orphan in orphans:
        done = not dry_run and await _unless_busy(
            owner,
            "care.repair_orphan",
            p_community_id=orphan.community_id,
            p_conversation_id=orphan.conversation_id,
            p_older_seconds=older_seconds,
            p_actor=actor,
        )
        mended.append(Repaired("orphan", orphan.community_id, orphan.conversation_id, done))
    for found in await examine(owner):
        if found.kind == "unread_sum":
            user_id = UUID(found.detail.split()[1])  # member ID has …
            done = not dry_run and await _unless_busy(
                owner,
                "care.repair_unread",
                p_community_id=found.community_id,
                p_conversation_id=found.subject,
                p_user_id=user_id,
                p_actor=actor,
            )
            mended.append(Repaired("unread_sum", found.community_id, found.subject, done))
    return mended


async def _unless_busy(owner: Database, function: str, **arguments: object) -> bool:
    try:
        return bool(await owner.value(function, **arguments))
    except CareError as error:
        if not _is_lock(error):
            raise
        return False


def _is_lock(error: CareError) -> bool:
    """Whether a call was given up because somebody else held what it needs."""
    return error.sqlstate is not None and error.sqlstate[:2] == "55"


async def move(
    owner: Database, chosen: Sequence[UUID] | None, *, actor: str, dry_run: bool = False, tell: Tell = lambda _: None
) -> Moved:
    """Moves V1 conversations whole into V2: the chosen ones, or all where None. A dry run only looks for obstacles.

    Errors: CareError `not_found` for an id that neither is in V1 nor was moved from there, before anything is moved.
    """
    result = Moved()
    places = _all(owner) if chosen is None else _named(await _places(owner, chosen, result))
    busy: list[tuple[UUID, UUID]] = []
    async for place in places:
        await _one(owner, place, actor, result, busy, dry_run=dry_run)
        if (result.moved + len(result.stayed)) % 100 == 0:
            tell(f"{'Looked at' if dry_run else 'Moved'} {result.moved}")
    for _ in range(_ROUNDS):
        again, busy = busy, []
        for place in again:
            await _one(owner, place, actor, result, busy, dry_run=dry_run)
    result.stayed += [Stayed(community_id, identity, "busy") for community_id, identity in busy]
    return result


async def _one(
    owner: Database,
    place: tuple[UUID, UUID],
    actor: str,
    result: Moved,
    busy: list[tuple[UUID, UUID]],
    *,
    dry_run: bool,
) -> None:
    arguments = {"p_community_id": place[0], "p_conversation_id": place[1]}
    try:
        if dry_run:
            why = await owner.value("care.legacy_obstacle", **arguments)
        else:
            why = await owner.value("care.legacy_move", **arguments, p_actor=actor)
    except CareError as error:
        if not _is_lock(error):
            raise
        busy.append(place)
        return
    if why is None:
        result.moved += 1
    else:
        result.stayed.append(Stayed(*place, why))


async def _all(owner: Database) -> AsyncIterator[tuple[UUID, UUID]]:
    place = (_FIRST, _FIRST)
    while batch := msgspec.json.decode(
        await owner.value("care.legacy_batch", p_community_id=place[0], p_after=place[1], p_limit=_BATCH),
        type=list[tuple[UUID, UUID]],
    ):
        for place in batch:
            yield place


async def _named(places: Sequence[tuple[UUID, UUID]]) -> AsyncIterator[tuple[UUID, UUID]]:
    for place in places:
        yield place


async def _places(owner: Database, chosen: Sequence[UUID], result: Moved) -> list[tuple[UUID, UUID]]:
    places = []
    for identity in dict.fromkeys(chosen):
        text = await owner.value("care.legacy_find", p_conversation_id=identity)
        if text is None:
            raise CareError(
                Code.NOT_FOUND,
                message=f"V1 has no conversation {identity}, and none was moved from it. Nothing was done.",
            )
        found = msgspec.json.decode(text)
        if found["moved"]:
            result.already += 1
        else:
            places.append((UUID(found["community_id"]), identity))
    return places


async def verify(owner: Database, *, tell: Tell = lambda _: None) -> Verified:
    """Compares every moved conversation with what was written down of it when it was moved."""
    result = Verified()
    place = (_FIRST, _FIRST)
    while batch := msgspec.json.decode(
        await owner.value("care.legacy_verify", p_community_id=place[0], p_after=place[1], p_limit=_BATCH),
        type=list[_Compared],
    ):
        for one in batch:
            result.conversations += 1
            result.messages += one.messages
            if one.wrong is not None:
                result.found.append(Found(one.community_id, one.conversation_id, one.wrong))
        place = (batch[-1].community_id, batch[-1].conversation_id)
        tell(f"Compared {result.conversations}")
    return result
