"""The probe: opens a conversation in each engine for a reserved community, in transactions that are rolled back.

Calls the engines as members' offers do, past the facade: it is no attempt of anybody's, and is counted nowhere else.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal
from uuid import UUID

import msgspec
import structlog

from care_collective.db.call import Answer, Caller, Database
from care_collective.errors import CareError, Code

log = structlog.get_logger("care_collective.rollout")

# Half of the lease: two tries end before another node probes.
TRY_SECONDS: Final = 4.0
_WORDS: Final = "A probe of this engine, which is rolled back."

Version = Literal["v1", "v2"]
Start = Callable[[Database, Caller, UUID, str], Awaitable[Answer]]


class _Place(msgspec.Struct, frozen=True):
    community_id: UUID
    helper_id: UUID
    help_request_id: UUID


async def probe(
    database: Database, members: Database, starts: Mapping[Version, Start], *, flag: str, node_id: UUID
) -> bool:
    """Probes both engines if it is this node's turn, and stores what came of it; says whether it was.

    The engines are called over `members`, as members' offers are; `database` is for the turn and what came of it.
    Errors: CareError where the lease or its result cannot be written, and nothing is counted then.
    """
    text = await database.value("care.take_probe", p_flag=flag, p_node_id=node_id)
    if text is None:
        return False
    place = msgspec.json.decode(text, type=_Place)
    # V1 first: what fails only from here on is not taken for a fault of V2's alone.
    codes = {version: await _try(members, starts[version], place) for version in ("v1", "v2")}
    if codes["v2"] == "engine_off":  # stopped since the lease was taken
        return True
    await database.value(
        "care.keep_probe",
        p_flag=flag,
        p_node_id=node_id,
        p_v1=codes["v1"] is None,
        p_v2=codes["v2"] is None,
        p_code=codes["v2"],
    )
    if codes["v1"] or codes["v2"]:
        log.warning("guard.probe_failed", v1=codes["v1"], v2=codes["v2"])
    return True


async def _try(members: Database, start: Start, place: _Place) -> str | None:
    """The code of what went wrong, or None. Whatever is no success is a failure: this offer has to be taken."""
    caller = Caller(place.helper_id, place.community_id)
    try:
        async with asyncio.timeout(TRY_SECONDS), members.undone() as undone:
            refusal = (await start(undone, caller, place.help_request_id, _WORDS)).refusal()
    except CareError as error:
        refusal = error
    except TimeoutError:
        return str(Code.UNAVAILABLE)
    if refusal is None:
        return None
    return "engine_off" if refusal.reason == "engine_off" else str(refusal.code)
