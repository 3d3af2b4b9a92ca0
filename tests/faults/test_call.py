"""The seam under faults: what is tried again, what never, and what a caller is told of what remains."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, cast
from uuid import uuid4

import asyncpg
import pytest

from care_collective.db import pool as pools
from care_collective.db.call import Caller, Database
from care_collective.errors import CareError, Code
from engines.stage import waiting
from harness import FIRST_WORDS, Care, Postgres, care

WITH_KEY, WITHOUT = Caller(uuid4(), None, "tap"), Caller(uuid4())

# Fails the first times it is asked with the SQLSTATE it is given. A sequence remembers through rollbacks.
FLAKY = """
create sequence care.tries;
create function care.flaky(p_sqlstate text, p_times integer) returns jsonb language plpgsql as $$
begin
  if nextval('care.tries') <= p_times then
    raise exception 'planted in table secrets' using errcode = p_sqlstate, detail = 'a row of secrets';
  end if;
  return '{"success": true}';
end
$$;
create function care.wait_for(p_lock bigint) returns jsonb language plpgsql as $$
begin
  perform nextval('care.tries');
  perform pg_advisory_xact_lock(p_lock);
  return '{"success": true}';
end
$$;
create function care.lock_each(p_locks bigint[]) returns jsonb language plpgsql as $$
begin
  perform nextval('care.tries');
  for place in 1 .. cardinality(p_locks) loop
    perform pg_advisory_xact_lock(p_locks[place]);
  end loop;
  return '{"success": true}';
