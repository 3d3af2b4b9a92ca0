"""V1's conversations are moved whole into V2 while members write, and compared with what was moved."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from care_collective.db.call import Database
from care_collective.errors import CareError, Code
from care_collective.operations import legacy
from engines.stage import V1, V2, half_open, session, waiting
from harness import FIRST_WORDS, Care, Person, Town

MOVE = "select care.legacy_move($1, $2, 'a test')"


async def pair(town: Town) -> tuple[Person, Person, UUID]:
    """A requester, a helper and the request between them."""
    owner, helper = await town.member("Olga"), await town.member("Hal")
    return owner, helper, await town.request(owner)


async def talked(town: Town) -> tuple[Person, Person, UUID]:
    """A conversation of V1 with four messages, the last two unread by the requester."""
    owner, helper, request = await pair(town)
    conversation = await V1.opened(helper, request)
    await owner.send(conversation, "Thank you,\nFriday at ten?")
    await owner.call("mark_read", conversation_id=conversation, seq=1)
    for said in ("Yes ✓", "I bring bread"):
        assert (await helper.send(conversation, said))["success"]
    return owner, helper, conversation


async def move(town: Town, conversation: UUID) -> str | None:
    """Moves one conversation; why it stays, or None."""
    why = await town.care.owner.fetchval(MOVE, town.community_id, conversation)
    return None if why is None else str(why)


async def seen(conversation: UUID, *people: Person) -> list[Any]:
    """All that two people are shown of a conversation, but which engine it is in."""
    shown: list[Any] = []
    for person in people:
        page = await person.call("get_messages", conversation_id=conversation)
        (row,) = [
            one
            for filter_ in ("all", "archived")
            for one in (await person.call("list_conversations", filter=filter_))["conversations"]
        ]
        for item in (page["conversation"], row):
            assert item.pop("version") in ("v1", "v2")
        whole = await person.call("get_conversation_v2", conversation_id=conversation, user_id=person.user_id)
        shown += [page, row, whole, await person.call("care.live", conversation_id=conversation, after=0, changed=[])]
    return shown


# --- Moving


async def test_a_moved_conversation_reads_byte_for_byte_as_before(town: Town) -> None:
    owner, helper, conversation = await talked(town)
    before = await seen(conversation, owner, helper)
    assert await move(town, conversation) is None
    assert await seen(conversation, owner, helper) == before
    assert await town.count("public.conversations_v2", f"id = '{conversation}'") == 1
    for table in ("conversations", "messages", "conversation_participants"):
        assert await town.count(f"public.{table}") == 0
    assert await town.care.violations(town.community_id) == []
    assert await move(town, conversation) == "not_in_v1"


@pytest.mark.parametrize("status", ["closed", "declined", "held"])
async def test_states_and_marks_move_as_they_are(town: Town, status: str) -> None:
    owner, helper, conversation = await talked(town)
    execute = town.care.owner.execute
    await execute(
        "update public.conversations set status = $2, status_by = $3, decline_reason = $4 where id = $1",
        conversation, status, owner.user_id, "Found a neighbour" if status == "declined" else None,
    )  # fmt: skip
    await execute(
        "update public.messages set hidden_at = now() where conversation_id = $1 and seq in (0, 2)", conversation
    )
    await execute(
        "update public.conversation_members set muted_until = now() + interval '1 day', archived_at = now() "
        "where conversation_id = $1 and user_id = $2",
        conversation, helper.user_id,
    )  # fmt: skip
    people = (helper,) if status == "held" else (owner, helper)
    before = await seen(conversation, *people)
    members = (
        "select user_id, last_read_seq, unread, last_activity_at, muted_until, archived_at "
        "from public.conversation_members where conversation_id = $1 order by user_id"
    )
    marks = await town.care.owner.fetch(members, conversation)
    assert await move(town, conversation) is None
    assert await seen(conversation, *people) == before
    assert await town.care.owner.fetch(members, conversation) == marks
    assert [m["content"] is None for m in before[0]["messages"]] == [True, False, True, False]
    if status != "held":
        assert (await owner.call("reopen_conversation", conversation_id=conversation))["status"] == "active"


async def test_a_moved_conversation_goes_on_and_is_offered_no_second_time(town: Town) -> None:
    owner, helper, conversation = await talked(town)
    request = UUID(
        (await helper.call("get_messages", conversation_id=conversation))["conversation"]["help_request"]["id"]
    )
    assert await move(town, conversation) is None
    assert (await owner.send(conversation, "See you"))["seq"] == 4
    assert (await helper.call("mark_read", conversation_id=conversation, seq=4))["unread"] == 0
    for engine in (V1, V2):
        again = await engine.offer(helper, request)
        assert (again.error, again.conversation_id) == (Code.CONVERSATION_EXISTS, conversation)
    assert (await owner.call("accept_offer", conversation_id=conversation))["helper_id"] == str(helper.user_id)
    assert await town.care.violations(town.community_id) == []


async def test_a_key_of_v1_is_replayed_after_the_move_with_its_engine(town: Town) -> None:
    _, helper, request = await pair(town)
    first = await V1.offer(helper, request, key="tap")
    assert first.conversation_id is not None
    await move(town, first.conversation_id)
    for engine in (V1, V2):
        again = await engine.offer(helper, request, key="tap")
        assert (again.success, again.replayed, again.conversation_id, again.version) == (
            True, True, first.conversation_id, "v2",
        )  # fmt: skip


async def test_a_second_tap_between_the_steps_of_v1_is_led_to_the_moved_conversation(town: Town) -> None:
    owner, helper, request = await pair(town)
    conversation = await half_open(helper, request)
    assert (await V1.offer(helper, request)).conversation_id == conversation
    await move(town, conversation)
    step: dict[str, Any] = {"conversation_id": conversation, "recipient_id": owner.user_id}
    for answer in (
        await helper.call("legacy_add_participants", **step),
        await helper.call("legacy_write_first_message", **step, content=FIRST_WORDS),
    ):
        assert (answer["error"], answer["conversation_id"]) == ("conversation_exists", str(conversation))


OBSTACLES = {
    "first_message_short": "update public.messages set content = 'Hello' where conversation_id = $1 and seq = 0",
    "sequence_gap": "delete from public.messages where conversation_id = $1 and seq = 2",
    "foreign_message": (
        "update public.messages set sender_id = recipient_id, recipient_id = sender_id "
        "where conversation_id = $1 and seq = 0"
    ),
    "hidden": "update public.conversations set hidden_at = now() where id = $1",
    "unread_sum": "update public.conversation_members set unread = unread + 1 where conversation_id = $1",
    "double_pair": (
        "insert into public.conversations_v2 (community_id, help_request_id, requester_id, helper_id, initial_message) "
        "select community_id, help_request_id, requester_id, created_by, 'Other words here' "
        "from public.conversations where id = $1"
    ),
}


@pytest.mark.parametrize("why", OBSTACLES)
async def test_what_v2_cannot_hold_stays_whole_in_v1(town: Town, why: str) -> None:
    _, helper, conversation = await talked(town)
    await town.care.owner.execute(OBSTACLES[why], conversation)
    rows = await town.count("public.messages")
    assert await move(town, conversation) == why
    assert await town.count("public.messages") == rows
    assert await town.count("public.conversations", f"id = '{conversation}'") == 1
    assert await town.count("care.legacy_moves") + await town.count("public.messages_v2") == 0
    page = await helper.call("get_messages", conversation_id=conversation)
    assert page["conversation"]["version"] == "v1"


async def test_a_copy_that_reads_differently_is_undone(scratch: Care) -> None:
    town = await scratch.town()
    owner, helper, conversation = await talked(town)
    body = await scratch.owner.fetchval("select pg_get_functiondef('care.legacy_copy'::regproc)")
    broken = body.replace("and m.seq > 0", "and m.seq > 1")
    assert broken != body
    await scratch.owner.execute(broken)
    before = await seen(conversation, owner, helper)
    assert await move(town, conversation) == "reads_differently"
    assert await seen(conversation, owner, helper) == before
    assert await scratch.violations() == []


# --- Beside members


@pytest.mark.parametrize("verb", ["send", "mark_read", "close"])
async def test_a_write_that_waited_for_the_move_is_not_lost(town: Town, verb: str) -> None:
    owner, helper, conversation = await talked(town)
    connection = await town.care.connect()
    async with connection.transaction():
        assert await connection.fetchval(MOVE, town.community_id, conversation) is None
        # A reader meets what stood before, whole.
        page = await owner.call("get_messages", conversation_id=conversation)
        assert (page["conversation"]["version"], len(page["messages"])) == ("v1", 4)
        # Rule 11: whoever writes waits before it looks which engine holds the conversation.
        free = "select user_id from public.profiles where user_id = any ($1) for no key update skip locked"
        assert await town.care.owner.fetch(free, [owner.user_id, helper.user_id]) == []
        write = asyncio.create_task(written(owner, conversation, verb))
        await waiting(town.care)
    await connection.close()
    assert (await write)["success"]
    await stands(town, owner, helper, conversation, verb)


@pytest.mark.parametrize("verb", ["send", "mark_read", "close"])
async def test_a_move_that_waited_for_a_write_takes_it_along(town: Town, verb: str) -> None:
    owner, helper, conversation = await talked(town)
    async with session(owner) as writing:
        assert (await written(writing, conversation, verb))["success"]
        moved = asyncio.create_task(move(town, conversation))
        await waiting(town.care)
    assert await moved is None
    await stands(town, owner, helper, conversation, verb)


async def written(who: Any, conversation: UUID, verb: str) -> dict[str, Any]:  # noqa: ANN401  a person or their session
    """A write of the requester's."""
    person = getattr(who, "person", who)
    if verb == "send":
        answer = await who.call(
            "send_message_v2", conversation_id=conversation, sender_id=person.user_id, content="At the same moment"
        )
    elif verb == "mark_read":
        answer = await who.call("mark_read", conversation_id=conversation, seq=3)
    else:
        answer = await who.call("close_conversation", conversation_id=conversation)
    return dict(answer)


