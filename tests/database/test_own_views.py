"""Mute, archive and search: one's own view of a conversation, which nobody else learns of; both engines alike."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from database.steps import V1, V2, Engine, code, contents
from harness import Person, Town

FAR = datetime(2100, 1, 1, tzinfo=UTC)


async def pair(town: Town, engine: Engine) -> tuple[Person, Person, UUID]:
    """An owner, a helper and their conversation."""
    owner, helper = await town.member("Olga"), await town.member("Hal")
    return owner, helper, await engine.opened(helper, await town.request(owner))


async def listed(person: Person, filter_: str = "all", search: str | None = None) -> list[str]:
    """The ids that a list shows."""
    answer = await person.call("list_conversations", filter=filter_, search=search)
    assert answer["success"], answer
    return [one["id"] for one in answer["conversations"]]


async def row(person: Person) -> dict[str, Any]:
    """A person's only conversation, wherever it was put."""
    for filter_ in ("all", "archived"):
        for one in (await person.call("list_conversations", filter=filter_))["conversations"]:
            return dict(one)
    raise AssertionError("no conversation")


async def test_a_conversation_is_muted_until_a_moment_for_oneself_alone(town: Town, engine: Engine) -> None:
    owner, helper, conversation = await pair(town, engine)
    before = await row(helper)
    muted = await owner.call("mute_conversation", conversation_id=conversation, until=FAR)
    assert datetime.fromisoformat(muted["muted_until"]) == FAR
    assert muted == await owner.call("mute_conversation", conversation_id=conversation, until=FAR)
    assert (await row(owner))["muted_until"] == muted["muted_until"]
    # What is written meanwhile is counted as ever.
    await helper.send(conversation, "Are you there?")
    assert (await row(owner))["unread"] == 2
    for ended in (None, datetime.now(UTC) - timedelta(seconds=1)):
        await owner.call("mute_conversation", conversation_id=conversation, until=FAR)
        assert (await owner.call("mute_conversation", conversation_id=conversation, until=ended))["muted_until"] is None
        assert (await row(owner))["muted_until"] is None
    assert (before["muted_until"], (await row(helper))["muted_until"]) == (None, None)
    assert await town.count("care.outbox", "topic not in ('conversation.opened', 'message.sent')") == 0


async def test_an_archived_conversation_is_found_where_it_was_put_and_nobody_else_learns_of_it(
    town: Town, engine: Engine
) -> None:
    owner, helper, conversation = await pair(town, engine)
    before, events = await row(helper), await town.count("care.outbox")
    for _ in range(2):
        assert (await owner.call("archive_conversation", conversation_id=conversation, archived=True))["archived"]
    assert (await listed(owner), await listed(owner, "archived")) == ([], [str(conversation)])
    assert (await row(owner))["archived"] is True
    # It had not been read: that is not put out of sight.
    assert await listed(owner, "unread") == [str(conversation)]
    assert (await owner.call("care.live", conversation_id=None, after=None, changed=None))["unread"]["messages"] == 1
    assert (await row(helper), await town.count("care.outbox")) == (before, events)
    await owner.call("archive_conversation", conversation_id=conversation, archived=False)
    assert (await listed(owner), await listed(owner, "archived")) == ([str(conversation)], [])


async def test_what_the_other_does_brings_a_conversation_back_and_what_one_does_oneself_does_not(
    town: Town, engine: Engine
) -> None:
    owner, helper, conversation = await pair(town, engine)
    acts = {
        "send_message_v2": helper, "accept_offer": owner, "step_back": helper, "close_conversation": owner,
        "reopen_conversation": owner, "decline_offer": owner,
    }  # fmt: skip
    for verb, actor in acts.items():
        other = owner if actor is helper else helper
        for person in (owner, helper):
            await person.call("archive_conversation", conversation_id=conversation, archived=True)
        if verb == "send_message_v2":
            answer = await actor.send(conversation, "News")
        else:
            answer = await actor.call(verb, conversation_id=conversation)
        assert answer["success"], (verb, answer)
        assert (await listed(other), await listed(actor)) == ([str(conversation)], []), verb
        assert (await row(other))["archived"] is False
    await owner.call("reopen_conversation", conversation_id=conversation)
    await owner.call("accept_offer", conversation_id=conversation)
    await helper.call("archive_conversation", conversation_id=conversation, archived=True)
    later = await engine.opened(await town.member("Eve"), UUID((await row(owner))["help_request"]["id"]))
    await owner.call("accept_offer", conversation_id=later)
    assert await listed(helper) == [str(conversation)]  # somebody else took their place
    await owner.call("accept_offer", conversation_id=conversation)
    await helper.call("archive_conversation", conversation_id=conversation, archived=True)
    await owner.call("release_helper", conversation_id=conversation)
    assert await listed(helper) == [str(conversation)]
    # What becomes of the request is news in it, too; not of somebody whom they have blocked.
    request = (await row(owner))["help_request"]["id"]
    for verb, blocked in (("cancel", False), ("reopen", False), ("cancel", True)):
        await helper.call("archive_conversation", conversation_id=conversation, archived=True)
        if blocked:
            await town.block(helper, owner)
        assert (await owner.call(f"{verb}_help_request", help_request_id=UUID(request)))["success"]
        assert await listed(helper) == [str(conversation)] * (not blocked), verb


