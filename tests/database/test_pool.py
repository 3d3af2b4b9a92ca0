"""Rule 8: one pooled connection never carries one person's claims, key or headers into another's call."""

from uuid import UUID

import asyncpg
import pytest

from care_collective.db.call import NOBODY, Caller, Database
from care_collective.db.pool import make_pool
from care_collective.errors import CareError, Code
from database.steps import Stage
from harness import FIRST_WORDS


async def is_clean(pool: asyncpg.Pool) -> bool:
    """Whether the one connection has no claims, headers or answer headers left."""
    async with pool.acquire() as connection:
        left = await connection.fetchrow(
            "select current_setting('request.jwt.claims', true), current_setting('request.headers', true), "
            "current_setting('response.headers', true), current_user"
        )
    return not any(left[:3]) and left[3] == "care_app"


async def test_callers_interleaved_on_one_connection_stay_apart(stage: Stage) -> None:
    care, community = stage.town.care, stage.town.community_id
    pool = await make_pool(care.server.dsn(user="care_app", database=care.name), size=1)
    database = Database(pool)
    people = (stage.owner, stage.helper)

    async def who(caller: Caller) -> UUID | None:
        answer = await database.call("care.me", caller)
        refusal = answer.refusal()
        if refusal is None:
            return UUID(answer.data()["user_id"])
        assert (refusal.code, refusal.reason) == (Code.PERMISSION_DENIED, "identity")
        return None

    async def fails(caller: Caller) -> None:
        with pytest.raises(CareError):
            # No such parameter: the statement fails after it was sent.
            await database.call("public.list_conversations", caller, p_nothing=1)

    for person in people * 2:
        assert await who(person.caller()) == person.user_id
        assert await who(NOBODY) is None
        await fails(person.caller())
        assert await who(NOBODY) is None
        assert await who(Caller(person.user_id)) is None  # two communities, none named
        assert await is_clean(pool)

    # A key, and the header of a replay, belong to their call alone.
    words = {
        "p_help_request_id": stage.open_request,
        "p_helper_id": stage.helper.user_id,
        "p_initial_message": FIRST_WORDS,
    }
    first = await database.call("public.create_conversation_atomic", stage.helper.caller("key"), **words)
    again = await database.call("public.create_conversation_atomic", stage.helper.caller("key"), **words)
    assert await is_clean(pool)
    assert (first.text, "Idempotency-Replayed" in again.headers) == (again.text, True)
    assert (await database.call("care.me", stage.owner.caller())).headers == {}
    without = await database.call("public.create_conversation_atomic", stage.helper.caller(), **words)
    assert without.refusal() is not None
    assert without.headers == {}
    assert await is_clean(pool)
    assert community == stage.helper.caller().community_id
    await pool.close()
