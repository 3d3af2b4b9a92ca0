"""What only V2 guarantees: a fault anywhere leaves nothing. V1 under the same faults leaves an orphan, on purpose.

An orphan is found by `care.violations()` and completed by its helper's retry, with the key or without it, in V1 or V2.
"""

import asyncio
from uuid import UUID

import pytest

from care_collective.errors import Code
from engines.stage import V1, V2, Engine, half_open, held, session, waiting
from harness import FIRST_WORDS, Care, Person, Town

pytestmark = pytest.mark.alike

# What an opening writes, and with which engine: each insert is made to fail in turn.
WRITES = {
    "public.conversations_v2": "v2",
    "public.conversations": "v1",
    "public.conversation_participants": "v1",
    "public.messages": "v1",
    "public.conversation_members": "both",
    "care.outbox": "both",
    "public.notifications": "both",
    "care.rate_counters": "both",
    "care.idempotency_keys": "both",
}
AFTER_STEP_ONE = {"public.conversation_participants", "public.messages", "public.conversation_members", "care.outbox",
                  "public.notifications"}  # fmt: skip
# A fault of our own making, and two that a server has: no space, and an administrator's hand.
FAULTS = {"server_error": "XX000", "disk_full": "53100", "shutdown": "57P01"}


@pytest.fixture
async def apart(scratch: Care) -> Town:
    """A town in a database of its own, whose tables a test may break."""
    return await scratch.town()


async def plant(town: Town, table: str, sqlstate: str) -> None:
    """Makes every insert into a table fail, before it is written."""
    await town.care.owner.execute(
        f"""
        create or replace function care.planted_fault() returns trigger language plpgsql as
          $$begin raise exception 'planted' using errcode = '{sqlstate}'; end$$;
        create trigger planted before insert on {table} for each row execute function care.planted_fault();
        """
    )


async def unplant(town: Town, table: str) -> None:
    """Takes the fault away."""
    await town.care.owner.execute(f"drop trigger planted on {table}")


async def rows(town: Town) -> dict[str, int]:
    """How many rows each table of an opening holds."""
    return {table: count for table in WRITES if (count := await town.count(table))}


async def pair(town: Town) -> tuple[Person, Person, UUID]:
    """A requester, a helper and the request between them."""
    owner, helper = await town.member("Olga"), await town.member("Hal")
    return owner, helper, await town.request(owner)


async def is_whole(town: Town, owner: Person, words: str = FIRST_WORDS) -> bool:
    """Whether there is one conversation with one message and one event, and nothing that doctor finds."""
    (item,) = (await owner.call("list_conversations"))["conversations"]
    assert (item["last_message"]["content"], item["last_seq"], item["unread"]) == (words, 0, 1)
    assert await town.count("care.outbox", "topic = 'conversation.opened'") == 1
    assert await town.count("care.thread_messages") == 1
    return await town.care.violations(town.community_id) == []


async def test_a_fault_at_any_write_of_v2_leaves_nothing_and_the_retry_opens(apart: Town) -> None:
    for table, engine in WRITES.items():
        if engine == "v1":
            continue
        for sqlstate in FAULTS.values():
            town = await apart.care.town()
            owner, helper, request = await pair(town)
            await plant(town, table, sqlstate)
            failed = await V2.offer(helper, request, key="tap")
            await unplant(town, table)

            assert failed.error == (Code.SERVER_ERROR if sqlstate == "XX000" else Code.UNAVAILABLE), (table, sqlstate)
            assert "planted" not in str(failed)
            assert await rows(town) == {}, (table, sqlstate)
            assert await town.care.violations() == []
            retried = await V2.offer(helper, request, key="tap")
            assert (retried.success, retried.replayed, retried.version) == (True, False, "v2")
            assert await is_whole(town, owner)


async def test_the_same_faults_leave_an_orphan_of_v1_that_a_retry_completes(apart: Town) -> None:
    retries: list[tuple[Engine, str | None]] = [(V1, "tap"), (V1, None), (V2, "tap"), (V2, None), (V1, "new")]
    for table, engine in WRITES.items():
        if engine == "v2":
            continue
        for (retry, key), sqlstate in zip(retries, [*FAULTS.values(), "XX000", "XX000"], strict=True):
            town = await apart.care.town()
            owner, helper, request = await pair(town)
            await plant(town, table, sqlstate)
            failed = await V1.offer(helper, request, key="tap")
            await unplant(town, table)

            assert failed.error == (Code.SERVER_ERROR if sqlstate == "XX000" else Code.UNAVAILABLE), (table, sqlstate)
            left = [("orphan", "v1")] if table in AFTER_STEP_ONE else []
            assert await town.care.violations(town.community_id) == left, (table, sqlstate)
            assert (await owner.call("list_conversations"))["conversations"] == []
            retried = await retry.offer(helper, request, key=key)
            assert (retried.success, retried.replayed) == (True, False), (table, retry, key, retried)
            assert retried.version == ("v1" if left else retry.version)
            assert await is_whole(town, owner)
            assert await town.count("care.rate_counters", "kind = 'conversations' and used = 1") == 1