end
$$;
grant usage on schema care to care_app;
grant usage on sequence care.tries to care_app;
grant execute on function care.flaky(text, integer), care.wait_for(bigint), care.lock_each(bigint[]) to care_app;
"""


@dataclass(frozen=True, slots=True)
class Seam:
    """A database with functions that fail as they are told, and how often they were asked."""

    care: Care
    database: Database

    async def tries(self) -> int:
        """How often a function was asked since the last time this was, in all transactions."""
        tried = await self.care.owner.fetchval("select case when is_called then last_value else 0 end from care.tries")
        await self.care.owner.execute("alter sequence care.tries restart")
        return int(tried)

    async def outcome(self, caller: Caller, function: str, **arguments: object) -> str:
        """`done`, or the code a call ended with."""
        try:
            answer = await self.database.call(function, caller, **arguments)
        except CareError as error:
            told = error
        else:
            assert answer.data() == {"success": True}
            return "done"
        assert "secrets" not in f"{told} {told.extras}"
        assert told.extras == ({"retry_after": 1} if told.code == Code.UNAVAILABLE else {})
        return str(told.code)

    async def waiting(self) -> int:
        """The backend that waits for a lock; there has to be one soon."""
        ends = monotonic() + 15
        while monotonic() < ends:
            pid = await self.care.owner.fetchval(
                "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            )
            if pid is not None:
                return int(pid)
            await asyncio.sleep(0.005)
        raise AssertionError("nobody waits")


@pytest.fixture(scope="module")
async def flaky(postgres: Postgres) -> AsyncIterator[Care]:
    """One database with the functions above for all tests here."""
    name = await postgres.create()
    async with care(postgres, name) as opened:
        await opened.owner.execute(FLAKY)
        await opened.owner.execute(f"alter database {name} set deadlock_timeout = '20ms'")
        yield opened
    await postgres.drop(name)


@asynccontextmanager
async def opened(care: Care, statement_timeout: str, *, acquire_seconds: float = 5) -> AsyncIterator[Seam]:
    """The seam over two connections."""
    pool = await asyncpg.create_pool(
        care.server.dsn(user="care_app", database=care.name),
        min_size=1,
        max_size=2,
        server_settings={"statement_timeout": statement_timeout},
    )
    try:
        yield Seam(care, Database(pool, acquire_seconds=acquire_seconds, random_=random.Random(1)))
    finally:
        await pool.close()


@pytest.fixture
async def seam(flaky: Care) -> AsyncIterator[Seam]:
    """The seam of one test, with its count at nought."""
    async with opened(flaky, "10s") as made:
        await made.tries()
        yield made


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
@pytest.mark.parametrize("caller", [WITH_KEY, WITHOUT], ids=["key", "no key"])
async def test_conflicts_are_retried_three_times(seam: Seam, sqlstate: str, caller: Caller) -> None:
    asked: dict[str, Any] = {"p_sqlstate": sqlstate}
    for times, outcome, tries in ((1, "done", 2), (3, "done", 4), (4, "unavailable", 4)):
        assert await seam.outcome(caller, "care.flaky", **asked, p_times=times) == outcome
        assert await seam.tries() == tries


@pytest.mark.parametrize("sqlstate", ["55P03", "55006", "53100", "53300", "57014"])
@pytest.mark.parametrize("caller", [WITH_KEY, WITHOUT], ids=["key", "no key"])
async def test_what_waiting_here_would_not_mend_is_answered_at_once(seam: Seam, sqlstate: str, caller: Caller) -> None:
    assert await seam.outcome(caller, "care.flaky", p_sqlstate=sqlstate, p_times=1) == "unavailable"
    assert await seam.tries() == 1


@pytest.mark.parametrize("sqlstate", ["08006", "57P01", "57P02"])
async def test_a_commit_that_may_have_happened_is_tried_again_only_with_a_key(seam: Seam, sqlstate: str) -> None:
    assert await seam.outcome(WITHOUT, "care.flaky", p_sqlstate=sqlstate, p_times=1) == "unavailable"
    assert await seam.tries() == 1
    assert await seam.outcome(WITH_KEY, "care.flaky", p_sqlstate=sqlstate, p_times=1) == "done"
    assert await seam.tries() == 2


@pytest.mark.parametrize("sqlstate", ["23505", "42501", "XX000", "P0001"])
async def test_any_other_fault_is_told_without_its_words(seam: Seam, sqlstate: str) -> None:
    assert await seam.outcome(WITH_KEY, "care.flaky", p_sqlstate=sqlstate, p_times=1) == "rpc_error"
    assert await seam.tries() == 1


async def test_what_is_no_value_or_no_function_is_told_as_such(seam: Seam) -> None:
    assert await seam.outcome(WITHOUT, "care.flaky", p_sqlstate="40001", p_times="three") == "validation_error"
    assert await seam.outcome(WITHOUT, "care.flaky", p_sqlstate="NUL \0", p_times=1) == "validation_error"
    assert await seam.outcome(WITHOUT, "care.flaky", p_sqlstate="40001", p_times=1 << 40) == "validation_error"
    assert await seam.outcome(WITHOUT, "care.there_is_no_such_function") == "rpc_error"


async def test_a_real_deadlock_is_not_seen_by_its_caller(seam: Seam) -> None:
    """The call closes the circle: a wait looks for one a single time, after its deadlock_timeout."""
    gate, rival = await seam.care.connect(), await seam.care.connect()
    await rival.execute("set deadlock_timeout = '60s'")  # so that the seam's own call is the one that is ended
    async with rival.transaction():
        await rival.execute("select pg_advisory_xact_lock(2)")
        async with gate.transaction():
            await gate.execute("select pg_advisory_xact_lock(3)")
            call = asyncio.create_task(seam.outcome(WITHOUT, "care.lock_each", p_locks=[1, 3, 2]))
            await waiting(seam.care, 1)
            closing = asyncio.create_task(rival.execute("select pg_advisory_xact_lock(1)"))
            await waiting(seam.care, 2)
        await closing
    await asyncio.gather(gate.close(), rival.close())
    assert await call == "done"
    assert await seam.tries() >= 2


@pytest.mark.parametrize(("caller", "told", "tries"), [(WITHOUT, "unavailable", 1), (WITH_KEY, "done", 2)])
async def test_a_call_whose_backend_is_ended(seam: Seam, caller: Caller, told: str, tries: int) -> None:
    holder = await seam.care.connect()
    async with holder.transaction():
        await holder.execute("select pg_advisory_xact_lock(1)")
        call = asyncio.create_task(seam.outcome(caller, "care.wait_for", p_lock=1))
        ended = await seam.waiting()
        assert await seam.care.owner.fetchval("select pg_terminate_backend($1, 1000)", ended)
        if caller is WITH_KEY:
            assert await seam.waiting() != ended
    assert await call == told
    await holder.close()
    assert await seam.tries() == tries
    assert await seam.outcome(WITHOUT, "care.wait_for", p_lock=1) == "done", "the pool has lost a connection for good"


@pytest.mark.parametrize("caller", [WITH_KEY, WITHOUT], ids=["key", "no key"])
async def test_a_statement_that_takes_too_long_is_unavailable_and_not_tried_again(seam: Seam, caller: Caller) -> None:
    holder = await seam.care.connect()
    async with opened(seam.care, "200ms") as hasty, holder.transaction():
        await holder.execute("select pg_advisory_xact_lock(1)")
        assert await hasty.outcome(caller, "care.wait_for", p_lock=1) == "unavailable"
    await holder.close()
    assert await seam.tries() <= 1  # none where it had not come so far


async def test_a_pool_with_nothing_left_is_unavailable_and_recovers(seam: Seam) -> None:
    async with opened(seam.care, "10s", acquire_seconds=0.2) as hasty:
        async with hasty.database.pool.acquire(), hasty.database.pool.acquire():
            began = monotonic()
            assert await hasty.outcome(WITHOUT, "care.flaky", p_sqlstate="40001", p_times=0) == "unavailable"
            assert monotonic() - began > 0.15
        assert await hasty.outcome(WITHOUT, "care.flaky", p_sqlstate="40001", p_times=0) == "done"


@pytest.mark.parametrize("undone", [False, True], ids=["alone", "within a transaction"])
async def test_a_call_that_was_given_up_is_over_though_its_server_hangs(
    seam: Seam, monkeypatch: pytest.MonkeyPatch, undone: bool
) -> None:
    async def wait(database: Database) -> None:
        await database.call("care.wait_for", WITHOUT, p_lock=1)

    async def wait_within() -> None:
        async with seam.database.undone() as within:
            await wait(within)

    monkeypatch.setattr(pools, "_RELEASE_SECONDS", 0.05)
    holder = await seam.care.connect()
    async with holder.transaction():
        await holder.execute("select pg_advisory_xact_lock(1)")
        call = asyncio.create_task(wait_within() if undone else wait(seam.database))
        hung = await seam.waiting()
        os.kill(hung, signal.SIGSTOP)
        call.cancel()
        await asyncio.wait({call}, timeout=5)
        over = call.cancelled()
        os.kill(hung, signal.SIGCONT)
    await holder.close()
    assert over
    assert await seam.outcome(WITHOUT, "care.wait_for", p_lock=1) == "done", "the pool has lost a connection for good"


class Late:
    """A pool that has no connection at first: the server takes none just then."""

    def __init__(self, pool: asyncpg.Pool, error: Exception, times: int) -> None:
        self._pool, self._errors, self.release = pool, [error] * times, pool.release

    async def acquire(self) -> Any:  # noqa: ANN401
        """A connection, but not the first times."""
        if self._errors:
            raise self._errors.pop()
        return await self._pool.acquire()


@pytest.mark.parametrize(
    ("error", "times"),
    # More often than what may have been written is: a server that starts again takes its time.
    [
        (BlockingIOError(), 1),
        (asyncpg.CannotConnectNowError("starting"), 5),
        (asyncpg.TooManyConnectionsError("sorry"), 1),
        (asyncpg.InterfaceError("closing"), 1),
    ],
)
async def test_who_had_no_connection_has_asked_nothing_and_tries_again(
    seam: Seam, error: Exception, times: int
) -> None:
    late = Seam(seam.care, Database(cast(asyncpg.Pool, Late(seam.database.pool, error, times))))
    assert await late.outcome(WITHOUT, "care.flaky", p_sqlstate="40001", p_times=0) == "done"


class Lost(Database):
    """A seam whose driver loses its connection while it prepares, as it did under kill -9: the driver's own error."""

    lost = 1

    async def _fetch(self, *given: Any) -> asyncpg.Record:  # noqa: ANN401
        if self.lost:
            self.lost -= 1
            raise asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress")
        return await super()._fetch(*given)


