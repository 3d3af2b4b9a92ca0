"""Writing, reading, marking, closing and reopening, the same for conversations of both engines."""

from itertools import product
from typing import Any
from uuid import UUID

import pytest

from database.steps import Engine, code, nowhere
from harness import FIRST_WORDS, Person, Town

pytestmark = pytest.mark.alike


async def pair(town: Town, engine: Engine) -> tuple[Person, Person, UUID, UUID]:
    """Requester, helper, request and their conversation."""
    owner, helper = await town.member("Olga"), await town.member("Hal")
    request = await town.request(owner)
    return owner, helper, request, await engine.opened(helper, request)


async def set_status(town: Town, engine: Engine, conversation: UUID, status: str, by: Person | None = None) -> None:
    await town.care.owner.execute(
        f"update {engine.conversations} set status = $1, status_by = $2 where id = $3",
        status, by and by.user_id, conversation,
    )  # fmt: skip


async def marks(person: Person, conversation: UUID) -> tuple[int, int]:
    """The person's last read seq and unread count."""
    row = await person.town.care.owner.fetchrow(
        "select last_read_seq, unread from public.conversation_members where conversation_id = $1 and user_id = $2",
        conversation, person.user_id,
    )  # fmt: skip
    return row["last_read_seq"], row["unread"]


async def test_messages_are_numbered_and_counted_for_the_other_alone(town: Town, engine: Engine) -> None:
    owner, helper, _, conversation = await pair(town, engine)
    answers = [await who.send(conversation, f"Message {n}") for n, who in enumerate((owner, helper, helper), start=1)]
    assert [a["seq"] for a in answers] == [1, 2, 3]
    assert all(set(a) == {"success", "message_id", "seq", "message"} for a in answers)
    # Writing is not reading: the owner has the first message and the helper's two before them, the helper one.
    assert await marks(owner, conversation) == (-1, 3)
    assert await marks(helper, conversation) == (0, 1)
    topics = await town.care.owner.fetch(
        "select topic, seq, actor_id from care.outbox where conversation_id = $1 order by created_at, seq", conversation
    )
    assert [(t["topic"], t["seq"]) for t in topics] == [
        ("conversation.opened", 0), ("message.sent", 1), ("message.sent", 2), ("message.sent", 3)
    ]  # fmt: skip
    page = await owner.call("get_messages", conversation_id=conversation)
    assert [(m["seq"], m["sender_id"], m["content"]) for m in page["messages"]] == [
        (0, str(helper.user_id), FIRST_WORDS), (1, str(owner.user_id), "Message 1"),
        (2, str(helper.user_id), "Message 2"), (3, str(helper.user_id), "Message 3"),
    ]  # fmt: skip
    assert await town.care.violations(town.community_id) == []


async def test_strangers_find_no_conversation_in_any_verb(town: Town, engine: Engine) -> None:
    _, _, _, conversation = await pair(town, engine)
    stranger, coordinator = await town.member(), await town.member(coordinator=True)
    rival = await town.member()
    abroad = await (await town.care.town()).member()
    await engine.opened(rival, (await town.care.owner.fetchval(
        f"select help_request_id from {engine.conversations} where id = $1", conversation)))  # fmt: skip
    for person in (stranger, coordinator, rival, abroad):
        for target in (conversation, nowhere()):
            reads = [
                await person.call("get_conversation_v2", conversation_id=target, user_id=person.user_id),
                await person.call("get_messages", conversation_id=target),
            ]
            writes = [
                await person.send(target, "Let me in"),
                *[await person.call(verb, conversation_id=target) for verb in
                  ("accept_offer", "decline_offer", "step_back", "release_helper", "close_conversation",
                   "reopen_conversation")],
                await person.call("mark_read", conversation_id=target, seq=0),
                await person.call("legacy_add_participants", conversation_id=target, recipient_id=person.user_id),
                await person.call("legacy_write_first_message", conversation_id=target, recipient_id=person.user_id,
                                  content=FIRST_WORDS),
            ]  # fmt: skip
            assert {code(a) for a in reads} == {"not_found"}
            assert {code(a) for a in writes} == {"permission_denied/not_participant"}
    assert await town.count("public.messages") + await town.count("public.messages_v2") <= 2


