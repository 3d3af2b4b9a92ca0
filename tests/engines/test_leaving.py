"""A deletion in the way of other calls, forced: one holds its transaction open, the other waits, then goes on."""

import asyncio
from typing import Any

import pytest

from engines.stage import Engine, session, waiting
from harness import Person, Town

pytestmark = pytest.mark.alike

DELETE = {"confirm": "delete"}


async def pair(town: Town) -> tuple[Person, Person]:
    """A requester and a helper."""
    return await town.member("Olga"), await town.member("Hal")


def short(answer: dict[str, Any]) -> str:
    """Success, or what was refused."""
    return "done" if answer["success"] else f"{answer['error']} {answer.get('reason', '')}".strip()


async def test_what_waited_for_a_deletion_finds_its_end(town: Town, engine: Engine) -> None:
    owner, helper = await pair(town)
    request, fresh = await town.request(owner), await town.request(owner)
    conversation = await engine.opened(helper, request)
    async with session(owner) as leaving:
        assert (await leaving.call("delete_account", **DELETE))["success"]
        sent = asyncio.create_task(helper.send(conversation, "Are you there?", key="sent"))
        offer = asyncio.create_task(engine.offer(await town.member("Eve"), fresh))
        again = asyncio.create_task(owner.call("delete_account", **DELETE))
        await waiting(town.care, 3)
    assert short(await sent) == "permission_denied not_active"
    assert (await offer).error == "help_request_unavailable"
    assert short(await again) == "permission_denied identity"
    # The key was not taken: it is judged afresh, and refused as before.
    assert short(await helper.send(conversation, "Are you there?", key="sent")) == "permission_denied not_active"
    assert await town.care.violations(town.community_id) == []


async def test_a_deletion_that_waited_ends_what_was_made_meanwhile(town: Town, engine: Engine) -> None:
    owner, helper = await pair(town)
    request = await town.request(owner)
    async with session(helper) as offering:
        conversation = await offering.offer(engine, request)
        left = asyncio.create_task(owner.call("delete_account", **DELETE))
        await waiting(town.care)
    assert (await left)["success"]
    (item,) = (await helper.call("list_conversations"))["conversations"]
    assert (item["id"], item["status"], item["help_request"]["status"]) == (str(conversation), "closed", "cancelled")
    told = await town.care.owner.fetch("select kind from public.notifications where user_id = $1", helper.user_id)
    assert [row["kind"] for row in told] == ["request.cancelled"]
    assert await town.care.violations(town.community_id) == []


async def test_a_message_is_there_before_the_end_that_waited_for_it(town: Town, engine: Engine) -> None:
    owner, helper = await pair(town)
    conversation = await engine.opened(helper, await town.request(owner))
    async with session(helper) as writing:
        assert (await writing.call("send_message_v2", conversation_id=conversation, sender_id=helper.user_id,
                                   content="On my way"))["success"]  # fmt: skip
        left = asyncio.create_task(owner.call("delete_account", **DELETE))
        await waiting(town.care)
    assert (await left)["success"]
    thread = await helper.call("get_messages", conversation_id=conversation)
    assert ([m["seq"] for m in thread["messages"]], thread["conversation"]["status"]) == ([0, 1], "closed")
    assert await town.care.violations(town.community_id) == []


async def test_who_leaves_is_not_accepted_and_who_was_accepted_gives_it_back(town: Town, engine: Engine) -> None:
    owner, helper = await pair(town)
    conversation = await engine.opened(helper, await town.request(owner))
    other = await town.member("Eve")
    second = await engine.opened(other, await town.request(owner))
    async with session(helper) as leaving:
        assert (await leaving.call("delete_account", **DELETE))["success"]
        accept = asyncio.create_task(owner.call("accept_offer", conversation_id=conversation))
        await waiting(town.care)
    assert short(await accept) == "conflict state"
    async with session(owner) as accepting:
        assert (await accepting.call("accept_offer", conversation_id=second))["success"]
        left = asyncio.create_task(other.call("delete_account", **DELETE))
        await waiting(town.care)
    assert (await left)["success"]
    assert await town.count("public.help_requests", "status = 'open' and helper_id is null") == 2
    assert await town.care.violations(town.community_id) == []


async def test_both_sides_and_the_last_two_coordinators_leave_at_once(town: Town, engine: Engine) -> None:
    people = [await town.member(name, coordinator=True) for name in ("Rosa", "Theo")]
    for owner, helper in (people, people[::-1]):
        await engine.opened(helper, await town.request(owner))
    async with session(people[0]) as leaving:
        assert (await leaving.call("delete_account", **DELETE))["success"]
        second = asyncio.create_task(people[1].call("delete_account", **DELETE))
        await waiting(town.care)
    assert short(await second) == "conflict last_coordinator"
    await town.care.owner.execute("update public.profiles set is_coordinator = false where user_id = $1",
                                  people[1].user_id)  # fmt: skip
    assert (await people[1].call("delete_account", **DELETE))["success"]
    assert await town.care.violations(town.community_id) == []


async def test_a_block_and_a_deletion_take_turns(town: Town, engine: Engine) -> None:
    for blocks_first in (True, False):
        owner, helper = await pair(town)
        await engine.opened(helper, await town.request(owner))
        calls: list[tuple[Person, str, dict[str, Any]]] = [
            (helper, "block_user", {"user_id": owner.user_id}),
            (owner, "delete_account", DELETE),
        ]
        if not blocks_first:
            calls.reverse()
        async with session(calls[0][0]) as first:
            assert (await first.call(calls[0][1], **calls[0][2]))["success"]
            second = asyncio.create_task(calls[1][0].call(calls[1][1], **calls[1][2]))
            await waiting(town.care)
        assert (await second)["success"]
    assert await town.care.violations(town.community_id) == []


async def test_a_sign_in_that_waited_for_a_deletion_opens_no_session(town: Town) -> None:
    member, _ = await pair(town)
    database = town.care.database
    async with session(member) as leaving:
        assert (await leaving.call("delete_account", **DELETE))["success"]
        names = {"p_user_id": member.user_id, "p_community_id": town.community_id}
        opened = asyncio.create_task(database.value("care.open_session", p_id_hash=bytes(32), p_seconds=60, **names))
        stored = asyncio.create_task(database.value("care.store_secret", p_user_id=member.user_id, p_secret="late"))
        await waiting(town.care, 2)
    assert (await opened, await stored) == (False, None)
    assert await town.care.violations(town.community_id) == []


async def test_who_leaves_two_communities_at_once_leaves_no_account_and_joins_no_third(town: Town) -> None:
    member, _ = await pair(town)
    abroad, third = await town.care.town(), await town.care.town()
    names = {"p_user_id": member.user_id, "p_display_name": "Olga", "p_town": None, "p_application_words": None}
    database = town.care.database
    await database.call("care.join_community", p_community_id=abroad.community_id, **names)
    there = Person(abroad, member.user_id, "Olga")
    async with session(member) as leaving:
        assert (await leaving.call("delete_account", **DELETE))["success"]
        second = asyncio.create_task(there.call("delete_account", **DELETE))
        await waiting(town.care)
        # Behind the second in the row for the account.
        joined = asyncio.create_task(database.call("care.join_community", p_community_id=third.community_id, **names))
        await waiting(town.care, 2)
    assert (await second)["success"]
    assert "was deleted here" in (await joined).text
    email = await town.care.owner.fetchval("select email from care.users where id = $1", member.user_id)
    assert email == f"deleted:{member.user_id}"
