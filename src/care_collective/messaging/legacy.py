"""The V1 engine: opens a conversation in three calls and three commits, each of which can be the last.

Not atomic, on purpose. A retry, with or without the same key, goes on where the first attempt stopped.
"""

from uuid import UUID

import msgspec

from care_collective.db.call import Answer, Caller, Database


class _Opened(msgspec.Struct, frozen=True):
    conversation_id: UUID
    recipient_id: UUID | None = None


async def start(database: Database, caller: Caller, help_request_id: UUID, initial_message: str) -> Answer:
    """Offers help. Errors: CareError from any step; what earlier steps wrote stays."""
    first = await database.call(
        "public.legacy_open_conversation",
        caller,
        p_help_request_id=help_request_id,
        p_initial_message=initial_message,
    )
    if first.refusal() is not None:
        return first
    opened = msgspec.json.decode(first.text, type=_Opened)
    if opened.recipient_id is None:  # complete already: the answer of this key's first call
        return first
    second = await database.call(
        "public.legacy_add_participants",
        caller,
        p_conversation_id=opened.conversation_id,
        p_recipient_id=opened.recipient_id,
    )
    if second.refusal() is not None:
        return second
    return await database.call(
        "public.legacy_write_first_message",
        caller,
        p_conversation_id=opened.conversation_id,
        p_recipient_id=opened.recipient_id,
        p_content=initial_message,
    )