@pytest.mark.parametrize("status", ["active", "held", "declined", "closed"])
async def test_messages_go_into_active_conversations_only(town: Town, engine: Engine, status: str) -> None:
    owner, helper, _, conversation = await pair(town, engine)
    await set_status(town, engine, conversation, status, owner)
    for person in (owner, helper):
        answer = await person.send(conversation, "Hello again")
        if status == "active":
            assert answer["success"]
        elif status == "held" and person is owner:
            assert code(answer) == "permission_denied/not_participant"
        else:
            assert (code(answer), answer["status"]) == ("permission_denied/not_active", status)
    # What is closed stays readable by both.
    if status != "held":
        for person in (owner, helper):
            assert (await person.call("get_messages", conversation_id=conversation))["success"]


async def test_a_held_first_message_does_not_exist_for_the_requester(town: Town, engine: Engine) -> None:
    owner, helper, request, conversation = await pair(town, engine)
    await set_status(town, engine, conversation, "held")
    assert (await owner.call("list_conversations"))["conversations"] == []
    assert (await owner.call("list_conversations", filter="unread"))["conversations"] == []
    assert (await owner.call("list_offers", help_request_id=request))["conversations"] == []
    assert code(await owner.call("get_messages", conversation_id=conversation)) == "not_found"
    answer = await owner.call("get_conversation_v2", conversation_id=conversation, user_id=owner.user_id)
    assert code(answer) == "not_found"
    for verb in ("accept_offer", "decline_offer", "release_helper", "close_conversation", "reopen_conversation"):
        assert code(await owner.call(verb, conversation_id=conversation)) == "permission_denied/not_participant"
    assert (
        code(await owner.call("mark_read", conversation_id=conversation, seq=0)) == "permission_denied/not_participant"
    )
    # The helper sees it and that it waits.
    assert [c["status"] for c in (await helper.call("list_conversations"))["conversations"]] == ["held"]
    assert (await helper.call("get_messages", conversation_id=conversation))["success"]
    for verb in ("close_conversation", "reopen_conversation"):
        assert code(await helper.call(verb, conversation_id=conversation)) == "conflict/state"


async def test_under_a_block_a_thread_is_readable_and_looks_closed_to_both(town: Town, engine: Engine) -> None:
    for blocker in (0, 1):
        owner, helper, request, conversation = await pair(town, engine)
        people = (owner, helper)
        await town.block(people[blocker], people[1 - blocker])
        for person in people:
            item = (await person.call("list_conversations"))["conversations"][0]
            assert (item["status"], item["may_reopen"]) == ("closed", False)
            page = await person.call("get_messages", conversation_id=conversation)
            assert (len(page["messages"]), page["conversation"]["status"]) == (1, "closed")
            whole = await person.call("get_conversation_v2", conversation_id=conversation, user_id=person.user_id)
            assert whole["conversation"]["status"] == "closed"
            sent = await person.send(conversation, "Why?")
            assert (code(sent), sent["status"]) == ("permission_denied/not_active", "closed")
            assert code(await person.call("close_conversation", conversation_id=conversation)) == "conflict/state"
            assert (
                code(await person.call("reopen_conversation", conversation_id=conversation)) == "permission_denied/role"
            )
            assert (await person.call("mark_read", conversation_id=conversation, seq=0))["success"]
            assert (await person.call("get_help_request", help_request_id=request))["success"]
        assert code(await owner.call("accept_offer", conversation_id=conversation)) == "conflict/state"