async def stands(town: Town, owner: Person, helper: Person, conversation: UUID, verb: str) -> None:
    """Whether move and write have both happened, whole."""
    page = await owner.call("get_messages", conversation_id=conversation)
    (mine,) = (await owner.call("list_conversations"))["conversations"]
    (theirs,) = (await helper.call("list_conversations"))["conversations"]
    assert page["conversation"]["version"] == "v2"
    assert [m["seq"] for m in page["messages"]] == list(range(5 if verb == "send" else 4))
    assert (mine["unread"], theirs["unread"]) == (0 if verb == "mark_read" else 2, 2 if verb == "send" else 1)
    assert mine["status"] == ("closed" if verb == "close" else "active")
    assert await town.care.violations(town.community_id) == []


async def test_members_write_on_while_all_is_moved(scratch: Care) -> None:
    town = await scratch.town(limits={"messages_per_minute": 1000, "conversations_per_hour": 100})
    owner, helper = await town.member("Olga"), await town.member("Hal")
    ids = [await V1.opened(helper, await town.request(owner)) for _ in range(12)]

    async def write(person: Person, said: str) -> list[bool]:
        return [(await person.send(identity, said))["success"] for identity in ids]

    result, *sent = await asyncio.gather(
        legacy.move(Database(scratch.owner), None, actor="a test"), write(owner, "One"), write(helper, "Two")
    )
    assert (result.moved, result.stayed) == (12, [])
    assert sent == [[True] * 12] * 2
    assert await town.count("care.thread_messages") == 36
    assert await town.count("public.conversations") == 0
    assert await scratch.violations() == []
    verified = await legacy.verify(Database(scratch.owner))
    assert (verified.conversations, verified.found) == (12, [])


