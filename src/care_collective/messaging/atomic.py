"""The V2 engine: opens a conversation in one call, one transaction, one round trip."""

from uuid import UUID

from care_collective.db.call import Answer, Caller, Database


async def start(database: Database, caller: Caller, help_request_id: UUID, initial_message: str) -> Answer:
    """Offers help. The answer is the function's own; after an orphan's completion a header names its engine."""
    return await database.call(
        "public.create_conversation_atomic",
        caller,
        p_help_request_id=help_request_id,
        p_helper_id=caller.user_id,
        p_initial_message=initial_message,
    )