async def test_what_the_driver_makes_of_a_lost_connection_is_unavailable(seam: Seam) -> None:
    asked: dict[str, Any] = {"p_sqlstate": "40001", "p_times": 0}
    for caller, told in ((WITHOUT, "unavailable"), (WITH_KEY, "done")):
        assert await Seam(seam.care, Lost(seam.database.pool)).outcome(caller, "care.flaky", **asked) == told


async def test_a_cancelled_call_stays_cancelled_whatever_the_driver_says(seam: Seam) -> None:
    async def call() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        await Lost(seam.database.pool).call("care.flaky", WITH_KEY, p_sqlstate="40001", p_times=0)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(call())


async def test_one_persons_claims_are_gone_with_their_call(seam: Seam) -> None:
    """A pool of one connection: what a call set does not reach the next (rule 8)."""
    pool = await asyncpg.create_pool(
        seam.care.server.dsn(user="care_app", database=seam.care.name), min_size=1, max_size=1
    )
    database = Database(pool)
    town = await seam.care.town()
    helper, request = await town.member("Hal"), await town.request(await town.member("Olga"))
    words = {"p_help_request_id": request, "p_helper_id": helper.user_id, "p_initial_message": FIRST_WORDS}
    assert (await database.call("public.create_conversation_atomic", helper.caller("tap"), **words)).refusal() is None
    replayed = await database.call("public.create_conversation_atomic", helper.caller("tap"), **words)
    assert replayed.headers == {"Idempotency-Replayed": "true", "Conversation-Version": "v2"}
    for caller in (Caller(), Caller(None, town.community_id, "tap")):
        answer = await database.call("public.create_conversation_atomic", caller, **words)
        refusal = answer.refusal()
        assert refusal is not None
        assert (refusal.code, refusal.reason) == (Code.PERMISSION_DENIED, "identity")
        assert answer.headers == {}
    await pool.close()