async def test_a_view_is_its_two_peoples_and_wrong_arguments_are_named(town: Town, engine: Engine) -> None:
    _, helper, conversation = await pair(town, engine)
    stranger = await town.member("Sam")
    before = await contents(town.care)
    for verb, argument in (("mute_conversation", {"until": FAR}), ("archive_conversation", {"archived": True})):
        answers = [await stranger.call(verb, conversation_id=one, **argument) for one in (conversation, UUID(int=7))]
        assert [code(a) for a in answers] == ["permission_denied/not_participant"] * 2
        assert answers[0] == answers[1]
    infinity = datetime.max.replace(tzinfo=UTC)  # asyncpg's
    answer = await helper.call("mute_conversation", conversation_id=conversation, until=infinity)
    assert (code(answer), set(answer["fields"])) == ("validation_error", {"until"})
    answer = await helper.call("archive_conversation", conversation_id=conversation, archived=None)
    assert (code(answer), set(answer["fields"])) == ("validation_error", {"archived"})
    long = await helper.call("list_conversations", search="x" * 101)
    assert (code(long), set(long["fields"])) == ("validation_error", {"search"})
    assert await contents(town.care) == before


async def test_archiving_and_a_message_at_once_lose_neither(town: Town, engine: Engine) -> None:
    owner, helper, conversation = await pair(town, engine)
    for _ in range(3):
        await asyncio.gather(
            owner.call("archive_conversation", conversation_id=conversation, archived=True),
            helper.send(conversation, "News"),
        )
        assert await listed(owner, "unread") == [str(conversation)]
    assert (await row(owner))["unread"] == 4


async def test_words_are_found_in_names_titles_and_messages_of_ones_own_threads(town: Town) -> None:
    owner, stranger = await town.member("Olga"), await town.member("Sam")
    helpers = [await town.member("José Núñez"), await town.member("Łucja 100%_ready")]
    request = await town.request(owner, title="Ein Gespräch am Küchentisch")
    one, two = [str(await engine.opened(who, request)) for engine, who in zip((V1, V2), helpers, strict=True)]
    await helpers[0].send(one, "Ich bringe Äpfel\nund einen KUCHEN mit")
    await owner.send(two, "The key is under the mat, C:\\temp")
    for search, found in {
        "jose": [one], "NÚÑEZ": [one], "nun\u0303ez": [one], "kuchen": [two, one], "gesprach jose": [one],
        "äpfel kuchen": [one], "apfel mat": [], "KEY  mat": [two], "two streets": [two, one], "100%_r": [two],
        "%": [two], "_": [two], "c:\\t": [two], "\\": [two], "o%z": [], "' or 1=1 --": [], "Olga": [],
        "\u200b": [two, one], "  ": [two, one],
    }.items():  # fmt: skip
        assert await listed(owner, search=search) == found, search
    assert await listed(stranger, search="kuchen") == []
    assert await listed(owner, "unread", "jose") == [one]
    # Put away is not lost: a search of all looks there too.
    await owner.call("archive_conversation", conversation_id=UUID(one), archived=True)
    assert (await listed(owner, search="jose"), await listed(owner, "archived", "jose")) == ([one], [one])
    assert await listed(owner, "archived", "mat") == []


async def test_hidden_words_former_names_and_held_threads_are_not_found(town: Town, engine: Engine) -> None:
    owner, helper, conversation = await pair(town, engine)
    await helper.send(conversation, "A secret word")
    assert len(await listed(owner, search="secret")) == 1
    await town.care.owner.execute("update public.messages set hidden_at = now() where seq > 0")
    await town.care.owner.execute("update public.messages_v2 set hidden_at = now()")
    await town.care.owner.execute(
        "update public.profiles set deleted_at = now() where user_id = $1", helper.user_id
    )  # fmt: skip
    assert [await listed(owner, search=words) for words in ("secret", "Hal", "streets")] == [
        [],
        [],
        [str(conversation)],
    ]
    await town.care.owner.execute(f"update {engine.conversations} set status = 'held' where id = $1", conversation)
    assert await listed(owner, search="streets") == []


async def test_a_search_looks_through_so_many_and_its_cursor_goes_on(town: Town) -> None:
    owner, request = await town.member("Olga"), None
    request = await town.request(owner)
    opened = [await V2.opened(await town.member(f"Hal {n}"), request) for n in range(7)]
    found = await owner.call("list_conversations", search="Hal", limit=4)
    assert [UUID(c["id"]) for c in found["conversations"]] == opened[:2:-1]
    rest = await owner.call("list_conversations", search="Hal", limit=4, cursor=found["next_cursor"])
    assert ([UUID(c["id"]) for c in rest["conversations"]], rest["next_cursor"]) == (opened[2::-1], None)
    # As if each were long: 1,000 messages of a thread are looked through, and 3,000 at a time.
    await town.care.owner.execute(
        "update public.conversations_v2 set last_seq = 10000 where community_id = $1", town.community_id
    )
    found = await owner.call("list_conversations", search="Hal 0")
    assert (found["conversations"], found["next_cursor"] is None) == ([], False)
    cursor = str(found["next_cursor"]).partition(".")[2]
    assert UUID(cursor) == opened[4]


@pytest.mark.parametrize("limit", [0, 51])
async def test_a_search_is_judged_as_the_list_is(town: Town, limit: int) -> None:
    owner = await town.member()
    for wrong in ({"limit": limit}, {"filter": "muted"}, {"cursor": "abc"}):
        plain = await owner.call("list_conversations", **wrong)
        assert await owner.call("list_conversations", search="words", **wrong) == plain
        assert code(plain) == "validation_error"


async def test_no_message_makes_a_search_stand_still(town: Town) -> None:
    # Marks in the opposite of their order, as many as a message takes: a search looks through thousands of messages.
    hostile = "select count(care.fold($1 || n)) from generate_series(1, 200) n"
    await asyncio.wait_for(town.care.owner.fetchval(hostile, "a" + "\u0301" * 500 + "\u0316" * 499), 1)
    assert await town.care.owner.fetchval("select care.fold($1)", "É" * 120) == "e" * 120
