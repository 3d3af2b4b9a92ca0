"""A block works both ways, ends what two have with each other, and is never disclosed (product.md)."""

import json
from typing import Any
from uuid import UUID

import pytest

from database.steps import Engine, code, contents, legacy_steps, nowhere
from harness import Person, Town

pytestmark = pytest.mark.alike


async def trio(town: Town) -> tuple[Person, Person, UUID]:
    """An owner, a helper, and a request of the owner's."""
    owner, helper = await town.member("Olga"), await town.member("Hal")
    return owner, helper, await town.request(owner)


async def block(blocker: Person, blocked: Person) -> dict[str, Any]:
    """Blocks, with the answer."""
    return await blocker.call("block_user", user_id=blocked.user_id)


async def thread(person: Person, conversation: UUID) -> dict[str, Any]:
    """A conversation as one of its people sees it."""
    return dict((await person.call("get_messages", conversation_id=conversation))["conversation"])


async def visible(person: Person, requests: list[UUID], conversation: UUID) -> dict[str, Any]:
    """Everything that a member can read, and what they are told when they try."""
    seen: dict[str, Any] = {
        "inbox": {one: await person.call("list_conversations", filter=one) for one in ("all", "unread", "archived")},
        "found": await person.call("list_conversations", search="hello"),
        "thread": await person.call("get_messages", conversation_id=conversation),
        "plain": await person.call("get_conversation_v2", conversation_id=conversation, user_id=person.user_id),
        "requests": [await person.call("get_help_request", help_request_id=one) for one in requests],
        "mine": await person.call("list_help_requests", mine=True, status="all"),
        "offers": [await person.call("list_offers", help_request_id=one) for one in requests],
        "live": await person.call("care.live", conversation_id=conversation, after=-1, changed=None),
        "me": await person.call("care.me"),
        "blocks": await person.call("list_blocks"),
        "notifications": await person.call("list_notifications"),
        "told": [
            [row["topic"], row["by"]]
            for row in await person.town.care.owner.fetch(
                "select topic, actor_id <> $2 as by from care.outbox where community_id = $1 order by created_at",
                person.town.community_id, person.user_id,
            )
        ],
    }  # fmt: skip
    seen["tried"] = [
        await person.send(conversation, "Are you there?"),
        *[
            await person.call(verb, conversation_id=conversation)
            for verb in ("accept_offer", "decline_offer", "close_conversation", "reopen_conversation", "step_back",
                         "release_helper")
        ],
        await person.offer_v2(requests[0]),
        await person.call("mark_read", conversation_id=conversation, seq=0),
    ]  # fmt: skip
    return seen


def faceless(seen: object, names: dict[str, str]) -> Any:  # noqa: ANN401
    """What was seen with ids by their part in the story and without times."""
    text = json.dumps(seen)
    for identity, name in names.items():
        text = text.replace(identity, name)
    return strip(json.loads(text))