@pytest.mark.parametrize("key", ["tap", None])
@pytest.mark.parametrize("steps", [1, 2])
async def test_a_client_that_goes_away_between_the_steps_leaves_what_a_retry_completes(
    town: Town, engine: Engine, steps: int, key: str | None
) -> None:
    owner, helper, request = await pair(town)
    orphan = await half_open(helper, request, key="tap", steps=steps)
    assert await town.care.violations(town.community_id) == [("orphan", "v1")]
    assert (await owner.call("list_offers", help_request_id=request))["conversations"] == []

    retried = await engine.offer(helper, request, key=key)
    again = await engine.offer(helper, request, key=key)

    assert (retried.success, retried.version, retried.conversation_id) == (True, "v1", orphan)
    assert again.conversation_id == orphan
    assert (again.success, again.replayed, again.error) == (
        (True, True, None) if key else (False, False, Code.CONVERSATION_EXISTS)
    )
    assert await is_whole(town, owner)


async def test_a_retry_with_other_words_completes_an_orphan_with_them(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    await half_open(helper, request, key="tap")
    words = "Other words, since the first ones were never sent."
    assert (await engine.offer(helper, request, words, key="tap")).error == Code.IDEMPOTENCY_MISMATCH
    assert (await engine.offer(helper, request, words)).success
    assert await is_whole(town, owner, words)


async def test_the_cut_answer_of_the_last_step_is_replayed_by_its_key_and_told_without(
    town: Town, engine: Engine
) -> None:
    """The commit happened, the answer did not arrive."""
    owner, helper, request = await pair(town)
    async with session(helper) as first:
        conversation = await first.offer(engine, request, key="tap")
    replayed = await engine.offer(helper, request, key="tap")
    told = await engine.offer(helper, request)
    assert (replayed.success, replayed.replayed, replayed.conversation_id) == (True, True, conversation)
    assert (told.error, told.conversation_id) == (Code.CONVERSATION_EXISTS, conversation)
    assert await is_whole(town, owner)


async def test_a_backend_that_ends_within_the_call_of_v2_leaves_nothing(town: Town) -> None:
    owner, helper, request = await pair(town)
    await end_backend_within(town, owner, helper, request, V2)
    assert await rows(town) == {}
    assert (await V2.offer(helper, request)).success
    assert await is_whole(town, owner)


async def test_a_backend_that_ends_within_the_last_step_of_v1_leaves_an_orphan(town: Town) -> None:
    owner, helper, request = await pair(town)
    await half_open(helper, request)
    await end_backend_within(town, owner, helper, request, V1)
    assert await town.care.violations(town.community_id) == [("orphan", "v1")]
    assert (await V2.offer(helper, request)).version == "v1"
    assert await is_whole(town, owner)


async def end_backend_within(town: Town, owner: Person, helper: Person, request: UUID, engine: Engine) -> None:
    """Ends the backend of a call without a key while it waits for the request: the caller is told `unavailable`."""
    async with session(owner) as other:
        await other.call("update_help_request", help_request_id=request, title="Bread and milk", category="other")
        offer = asyncio.create_task(engine.offer(helper, request))
        await waiting(town.care)
        ended = await town.care.owner.fetchval(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity "
            "where datname = current_database() and wait_event_type = 'Lock'"
        )
        assert ended == 1
        result = await offer
        assert (result.error, result.extras["retry_after"]) == (Code.UNAVAILABLE, 1)


async def test_with_its_key_the_call_outlives_its_backend(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    async with session(owner) as other:
        await other.call("update_help_request", help_request_id=request, title="Bread and milk", category="other")
        offer = asyncio.create_task(engine.offer(helper, request, key="tap"))
        await waiting(town.care)
        await town.care.owner.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and wait_event_type = 'Lock'"
        )
        await waiting(town.care)
    assert (await offer).success
    assert await is_whole(town, owner)


async def test_one_call_of_v2_is_one_transaction_and_of_v1_three(scratch: Care) -> None:
    """What the orphans come from, as the server counts it."""
    town = await scratch.town()
    commits = {}
    for engine in (V1, V2):
        _, helper, request = await pair(town)
        before = await town.care.owner.fetchval("select txid_current()")
        facade = held(scratch, "on" if engine is V2 else "off")
        assert (await facade.start_help_conversation(helper.caller(), request, FIRST_WORDS)).success
        # Each takes two ids: its own, and that of the block which catches its faults.
        taken = await town.care.owner.fetchval("select txid_current()") - before - 1
        commits[engine.version] = taken // 2
    assert commits == {"v1": 3, "v2": 1}
