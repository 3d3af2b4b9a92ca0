"""Rule 8: one pooled connection never carries one person's claims, key or headers into another's call."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from care_collective.db import pool as pools
from care_collective.db.call import NOBODY, Caller, Database
from care_collective.db.pool import make_pool
from care_collective.errors import CareError, Code
from database.steps import Stage
from harness import FIRST_WORDS, Care


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


@pytest.fixture
async def single(shared: Care, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """The seam over one connection, which stays out of its pool after a call until the test has ended."""
    monkeypatch.setattr(pools, "_SPARE_SECONDS", 60)
    pool = await make_pool(shared.server.dsn(user="care_app", database=shared.name), size=1)
    database = Database(pool, acquire_seconds=30)
    yield database
    database._spares._give_back()
    await pool.close()


async def test_a_connection_goes_from_call_to_call_and_first_to_who_waits_for_it(single: Database) -> None:
    async def process() -> int:
        return int(await single.value("pg_catalog.pg_backend_pid"))

    assert len({await process(), await process(), *await asyncio.gather(process(), process(), process())}) == 1


async def test_a_connection_whose_calls_are_undone_is_given_back_by_who_undoes_them_alone(single: Database) -> None:
    async with single.undone() as undone:
        process = await undone.value("pg_catalog.pg_backend_pid")
        undone._spares._give_back()
        await asyncio.gather(*undone._spares._returning)
        assert await undone.value("pg_catalog.pg_backend_pid") == process
    assert await single.value("pg_catalog.pg_backend_pid") == process


async def test_a_spare_connection_that_the_server_has_ended_is_not_used(single: Database, shared: Care) -> None:
    first = await single.value("pg_catalog.pg_backend_pid")
    (spare,) = single._spares._spare
    ended = asyncio.Event()
    spare.add_termination_listener(lambda _: ended.set())
    assert await shared.owner.fetchval("select pg_terminate_backend($1)", first)
    await ended.wait()
    assert await single.value("pg_catalog.pg_backend_pid") != first  # without a key, so that nothing is tried again


async def test_a_spare_connection_of_whose_end_the_pool_has_not_heard_is_lent_no_more(single: Database) -> None:
    await single.value("pg_catalog.now")
    (spare,) = single._spares._spare
    spare._con._aborted = True  # as the driver has it between an end and its own tidying up
    assert await single.value("pg_catalog.pg_backend_pid") > 0


async def test_spare_connections_go_back_to_their_pool(shared: Care) -> None:
    pool = await make_pool(shared.server.dsn(user="care_app", database=shared.name), size=1)
    await Database(pool).value("pg_catalog.now")
    async with asyncio.timeout(5), pool.acquire() as connection:
        assert await connection.fetchval("select 1") == 1
    await pool.close()
