"""What members are told of: a row an event and person, of both engines alike, and who is told of nothing."""

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from database.steps import Engine, code
from harness import Care, Person, Town

pytestmark = pytest.mark.alike


async def told(person: Person, **arguments: str | int) -> list[dict[str, Any]]:
    """What a member was told, newest first."""
    answer = await person.call("list_notifications", key=None, **arguments)
    assert answer["success"], answer
    return list(answer["notifications"])


async def kinds(person: Person) -> list[str]:
    """The kinds of it, oldest first."""
    return [item["kind"] for item in reversed(await told(person))]


async def pair(town: Town) -> tuple[Person, Person, UUID]:
    """A requester, a helper and the request between them."""
    owner, helper = await town.member("Olga"), await town.member("Hal")
    return owner, helper, await town.request(owner)


async def test_each_step_tells_the_other_side_once_and_never_who_took_it(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    opened = await engine.opened(helper, request)
    here = {"conversation_id": opened}
    steps: list[tuple[Person, str, dict[str, Any], str]] = [
        (owner, "accept_offer", here, "offer.accepted"),
        (owner, "accept_offer", here, ""),  # a second tap is no second event
        (helper, "step_back", here, "helper.stepped_back"),
        (owner, "accept_offer", here, "offer.accepted"),
        (owner, "release_helper", here, "helper.released"),
        (helper, "close_conversation", here, "conversation.closed"),
        (helper, "reopen_conversation", here, "conversation.reopened"),
        (owner, "decline_offer", here, "offer.declined"),
        (owner, "reopen_conversation", here, "conversation.reopened"),
        (owner, "cancel_help_request", {"help_request_id": request}, "request.cancelled"),
        (owner, "reopen_help_request", {"help_request_id": request}, "request.reopened"),
        (owner, "accept_offer", here, "offer.accepted"),
        (owner, "complete_help_request", {"help_request_id": request}, "request.completed"),
    ]
    expected = {owner.user_id: ["offer.received"], helper.user_id: []}
    for person, verb, arguments, kind in steps:
        assert (await person.call(verb, **arguments))["success"], verb
        if kind:
            so_far = expected[(owner if person is helper else helper).user_id]
            so_far[:] = [*(one for one in so_far if one != kind), kind]  # what is not read yet says it once
    assert await kinds(owner) == expected[owner.user_id]
    assert await kinds(helper) == expected[helper.user_id]

    last = (await told(helper))[0]
    assert (last["actor"]["display_name"], last["actor"]["deleted"], last["count"]) == ("Olga", False, 1)
    assert last["help_request"] == {"id": str(request), "title": "Groceries on Friday", "accepted": True}
    assert (last["conversation_id"], last["read_at"]) == (str(opened), None)
    assert await town.count("public.notifications", "due_at between now() and now() + interval '1 minute'") == 11


async def test_whoever_is_replaced_and_every_other_helper_is_told(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    second, third, gone, blocked = [await town.member(name) for name in ("Sam", "Tina", "Gone", "Bo")]
    threads = [await engine.opened(person, request) for person in (helper, second, third, gone, blocked)]
    await town.care.owner.execute("update public.profiles set deleted_at = now() where user_id = $1", gone.user_id)
    await town.block(blocked, owner)
    await owner.call("accept_offer", conversation_id=threads[0])
    await owner.call("accept_offer", conversation_id=threads[1])
    await owner.call("complete_help_request", help_request_id=request)
    assert await kinds(helper) == ["offer.accepted", "offer.replaced", "request.completed"]
    assert await kinds(second) == ["offer.accepted", "request.completed"]
    assert await kinds(third) == ["request.completed"]
    assert (await told(third))[0]["conversation_id"] == str(threads[2])
    assert [(await told(p))[0]["help_request"]["accepted"] for p in (second, third)] == [True, False]
    assert await kinds(blocked) == []
    assert await town.count("public.notifications", f"user_id = '{gone.user_id}'") == 0
    assert await kinds(owner) == ["offer.received"] * 5


async def test_a_block_is_told_to_neither_by_any_step_that_it_lets_through(town: Town, engine: Engine) -> None:
    for by_owner in (True, False):
        owner, helper, request = await pair(town)
        opened = await engine.opened(helper, request)
        await owner.call("accept_offer", conversation_id=opened)
        before = [await kinds(person) for person in (owner, helper)]
        await town.block(*((owner, helper) if by_owner else (helper, owner)))
        assert not (await helper.send(opened, "Hello?"))["success"]
        await helper.call("step_back", conversation_id=opened)
        await owner.call("cancel_help_request", help_request_id=request)
        await owner.call("reopen_help_request", help_request_id=request)
        assert [await kinds(person) for person in (owner, helper)] == before


async def test_a_held_first_contact_is_not_told(scratch: Care, engine: Engine) -> None:
    for table in ("conversations", "conversations_v2"):
        await scratch.owner.execute(f"alter table public.{table} alter column status set default 'held'")
    owner, helper, request = await pair(await scratch.town())
    await engine.opened(helper, request)
    assert await kinds(owner) == []


async def test_messages_are_told_together_until_they_are_read(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    opened = await engine.opened(helper, request)
    for number in range(3):
        await helper.send(opened, f"Message {number}", key=f"{number}")
        await helper.send(opened, f"Message {number}", key=f"{number}")  # a replay tells nobody
    (message, offer) = await told(owner)
    assert (message["kind"], message["count"], offer["kind"]) == ("message.received", 3, "offer.received")
    assert await owner.call("count_unread_notifications") == {"success": True, "unread": 2}

    # Read in part: the offer is read, of the messages two are left. Writing back reads nothing.
    await owner.send(opened, "One moment")
    await owner.call("mark_read", conversation_id=opened, seq=1)
    (message, offer) = await told(owner)
    assert (message["read_at"], message["count"]) == (None, 2)
    assert offer["read_at"] is not None
    await owner.call("mark_read", conversation_id=opened, seq=3)
    assert (await told(owner, filter="unread"), await kinds(helper)) == ([], ["message.received"])
    await helper.send(opened, "One more")
    assert [(item["kind"], item["count"]) for item in await told(owner, filter="unread")] == [("message.received", 1)]


async def test_a_letter_made_of_messages_is_followed_by_the_next_no_sooner_than_it_may(town: Town) -> None:
    engine = Engine("v2")
    _, helper, request = await pair(town)
    opened = await engine.opened(helper, request)
    await helper.send(opened, "First")
    await town.care.owner.execute(
        "update public.notifications set due_at = null, again_at = now() + interval '2 hours' "
        "where community_id = $1 and kind = 'message.received'",
        town.community_id,
    )
    await helper.send(opened, "Second")
    assert await town.count("public.notifications", "kind = 'message.received' and due_at = again_at") == 1


async def test_what_was_told_is_marked_by_its_reader_alone(town: Town) -> None:
    engine = Engine("v2")
    owner, helper, request = await pair(town)
    opened = await engine.opened(helper, request)
    await engine.opened(await town.member("Sam"), request)
    first = UUID((await told(owner))[1]["id"])
    for answer in (
        await helper.call("mark_notification_read", notification_id=first),
        await owner.call("mark_notification_read", notification_id=uuid4()),
    ):
        assert code(answer) == "not_found"
    for _ in range(2):
        marked = await owner.call("mark_notification_read", notification_id=first)
        assert marked == {"success": True, "unread": 1}
    # Its thread stays as it is.
    assert (await owner.call("list_conversations", filter="unread"))["conversations"][-1]["id"] == str(opened)
    assert await owner.call("mark_all_notifications_read") == {"success": True, "unread": 0}
    assert [item["read_at"] is not None for item in await told(owner)] == [True, True]
    for arguments in ({"limit": 0}, {"limit": 51}, {"filter": "old"}, {"cursor": "yesterday"}):
        assert code(await owner.call("list_notifications", **arguments)) == "validation_error", arguments


async def test_pages_of_notifications_hold_each_once(town: Town) -> None:
    engine = Engine("v2")
    owner = await town.member("Olga")
    for number in range(5):
        await engine.opened(await town.member(f"Helper{number}"), await town.request(owner))
    seen, cursor = [], None
    for _ in range(3):
        page = await owner.call("list_notifications", cursor=cursor, limit=2)
        seen += [item["actor"]["display_name"] for item in page["notifications"]]
        cursor = page["next_cursor"]
    assert (seen, cursor) == ([f"Helper{number}" for number in reversed(range(5))], None)


async def test_sixteen_calls_at_once_and_their_retries_tell_once(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    for key in ("one key", None):
        await asyncio.gather(*(engine.offer(helper, request, key=key) for _ in range(16)))
    opened = UUID((await helper.call("list_conversations"))["conversations"][0]["id"])
    await asyncio.gather(*(owner.call("accept_offer", conversation_id=opened) for _ in range(16)))
    await asyncio.gather(*(helper.send(opened, "I am on my way", key="sent") for _ in range(16)))
    await asyncio.gather(*(owner.call("complete_help_request", help_request_id=request) for _ in range(16)))
    assert await kinds(helper) == ["offer.accepted", "request.completed"]
    assert [(item["kind"], item["count"]) for item in reversed(await told(owner))] == [
        ("offer.received", 1), ("message.received", 1),
    ]  # fmt: skip


async def test_a_write_that_is_rolled_back_has_told_nobody(town: Town) -> None:
    owner, helper, request = await pair(town)
    connection = await town.care.connect("care_app")
    transaction = connection.transaction()
    await transaction.start()
    answer = await connection.fetchval(
        "select set_config('request.jwt.claims', $1, true), public.create_conversation_atomic($2, $3, $4)",
        helper.caller().claims(), request, helper.user_id, "Hello, I can help.", column=1,
    )  # fmt: skip
    assert json.loads(answer)["success"]
    await transaction.rollback()
    await connection.close()
    assert await kinds(owner) == []


async def test_the_stream_counts_them_up_to_a_hundred(town: Town) -> None:
    owner, helper, request = await pair(town)
    await Engine("v2").opened(helper, request)
    live: dict[str, Any] = {"p_conversation_id": None, "p_after": None, "p_changed": []}
    state = (await town.care.database.call("care.live", owner.caller(), **live)).data()
    assert state["unread"] == {"conversations": 1, "messages": 1, "notifications": 1}
    await town.care.owner.execute(
        "insert into public.notifications (community_id, user_id, kind) "
        "select $1, $2, 'membership.waiting' from generate_series(1, 150)",
        town.community_id, owner.user_id,
    )  # fmt: skip
    assert (await owner.call("count_unread_notifications"))["unread"] == 100
    assert [(item["actor"], item["help_request"]) for item in await told(owner, limit=1)] == [(None, None)]


@pytest.mark.parametrize(
    ("aged", "kept"),
    [
        ("read_at = now() - interval '91 days'", False),
        ("read_at = now() - interval '89 days'", True),
        ("updated_at = now() - interval '400 days'", False),
        ("updated_at = now() - interval '390 days'", True),
    ],
)
async def test_what_was_read_goes_after_ninety_days_and_all_after_thirteen_months(
    town: Town, aged: str, kept: bool
) -> None:
    owner, helper, request = await pair(town)
    await Engine("v2").opened(helper, request)
    await town.care.owner.execute(
        f"update public.notifications set created_at = now() - interval '500 days', {aged} where community_id = $1",
        town.community_id,
    )
    await town.care.database.value("care.prune")
    assert len(await told(owner)) == int(kept)