async def test_a_block_is_not_told_by_what_one_closed_oneself(town: Town, engine: Engine) -> None:
    owner, helper, request, conversation = await pair(town, engine)
    await helper.call("close_conversation", conversation_id=conversation)
    assert (await helper.call("list_conversations"))["conversations"][0]["may_reopen"] is True
    before = await helper.call("cancel_help_request", help_request_id=request)
    await town.block(owner, helper)
    # Theirs to open as before, and then as if the owner had closed it; test_blocks.py compares all that is seen.
    for expected in (True, False):
        assert (await helper.call("list_conversations"))["conversations"][0]["may_reopen"] is expected
        answer = await helper.call("reopen_conversation", conversation_id=conversation)
        assert code(answer) == ("success" if expected else "permission_denied/role")
    assert await helper.call("cancel_help_request", help_request_id=request) == before


# Who set the status, and what each of the two may do then: (closes, reopens).
NOT_NOW, NOT_YOURS = "conflict/state", "permission_denied/role"
STATES = {
    ("active", None): {"owner": ("success", NOT_NOW), "helper": ("success", NOT_NOW)},
    ("closed", "owner"): {"owner": (NOT_NOW, "success"), "helper": (NOT_NOW, NOT_YOURS)},
    ("closed", "helper"): {"owner": (NOT_NOW, NOT_YOURS), "helper": (NOT_NOW, "success")},
    ("declined", "owner"): {"owner": (NOT_NOW, "success"), "helper": (NOT_NOW, NOT_YOURS)},
    # By a coordinator: neither.
    ("closed", None): {"owner": (NOT_NOW, NOT_YOURS), "helper": (NOT_NOW, NOT_YOURS)},
}


@pytest.mark.parametrize(
    ("state", "who", "verb"), [(*x, v) for x in product(STATES, ("owner", "helper")) for v in (0, 1)]
)
async def test_the_table_of_closing_and_reopening(
    town: Town, engine: Engine, state: tuple[str, str | None], who: str, verb: int
) -> None:
    owner, helper, _, conversation = await pair(town, engine)
    people: dict[str | None, Person] = {"owner": owner, "helper": helper}
    await set_status(town, engine, conversation, state[0], people.get(state[1]))
    name = ("close_conversation", "reopen_conversation")[verb]
    answer = await people[who].call(name, conversation_id=conversation)
    assert code(answer) == STATES[state][who][verb]
    row = await town.care.owner.fetchrow(f"select * from {engine.conversations} where id = $1", conversation)
    topic = ("conversation.closed", "conversation.reopened")[verb]
    if answer["success"]:
        assert (row["status"], row["status_by"]) == (("closed", "active")[verb], people[who].user_id)
        assert answer["status"] == row["status"]
    else:
        assert row["status"] == state[0]
    assert await town.count("care.outbox", f"topic = '{topic}'") == int(answer["success"])


async def test_marks_never_go_backwards_nor_past_the_end(town: Town, engine: Engine) -> None:
    owner, helper, _, conversation = await pair(town, engine)
    for n in range(3):
        await helper.send(conversation, f"Message {n}")
    assert await marks(owner, conversation) == (-1, 4)

    async def mark(seq: int | None) -> dict[str, Any]:
        return await owner.call("mark_read", conversation_id=conversation, seq=seq)

    assert await mark(1) == {"success": True, "last_read_seq": 1, "unread": 2}
    assert await mark(0) == {"success": True, "last_read_seq": 1, "unread": 2}
    assert await mark(2**31 - 1) == {"success": True, "last_read_seq": 3, "unread": 0}
    assert await mark(2) == {"success": True, "last_read_seq": 3, "unread": 0}
    for wrong in (None, -1, -(2**31)):
        assert set((await mark(wrong))["fields"]) == {"seq"}
    # The next message is unread again; the other's marks are their own.
    await helper.send(conversation, "One more")
    assert await marks(owner, conversation) == (3, 1)
    assert await marks(helper, conversation) == (0, 0)
    assert (await helper.call("list_conversations"))["conversations"][0]["other_last_read_seq"] == 3
    assert await town.care.violations(town.community_id) == []


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
async def test_paging_by_seq_is_complete_and_disjoint_both_ways(town: Town, engine: Engine, limit: int) -> None:
    owner, helper, _, conversation = await pair(town, engine)
    for n in range(1, 13):
        await (owner, helper)[n % 2].send(conversation, f"Message {n}")
    # Clocks go wrong: the order is seq's alone (rule 10).
    for table in ("messages", "messages_v2"):
        await town.care.owner.execute(
            f"update public.{table} set created_at = now() - seq * interval '1 hour' where conversation_id = $1",
            conversation,
        )

    async def page(*, before: int | None = None, after: int | None = None) -> dict[str, Any]:
        return await owner.call("get_messages", conversation_id=conversation, limit=limit, before=before, after=after)

    older: list[int] = []
    answer = await page()
    while True:
        seqs = [m["seq"] for m in answer["messages"]]
        assert seqs == sorted(seqs)
        assert not set(seqs) & set(older)
        older = seqs + older
        if not answer["has_more"]:
            break
        answer = await page(before=seqs[0])
    assert older == list(range(13))

    newer: list[int] = []
    answer = await page(after=-1)
    while answer["messages"]:
        assert not {m["seq"] for m in answer["messages"]} & set(newer)
        newer += [m["seq"] for m in answer["messages"]]
        assert answer["has_more"] == (newer[-1] < 12)
        answer = await page(after=newer[-1])
    assert newer == list(range(13))