def strip(value: Any) -> Any:  # noqa: ANN401
    """Without times, and without ids that the story has no name for."""
    if isinstance(value, dict):
        return {
            k: strip(v) for k, v in value.items()
            if not k.endswith("_at") and k != "next_cursor" and not (k == "id" and len(str(v)) == 36)
            and k not in ("email", "community")
        }  # fmt: skip
    return [strip(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("blocked_is", ["owner", "helper"])
async def test_whom_it_is_done_to_sees_what_a_plain_end_shows(town: Town, engine: Engine, blocked_is: str) -> None:
    stories = []
    for blocks in (True, False):
        # Each story in a town of its own: nothing of the other is in the lists.
        there = await town.care.town()
        owner, helper, request = await trio(there)
        conversation = await engine.opened(helper, request)
        await owner.send(conversation, "Hello, that would be kind")
        blocker, blocked = (helper, owner) if blocked_is == "owner" else (owner, helper)
        assert (await owner.call("accept_offer", conversation_id=conversation))["success"]
        await blocked.call("archive_conversation", conversation_id=conversation, archived=True)
        if blocks:
            assert (await block(blocker, blocked)) == {"success": True}
        else:
            verb = "step_back" if blocker is helper else "release_helper"
            assert (await blocker.call(verb, conversation_id=conversation))["success"]
            assert (await blocker.call("close_conversation", conversation_id=conversation))["success"]
        names = {str(owner.user_id): "owner", str(helper.user_id): "helper", str(request): "the request",
                 str(conversation): "the conversation"}  # fmt: skip
        seen = await visible(blocked, [request], conversation)
        times = [seen["thread"]["conversation"]["last_activity_at"], seen["plain"]["conversation"]["updated_at"]]
        told = await there.care.owner.fetchval(
            "select max(created_at) - max(created_at) filter (where topic like 'helper%') from care.outbox "
            "where community_id = $1", there.community_id,
        )  # fmt: skip
        assert times[0] == times[1]
        assert told.total_seconds() >= 0
        stories.append(faceless(seen, names))
        # And after an unblock, it is still whoever ended it who may open it again.
        if blocks:
            assert (await blocker.call("unblock_user", user_id=blocked.user_id)) == {"success": True}
        again = [await one.call("reopen_conversation", conversation_id=conversation) for one in (blocked, blocker)]
        assert [code(a) for a in again] == ["permission_denied/role", "success"]
        assert (await blocked.send(conversation, "Hello again"))["success"]
    assert stories[0] == stories[1]


@pytest.mark.parametrize("ended_by", ["owner", "helper", "owner's no"])
async def test_who_had_ended_it_before_can_open_it_and_finds_it_ended_again(
    town: Town, engine: Engine, ended_by: str
) -> None:
    stories = []
    for blocks in (True, False):
        there = await town.care.town()
        owner, helper, request = await trio(there)
        conversation = await engine.opened(helper, request)
        blocked, other = (helper, owner) if ended_by == "helper" else (owner, helper)
        verb = "decline_offer" if ended_by == "owner's no" else "close_conversation"
        assert (await blocked.call(verb, conversation_id=conversation))["success"]
        await other.call("archive_conversation", conversation_id=conversation, archived=True)
        if blocks:
            assert (await block(other, blocked)) == {"success": True}
        untouched = await thread(other, conversation)
        before = await blocked.call("get_messages", conversation_id=conversation)
        reopened = await blocked.call("reopen_conversation", conversation_id=conversation)
        if blocks:
            now = await thread(other, conversation)
            assert [now[name] for name in ("archived", "last_activity_at", "may_reopen")] == [
                True, untouched["last_activity_at"], False,
            ]  # fmt: skip
            told = await other.call("list_notifications")
            assert "conversation.reopened" not in str(told)
        else:
            assert (await other.call("close_conversation", conversation_id=conversation))["success"]
            # What the plain one's end wrote of the opening, only the other one could see.
            await town.care.owner.execute(
                "delete from care.outbox where community_id = $1 and topic = 'conversation.reopened'",
                there.community_id,
            )
        names = {str(owner.user_id): "owner", str(helper.user_id): "helper", str(request): "the request",
                 str(conversation): "the conversation"}  # fmt: skip
        seen = [before, reopened, await visible(blocked, [request], conversation)]
        stories.append(faceless(seen, names))
        await other.call("unblock_user", user_id=blocked.user_id)
        again = [await one.call("reopen_conversation", conversation_id=conversation) for one in (blocked, other)]
        assert [code(a) for a in again] == ["permission_denied/role", "success"]
        assert await town.care.violations(there.community_id) == []
    assert stories[0] == stories[1]
    assert (stories[0][0]["conversation"]["may_reopen"], stories[0][1]["success"]) == (True, True)


async def test_neither_finds_the_others_requests_and_nobody_else_notices(town: Town, engine: Engine) -> None:
    owner, helper, request = await trio(town)
    theirs, third = await town.request(helper, title="A lift to town"), await town.member("Eve")
    absent = await helper.call("get_help_request", help_request_id=nowhere())
    assert (await block(helper, owner))["success"]  # known by a request alone
    for person, one in ((owner, theirs), (helper, request)):
        assert await person.call("get_help_request", help_request_id=one) == absent
        assert code(await engine.offer(person, one)) == "not_found"
        listed = await person.call("list_help_requests", status="all")
        assert str(one) not in [r["id"] for r in listed["help_requests"]]
        assert (await third.call("get_help_request", help_request_id=one))["success"]
    assert (await owner.call("list_blocks"))["blocks"] == []
    (mine,) = (await helper.call("list_blocks"))["blocks"]
    assert (mine["user"]["user_id"], mine["user"]["display_name"]) == (str(owner.user_id), "Olga")
    # The blocked one sees nothing of the other any more, and blocking them is what it would be for a stranger.
    assert await block(owner, helper) == await block(owner, Person(town, nowhere(), "Nobody"))
    assert (await helper.call("unblock_user", user_id=owner.user_id))["success"]
    assert code(await engine.offer(owner, theirs)) == "success"


async def test_all_their_threads_end_help_is_taken_back_and_what_was_over_stays_as_it_was(
    town: Town, engine: Engine
) -> None:
    owner, helper, request = await trio(town)
    second, third = await town.request(owner), await town.request(helper)
    opened = [await engine.opened(*pair) for pair in ((helper, request), (helper, second), (owner, third))]
    other = await engine.opened(await town.member("Eve"), request)
    await owner.call("decline_offer", conversation_id=opened[1], reason="My son comes.")
    await owner.call("accept_offer", conversation_id=opened[0])
    await helper.call("accept_offer", conversation_id=opened[2])
    for _ in range(2):
        assert (await block(owner, helper))["success"]
    seen = [await thread(owner, one) for one in opened]
    assert [one["status"] for one in seen] == ["closed", "declined", "closed"]
    assert [one["help_request"]["status"] for one in seen] == ["open"] * 3
    assert [(one["blocked_by_me"], one["may_reopen"]) for one in seen] == [(True, False)] * 3
    assert seen[1]["decline_reason"] == "My son comes."
    assert not (await thread(helper, opened[0]))["blocked_by_me"]
    assert (await thread(owner, other))["status"] == "active"
    told = await town.care.owner.fetch(
        "select topic, conversation_id from care.outbox where community_id = $1 and topic in "
        "('helper.released', 'helper.stepped_back', 'conversation.closed') order by created_at", town.community_id,
    )  # fmt: skip
    assert sorted((row["topic"], opened.index(row["conversation_id"])) for row in told) == [
        ("conversation.closed", 0), ("conversation.closed", 2), ("helper.released", 0), ("helper.stepped_back", 2),
    ]  # fmt: skip
    assert await town.care.violations(town.community_id) == []
    # Nothing opens again under the block, whoever asks; after it, each what they ended.
    for person in (owner, helper):
        for one in opened:
            answer = await person.call("reopen_conversation", conversation_id=one)
            assert code(answer) == "permission_denied/role"
    await owner.call("unblock_user", user_id=helper.user_id)
    assert [(await thread(owner, one))["may_reopen"] for one in opened] == [True, True, True]
    assert [(await thread(helper, one))["may_reopen"] for one in opened] == [False, False, False]


async def test_only_somebody_one_has_met_is_blocked_and_all_others_are_alike(town: Town, engine: Engine) -> None:
    owner, helper, request = await trio(town)
    stranger, waiting = await town.member("Sam"), await town.member("Nia", status="pending")
    abroad = await town.care.town()
    foreigner = await abroad.member("Ann")
    await abroad.request(foreigner)
    closed = await town.request(stranger)
    await town.care.owner.execute("update public.help_requests set status = 'closed' where id = $1", closed)
    before = await contents(town.care)
    absent = await block(helper, Person(town, nowhere(), "Nobody"))
    assert code(absent) == "not_found"
    for unmet in (stranger, waiting, foreigner):
        assert await block(helper, unmet) == absent
    # Who waits for approval sees no request, and so knows nobody by one.
    assert await block(waiting, owner) == absent
    assert await helper.call("block_user", user_id=None) == absent
    own = await block(owner, owner)
    assert (code(own), set(own["fields"])) == ("validation_error", {"user_id"})
    for unmet in (stranger, Person(town, nowhere(), "Nobody")):
        assert await helper.call("unblock_user", user_id=unmet.user_id) == {"success": True}
    assert await contents(town.care) == before
    # A first message that waits for a coordinator does not exist for whom it is to.
    conversation = await engine.opened(helper, request)
    await town.care.owner.execute(f"update {engine.conversations} set status = 'held' where id = $1", conversation)
    assert await block(owner, helper) == absent
    # And a conversation half opened is none yet.
    await legacy_steps(stranger, await town.request(owner), steps=2)
    assert await block(owner, stranger) == absent


@pytest.mark.parametrize("kind", ["limited", "suspended"])
async def test_who_is_restricted_can_still_protect_themselves(town: Town, engine: Engine, kind: str) -> None:
    owner, helper, request = await trio(town)
    conversation = await engine.opened(helper, request)
    await town.restrict(helper, kind)
    assert (await block(helper, owner))["success"]
    assert (await thread(owner, conversation))["status"] == "closed"
    assert len((await helper.call("list_blocks"))["blocks"]) == 1
    assert (await helper.call("unblock_user", user_id=owner.user_id))["success"]
    # To open it again is to write.
    expected = "permission_denied/restricted" if kind == "suspended" else "success"
    assert code(await helper.call("reopen_conversation", conversation_id=conversation)) == expected
