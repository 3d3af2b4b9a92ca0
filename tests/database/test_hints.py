"""The relay of hints: what is told, to whom, once, in portions that fit, and never by the transaction that wrote."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest

from care_collective.db.call import Database
from care_collective.notifications.relay import Relay
from database.steps import Engine, Stage
from database.steps import stage as make_stage
from harness import Care

pytestmark = pytest.mark.alike

Hints = list[list[object]]


@asynccontextmanager
async def hearing(care: Care) -> AsyncIterator[list[str]]:
    """What is notified meanwhile."""
    connection = await care.connect()
    heard: list[str] = []
    await connection.add_listener("care_hints", lambda *told: heard.append(str(told[3])))
    yield heard
    await connection.close()


async def settled(care: Care, heard: list[str], *, count: int) -> Hints:
    """The hints of so many notifications, and no more than those."""
    async with asyncio.timeout(30):
        while len(heard) < count:  # noqa: ASYNC110  the driver has no event
            await asyncio.sleep(0.001)
    await care.owner.execute("select 1")
    assert len(heard) == count
    return [hint for payload in heard for hint in json.loads(payload)]


async def publish(care: Care, limit: int = 200) -> int:
    """One batch of the relay."""
    return int(await care.database.value("care.publish_hints", p_limit=limit))


@pytest.fixture
async def own(scratch: Care) -> Stage:
    """A stage in a database of its own: the relay looks across communities. Nothing is left to be told."""
    made = await make_stage(await scratch.town(limits={"messages_per_minute": 1000}))
    await publish(scratch)
    return made


async def test_a_batch_is_one_notification_of_ids_and_each_row_is_told_once(scratch: Care, own: Stage) -> None:
    async with hearing(scratch) as heard:
        for number in range(1, 4):
            assert (await own.helper.send(own.conversation, f"Line {number}"))["success"]
        await own.owner.call("mark_read", conversation_id=own.conversation, seq=3)
        await own.owner.call("mark_read", conversation_id=own.conversation, seq=2)  # moves nothing, tells nobody
        assert heard == []
        assert await publish(scratch) == 4
        assert await publish(scratch) == 0
        [hint] = await settled(scratch, heard, count=1)
    ids = [own.town.community_id, own.conversation, own.owner.user_id, own.helper.user_id]
    assert hint == [str(ids[0]), str(ids[1]), 3, str(ids[2]), str(ids[3])]
    assert "Line" not in heard[0]


async def test_a_held_first_contact_is_told_to_its_helper_alone(scratch: Care, own: Stage) -> None:
    await scratch.owner.execute("update public.conversations_v2 set status = 'held' where id = $1", own.conversation)
    other = await own.town.member("Ines")
    seen = UUID((await other.offer_v2(own.request))["conversation_id"])
    await publish(scratch)
    async with hearing(scratch) as heard:
        await own.helper.call("mark_read", conversation_id=own.conversation, seq=0)
        await own.owner.call("accept_offer", conversation_id=seen)
        await publish(scratch)
        told = await settled(scratch, heard, count=1)
    assert {(hint[1], hint[3]) for hint in told} == {
        (str(own.conversation), None), (str(seen), str(own.owner.user_id)),
    }  # fmt: skip


async def test_what_concerns_a_request_is_told_to_all_who_talk_about_it(scratch: Care, own: Stage) -> None:
    others = [await own.town.member(f"Other {number}") for number in range(100)]
    ids = [UUID((await other.offer_v2(own.request))["conversation_id"]) for other in others]
    await publish(scratch)
    async with hearing(scratch) as heard:
        await own.owner.call("accept_offer", conversation_id=ids[0])
        assert await publish(scratch) == 1
        told = await settled(scratch, heard, count=3)
    assert {str(hint[1]) for hint in told} == {str(own.conversation), *map(str, ids)}
    assert all(len(payload) < 8000 for payload in heard)


async def test_rows_that_another_node_tells_are_left_to_it_and_come_back_when_it_dies(
    scratch: Care, own: Stage
) -> None:
    await own.helper.send(own.conversation, "Are you there?")
    other: asyncpg.Connection = await scratch.connect("care_app")
    transaction = other.transaction()
    async with hearing(scratch) as heard:
        await transaction.start()
        assert await other.fetchval("select care.publish_hints(10)") == 1
        assert await publish(scratch) == 0
        await other.close()  # before it committed: neither marked nor told
        async with asyncio.timeout(30):
            while await publish(scratch) == 0:  # noqa: ASYNC110  a row's lock has no event
                await asyncio.sleep(0.001)
        await settled(scratch, heard, count=1)


async def test_no_members_write_notifies(scratch: Care, own: Stage) -> None:
    found = await scratch.owner.fetch(
        "select proname from pg_proc where pronamespace in ('public'::regnamespace, 'care'::regnamespace) "
        r"and prosrc ~* 'pg_notify|\mnotify\s+\w+\s*[,;]'"
    )
    # An operator's change of the flag is told in its own transaction: there are a few of those in a year.
    assert {row["proname"] for row in found} == {"publish_hints", "record_change"}


class Stumbling:
    """A database whose first answer is a fault that nobody foresaw."""

    def __init__(self, database: Database) -> None:
        self._database, self._faults = database, [LookupError()]

    async def value(self, *function: Any, **arguments: Any) -> Any:  # noqa: ANN401
        """What the function answers, but not at first."""
        if self._faults:
            raise self._faults.pop()
        return await self._database.value(*function, **arguments)


async def test_the_relay_tells_at_a_nudge_and_by_itself_after_a_fault_too(scratch: Care, own: Stage) -> None:
    relay = Relay(cast(Database, Stumbling(scratch.database)), poll_seconds=0.05)
    task = asyncio.create_task(relay.run())
    async with hearing(scratch) as heard:
        await own.helper.send(own.conversation, "By itself")
        await settled(scratch, heard, count=1)
        relay.nudge()
        await own.helper.send(own.conversation, "Again")
        relay.nudge()
        await settled(scratch, heard, count=2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_told_events_go_after_a_week_and_untold_ones_stay(scratch: Care, own: Stage) -> None:
    await own.helper.send(own.conversation, "Old and told")
    await publish(scratch)
    await scratch.owner.execute("update care.outbox set published_at = now() - interval '8 days' where topic like 'm%'")
    await own.helper.send(own.conversation, "Old and not told")
    await scratch.owner.execute("update care.outbox set created_at = now() - interval '30 days'")
    assert await scratch.database.value("care.prune") == 1
    left = await scratch.owner.fetch("select topic, published_at is null as untold from care.outbox order by topic")
    assert [tuple(row) for row in left] == [("conversation.opened", False), ("message.sent", True)]


async def test_both_engines_tell_the_same_people(scratch: Care, engine: Engine) -> None:
    town = await scratch.town()
    owner, helper = await town.member("Olga"), await town.member("Hal")
    async with hearing(scratch) as heard:
        conversation = await engine.opened(helper, await town.request(owner))
        await publish(scratch)
        [hint] = await settled(scratch, heard, count=1)
    assert hint == [str(town.community_id), str(conversation), 0, str(owner.user_id), str(helper.user_id)]
