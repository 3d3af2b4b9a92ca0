"""A block and another call in each other's way, forced: whichever commits first, nothing passes the block."""

import asyncio
from collections.abc import Coroutine
from typing import Any
from uuid import UUID

import pytest

from engines.stage import Engine, session, waiting
from harness import Person, Town

pytestmark = pytest.mark.alike


async def pair(town: Town, engine: Engine) -> tuple[Person, Person, UUID, UUID]:
    """An owner, a helper, the request between them and its conversation."""
    owner, helper = await town.member("Olga"), await town.member("Hal")
    request = await town.request(owner)
    return owner, helper, request, await engine.opened(helper, request)


async def standing(person: Person) -> tuple[str, str]:
    """The states of a person's one conversation and its request."""
    (one,) = (await person.call("list_conversations"))["conversations"]
    return one["status"], one["help_request"]["status"]


def act(verb: str, owner: Person, helper: Person, conversation: UUID) -> Coroutine[Any, Any, dict[str, Any]]:
    """A call of the pair's that the block has to do with."""
    if verb == "send":
        return helper.send(conversation, "Are you there?")
    actor = helper if verb == "step_back" else owner
    return actor.call(verb, conversation_id=conversation)


VERBS = ("send", "accept_offer", "reopen_conversation", "step_back")


async def prepare(verb: str, owner: Person, conversation: UUID) -> None:
    """What has to be before the verb can succeed."""
    if verb == "reopen_conversation":
        await owner.call("close_conversation", conversation_id=conversation)
    if verb == "step_back":
        await owner.call("accept_offer", conversation_id=conversation)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("by_owner", [True, False], ids=["owner blocks", "helper blocks"])
async def test_what_waited_for_a_block_meets_it(town: Town, engine: Engine, verb: str, by_owner: bool) -> None:
    owner, helper, _, conversation = await pair(town, engine)
    await prepare(verb, owner, conversation)
    blocker, blocked = (owner, helper) if by_owner else (helper, owner)
    async with session(blocker) as blocking:
        assert (await blocking.call("block_user", user_id=blocked.user_id))["success"]
        other = asyncio.create_task(act(verb, owner, helper, conversation))
        await waiting(town.care)
    answer = await other
    if verb == "reopen_conversation" and blocked is owner:
        assert answer["success"]  # theirs to open, and ended again
    else:
        assert answer["error"] in ("permission_denied", "conflict"), answer
    assert await standing(owner) == ("closed", "open")
    assert await town.count("care.thread_messages") == 1
    assert await town.care.violations(town.community_id) == []


@pytest.mark.parametrize("verb", VERBS)
async def test_a_block_that_waited_ends_what_was_done_before(town: Town, engine: Engine, verb: str) -> None:
    owner, helper, _, conversation = await pair(town, engine)
    await prepare(verb, owner, conversation)
    actor = helper if verb in ("send", "step_back") else owner
    blocker, blocked = (owner, helper) if actor is helper else (helper, owner)
    async with session(actor) as acting:
        if verb == "send":
            sent = await acting.call(
                "send_message_v2", conversation_id=conversation, sender_id=actor.user_id, content="Are you there?"
            )
            assert sent["success"]
        else:
            assert (await acting.call(verb, conversation_id=conversation))["success"]
        block = asyncio.create_task(blocker.call("block_user", user_id=blocked.user_id))
        await waiting(town.care)
    assert (await block)["success"]
    assert await standing(owner) == ("closed", "open")
    assert (await blocker.call("unblock_user", user_id=blocked.user_id))["success"]
    assert not (await blocked.call("reopen_conversation", conversation_id=conversation))["success"]


async def test_an_offer_and_a_block_at_once_leave_no_open_conversation(town: Town, engine: Engine) -> None:
    owner, helper, first, _ = await pair(town, engine)
    # The offer first: the block waits for it and ends it.
    request = await town.request(owner)
    async with session(helper) as offering:
        await offering.offer(engine, request)
        block = asyncio.create_task(owner.call("block_user", user_id=helper.user_id))
        await waiting(town.care)
    assert (await block)["success"]
    # The block first: the offer finds nothing.
    await owner.call("unblock_user", user_id=helper.user_id)
    third = await town.request(owner)
    async with session(owner) as blocking:
        assert (await blocking.call("block_user", user_id=helper.user_id))["success"]
        offer = asyncio.create_task(engine.offer(helper, third))
        await waiting(town.care)
    assert (await offer).error == "not_found"
    for person in (owner, helper):
        listed = (await person.call("list_conversations"))["conversations"]
        assert {(c["status"], c["help_request"]["id"]) for c in listed} == {
            ("closed", str(request)), ("closed", str(first)),
        }  # fmt: skip


async def test_two_who_block_each_other_at_once_both_have(town: Town, engine: Engine) -> None:
    owner, helper, _, _ = await pair(town, engine)
    async with session(owner) as blocking:
        assert (await blocking.call("block_user", user_id=helper.user_id))["success"]
        other = asyncio.create_task(helper.call("block_user", user_id=owner.user_id))
        await waiting(town.care)
    assert (await other)["success"]
    assert await town.count("public.user_blocks") == 2
    await owner.call("unblock_user", user_id=helper.user_id)
    assert await standing(owner) == ("closed", "open")
    assert not (await owner.send((await owner.call("list_conversations"))["conversations"][0]["id"], "Hm"))["success"]