async def test_pages_are_1_to_100_and_go_one_way(town: Town, engine: Engine) -> None:
    owner, _, _, conversation = await pair(town, engine)
    for limit in (None, 0, -1, 101, 2**31 - 1):
        answer = await owner.call("get_messages", conversation_id=conversation, limit=limit)
        assert set(answer["fields"]) == {"limit"}
    answer = await owner.call("get_messages", conversation_id=conversation, before=1, after=0)
    assert set(answer["fields"]) == {"after"}
    for before, after in ((-(2**31), None), (0, None), (None, 2**31 - 1)):
        answer = await owner.call("get_messages", conversation_id=conversation, before=before, after=after)
        assert (answer["messages"], answer["has_more"]) == ([], False)


async def test_a_conversation_has_the_contracts_shape_and_its_newest_500(town: Town, engine: Engine) -> None:
    owner, helper, request, conversation = await pair(town, engine)
    await town.fill(conversation, helper, owner, 500)

    async def read() -> dict[str, Any]:
        return await owner.call("get_conversation_v2", conversation_id=conversation, user_id=owner.user_id)

    answer = await read()
    assert set(answer) == {"success", "conversation", "messages", "has_more"}
    assert set(answer["conversation"]) == {
        "id", "help_request_id", "requester_id", "helper_id", "initial_message", "status", "created_at", "updated_at"
    }  # fmt: skip
    assert [answer["conversation"][n] for n in ("id", "help_request_id", "requester_id", "helper_id", "initial_message",
                                                "status")] == [
        str(conversation), str(request), str(owner.user_id), str(helper.user_id), FIRST_WORDS, "active"
    ]  # fmt: skip
    assert all(set(m) == {"id", "seq", "sender_id", "content", "created_at", "updated_at"} for m in answer["messages"])
    # Follow-ups only: the first message is the conversation's own.
    assert [m["seq"] for m in answer["messages"]] == list(range(1, 501))
    assert answer["has_more"] is False

    assert (await helper.send(conversation, "Number 501"))["seq"] == 501
    answer = await read()
    assert [m["seq"] for m in answer["messages"]] == list(range(2, 502))
    assert answer["has_more"] is True


async def test_a_hidden_message_keeps_its_place_and_loses_its_words(town: Town, engine: Engine) -> None:
    owner, helper, _, conversation = await pair(town, engine)
    sent = await helper.send(conversation, "Something vile")
    table = "public.messages_v2" if engine.version == "v2" else "public.messages"
    await town.care.owner.execute(f"update {table} set hidden_at = now() where id = $1", sent["message_id"])
    page = await owner.call("get_messages", conversation_id=conversation)
    assert [(m["seq"], m["content"]) for m in page["messages"]] == [(0, FIRST_WORDS), (1, None)]
    assert "vile" not in str(await owner.call("list_conversations"))