# --- The order of an operator's work


async def test_a_dry_run_moves_nothing_a_locked_one_stays_and_a_second_run_finds_nothing_left(scratch: Care) -> None:
    town = await scratch.town()
    _, helper, conversation = await talked(town)
    await half_open(helper, await town.request(await town.member()))
    owner = Database(scratch.owner)
    tried = await legacy.move(owner, None, actor="a test", dry_run=True)
    assert (tried.moved, await town.count("public.conversations_v2")) == (1, 0)
    await scratch.owner.execute("alter function care.legacy_move(uuid, uuid, text) set lock_timeout = '20ms'")
    async with session(helper) as writing:
        await writing.call("mark_read", conversation_id=conversation, seq=3)
        locked = await legacy.move(owner, None, actor="a test")
    assert (locked.moved, [one.why for one in locked.stayed]) == (0, ["busy"])
    assert [(await legacy.move(owner, None, actor="a test")).moved for _ in range(2)] == [1, 0]
    again = await legacy.move(owner, [conversation, conversation], actor="a test")
    assert (again.moved, again.already, again.stayed) == (0, 1, [])
    with pytest.raises(CareError, match="V1 has no conversation"):
        await legacy.move(owner, [uuid4()], actor="a test")


HARM = {
    "content": "update public.messages_v2 set content = 'Other words' where conversation_id = $1 and seq = 2",
    "count": "delete from public.messages_v2 where conversation_id = $1 and seq = 2",
    "members": "delete from public.conversation_members where conversation_id = $1",
}


@pytest.mark.parametrize("wrong", HARM)
async def test_verify_finds_what_is_not_as_it_was_moved(town: Town, wrong: str) -> None:
    owner, _, conversation = await talked(town)
    await move(town, conversation)
    await owner.send(conversation, "Written since")
    await town.care.owner.execute(
        "update public.messages_v2 set hidden_at = now() where conversation_id = $1", conversation
    )

    async def found() -> list[str]:
        return [
            f.wrong for f in (await legacy.verify(Database(town.care.owner))).found if f.conversation_id == conversation
        ]

    assert await found() == []
    await town.care.owner.execute(HARM[wrong], conversation)
    assert await found() == [wrong]
