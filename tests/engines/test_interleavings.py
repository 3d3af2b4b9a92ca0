"""Two calls in each other's way, forced: one holds its transaction open, the other is seen to wait, then it goes on."""

import asyncio
import time
from typing import Any
from uuid import UUID

import pytest

from care_collective.errors import CareError, Code
from engines.stage import V1, V2, Engine, half_open, held, recipient, session, waiting
from harness import FIRST_WORDS, Person, Town


async def pair(town: Town) -> tuple[Person, Person, UUID]:
    """A requester, a helper and the request between them."""
    owner, helper = await town.member("Olga"), await town.member("Hal")
    return owner, helper, await town.request(owner)


async def messages(town: Town) -> int:
    """How many messages there are in a town, first ones and follow-ups."""
    return await town.count("care.thread_messages")


# --- The end of a request


async def test_an_offer_that_waited_for_the_close_opens_nothing(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    async with session(owner) as closing:
        assert (await closing.call("cancel_help_request", help_request_id=request))["success"]
        offer = asyncio.create_task(engine.offer(helper, request))
        await waiting(town.care)
    assert (await offer).error == Code.HELP_REQUEST_UNAVAILABLE
    assert await town.count("public.conversations") + await town.count("public.conversations_v2") == 0


async def test_a_close_that_waited_for_an_offer_ends_a_request_with_a_conversation(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    async with session(helper) as offering:
        conversation = await offering.offer(engine, request)
        close = asyncio.create_task(owner.call("cancel_help_request", help_request_id=request))
        await waiting(town.care)
    assert (await close)["status"] == "cancelled"
    (item,) = (await owner.call("list_conversations"))["conversations"]
    assert (item["id"], item["help_request"]["status"]) == (str(conversation), "cancelled")
    assert (await engine.offer(await town.member("Eve"), request)).error == Code.HELP_REQUEST_UNAVAILABLE


@pytest.mark.parametrize("steps", [1, 2])
async def test_a_close_between_the_steps_of_v1_leaves_an_orphan_and_no_message(town: Town, steps: int) -> None:
    owner, helper, request = await pair(town)
    conversation = await half_open(helper, request, steps=steps)
    async with session(owner) as closing:
        await closing.call("cancel_help_request", help_request_id=request)
        last = asyncio.create_task(
            helper.call(
                "legacy_write_first_message",
                conversation_id=conversation,
                recipient_id=owner.user_id,
                content=FIRST_WORDS,
            )
        )
        await waiting(town.care)
    assert (await last)["error"] == ("permission_denied" if steps == 1 else "help_request_unavailable")
    for retry in (V1, V2):
        assert (await retry.offer(helper, request)).error == Code.HELP_REQUEST_UNAVAILABLE
    assert await messages(town) == 0
    assert await town.care.violations(town.community_id) == [("orphan", "v1")]


# --- What is done to a member


BLOCK = "insert into public.user_blocks (community_id, blocker_id, blocked_id) values ($1, $3, $2)"
SUSPEND = (
    "insert into public.user_restrictions (community_id, user_id, kind, why, until, created_by) "
    "values ($1, $2, 'suspended', 'Sent adverts', now() + interval '1 day', $3)"
)
DELETE = "update public.profiles set deleted_at = now() where community_id = $1 and user_id = $2 and user_id <> $3"
MEASURES = {"block": (BLOCK, "not_found"), "suspension": (SUSPEND, "restricted"), "deletion": (DELETE, "identity")}


async def lock(connection: object, town: Town, *people: Person) -> None:
    """What every write about members does first: their profile rows, by id (rule 11)."""
    await connection.execute(  # type: ignore[attr-defined]
        "select 1 from public.profiles where community_id = $1 and user_id = any ($2) "
        "order by user_id for no key update",
        town.community_id,
        [person.user_id for person in people],
    )


@pytest.mark.parametrize("measure", MEASURES)
async def test_an_offer_that_waited_for_a_measure_meets_it(town: Town, engine: Engine, measure: str) -> None:
    owner, helper, request = await pair(town)
    statement, told = MEASURES[measure]
    connection = await town.care.connect()
    async with connection.transaction():
        await lock(connection, town, helper, owner)
        await connection.execute(statement, town.community_id, helper.user_id, owner.user_id)
        offer = asyncio.create_task(engine.offer(helper, request))
        await waiting(town.care)
    await connection.close()
    result = await offer
    assert told in (result.reason, result.error)
    assert await messages(town) == 0


@pytest.mark.parametrize("measure", MEASURES)
async def test_a_measure_that_waited_for_an_offer_holds_for_the_next_message(
    town: Town, engine: Engine, measure: str
) -> None:
    owner, helper, request = await pair(town)
    statement, _ = MEASURES[measure]
    connection = await town.care.connect()

    async def take() -> None:
        async with connection.transaction():
            await lock(connection, town, helper, owner)
            await connection.execute(statement, town.community_id, helper.user_id, owner.user_id)

    async with session(helper) as offering:
        conversation = await offering.offer(engine, request)
        measured = asyncio.create_task(take())
        await waiting(town.care)
    await measured
    await connection.close()

    sent = await helper.send(conversation, "Are you there?")
    assert (sent["error"], sent["reason"]) == (
        "permission_denied",
        {"block": "not_active", "suspension": "restricted", "deletion": "identity"}[measure],
    )
    assert await messages(town) == 1


@pytest.mark.parametrize("measure", MEASURES)
async def test_a_measure_between_the_steps_of_v1_is_met_by_the_last(town: Town, measure: str) -> None:
    owner, helper, request = await pair(town)
    conversation = await half_open(helper, request)
    await town.care.owner.execute(MEASURES[measure][0], town.community_id, helper.user_id, owner.user_id)
    answer = await helper.call(
        "legacy_write_first_message", conversation_id=conversation, recipient_id=owner.user_id, content=FIRST_WORDS
    )
    assert MEASURES[measure][1] in (answer.get("reason"), answer["error"])
    assert await messages(town) == 0


async def test_a_helper_whose_suspension_was_waited_for_is_not_accepted(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    conversation = await engine.opened(helper, request)
    connection = await town.care.connect()
    async with connection.transaction():
        await lock(connection, town, helper)
        await connection.execute(SUSPEND, town.community_id, helper.user_id, owner.user_id)
        accept = asyncio.create_task(owner.call("accept_offer", conversation_id=conversation))
        await waiting(town.care)
    await connection.close()
    assert (await accept)["reason"] == "state"
    assert await town.count("public.help_requests", "helper_id is not null") == 0


# --- Deciding and ending


@pytest.mark.parametrize("accept_first", [True, False])
async def test_accepting_and_cancelling_end_in_one_state(town: Town, engine: Engine, accept_first: bool) -> None:
    owner, helper, request = await pair(town)
    conversation = await engine.opened(helper, request)
    calls: list[tuple[str, dict[str, Any]]] = [
        ("accept_offer", {"conversation_id": conversation}),
        ("cancel_help_request", {"help_request_id": request}),
    ]
    if not accept_first:
        calls.reverse()
    async with session(owner) as first:
        assert (await first.call(calls[0][0], **calls[0][1]))["success"]
        second = asyncio.create_task(owner.call(calls[1][0], **calls[1][1]))
        await waiting(town.care)
    answer = await second
    # A request with a helper may still be cancelled; a cancelled one takes no helper.
    assert answer["success"] is accept_first
    assert answer.get("reason") == (None if accept_first else "state")
    assert await town.count("public.help_requests", "status = 'cancelled'") == 1
    assert await town.count("public.help_requests", "helper_id is not null") == int(accept_first)
    assert await town.count("care.outbox", "topic = 'offer.accepted'") == int(accept_first)


@pytest.mark.parametrize("verb", ["close_conversation", "decline_offer"])
async def test_a_message_that_waited_for_the_close_is_not_written(town: Town, engine: Engine, verb: str) -> None:
    owner, helper, request = await pair(town)
    conversation = await engine.opened(helper, request)
    async with session(owner) as closing:
        assert (await closing.call(verb, conversation_id=conversation))["success"]
        sent = asyncio.create_task(helper.send(conversation, "Are you there?"))
        await waiting(town.care)
    assert ((await sent)["error"], (await sent)["reason"]) == ("permission_denied", "not_active")
    assert await messages(town) == 1


async def test_a_close_that_waited_for_a_message_keeps_it(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    conversation = await engine.opened(helper, request)
    async with session(helper) as sending:
        sent = await sending.call(
            "send_message_v2", conversation_id=conversation, sender_id=helper.user_id, content="Are you there?"
        )
        closed = asyncio.create_task(owner.call("close_conversation", conversation_id=conversation))
        await waiting(town.care)
    assert (sent["seq"], (await closed)["status"]) == (1, "closed")
    assert await town.care.violations(town.community_id) == []


# --- Messages and marks


async def test_two_messages_at_once_take_two_numbers(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    conversation = await engine.opened(helper, request)
    async with session(helper) as sending:
        first = await sending.call(
            "send_message_v2", conversation_id=conversation, sender_id=helper.user_id, content="One"
        )
        second = asyncio.create_task(owner.send(conversation, "Two"))
        await waiting(town.care)
    assert (first["seq"], (await second)["seq"]) == (1, 2)


@pytest.mark.parametrize(("seq", "unread"), [(0, 1), (1, 0)])
async def test_a_mark_that_waited_for_a_message_counts_it(town: Town, engine: Engine, seq: int, unread: int) -> None:
    owner, helper, request = await pair(town)
    conversation = await engine.opened(helper, request)
    async with session(helper) as sending:
        await sending.call(
            "send_message_v2", conversation_id=conversation, sender_id=helper.user_id, content="Are you there?"
        )
        mark = asyncio.create_task(owner.call("mark_read", conversation_id=conversation, seq=seq))
        await waiting(town.care)
    assert ((await mark)["last_read_seq"], (await mark)["unread"]) == (seq, unread)
    assert await town.care.violations(town.community_id) == []


async def test_a_message_that_waited_for_a_mark_is_unread(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    conversation = await engine.opened(helper, request)
    async with session(owner) as marking:
        # A mark beyond the end must not cover what comes later.
        mark = await marking.call("mark_read", conversation_id=conversation, seq=5)
        sent = asyncio.create_task(helper.send(conversation, "Are you there?"))
        await waiting(town.care)
    assert ((await sent)["seq"], mark["last_read_seq"]) == (1, 0)
    (item,) = (await owner.call("list_conversations"))["conversations"]
    assert item["unread"] == 1
    assert await town.care.violations(town.community_id) == []


# --- Keys and time-outs


async def test_an_equal_key_waits_for_the_first_offer_and_replays_it(town: Town, engine: Engine) -> None:
    _, helper, request = await pair(town)
    async with session(helper) as first:
        conversation = await first.offer(engine, request, key="tap")
        again = asyncio.create_task(engine.offer(helper, request, key="tap"))
        await waiting(town.care)
    result = await again
    assert (result.success, result.replayed, result.conversation_id) == (True, True, conversation)
    assert await messages(town) == 1


async def test_an_equal_key_waits_for_the_first_message_and_replays_it(town: Town, engine: Engine) -> None:
    _, helper, request = await pair(town)
    conversation = await engine.opened(helper, request)
    async with session(helper) as sending:
        first = await sending.call(
            "send_message_v2", key="tap", conversation_id=conversation, sender_id=helper.user_id, content="One"
        )
        again = asyncio.create_task(helper.send(conversation, "One", key="tap"))
        await waiting(town.care)
    assert await again == first
    assert await messages(town) == 2


async def test_the_words_of_another_call_are_no_replay_of_a_key(town: Town) -> None:
    """V1's key is taken by step one; when other words won between the steps, its own are not said to be sent."""
    owner, helper, request = await pair(town)
    await half_open(helper, request, key="tap")
    won = await V2.offer(helper, request, "Other words, and they came first.")
    for engine in (V1, V2):
        result = await engine.offer(helper, request, key="tap")
        assert (result.error, result.conversation_id) == (Code.CONVERSATION_EXISTS, won.conversation_id)
    assert won.version == "v1"
    (item,) = (await owner.call("list_conversations"))["conversations"]
    assert item["last_message"]["content"] == "Other words, and they came first."


async def test_two_offers_between_the_steps_of_v1_are_one_success(town: Town) -> None:
    """Both have passed step one, as two taps do; the last step tells them apart."""
    _, helper, request = await pair(town)
    owner = await recipient(helper, request)
    ids = {await half_open(helper, request) for _ in range(2)}
    (conversation,) = ids
    answers = [
        await helper.call(
            "legacy_write_first_message", conversation_id=conversation, recipient_id=owner, content=FIRST_WORDS
        )
        for _ in range(2)
    ]
    assert [a.get("error") for a in answers] == [None, "conversation_exists"]
    assert (answers[1]["conversation_id"], answers[1]["status"]) == (str(conversation), "active")


@pytest.mark.alike
async def test_beyond_the_lock_time_out_every_write_is_unavailable(town: Town) -> None:
    """All at once, since each waits for two seconds, equal keys among them; twice that where a queue moves up."""
    owner, helper, request = await pair(town)
    conversation = await V2.opened(helper, request)
    facade, second = held(town.care, "off"), await town.request(owner)
    async with session(helper) as first, session(owner) as other:
        await first.call(
            "send_message_v2", key="tap", conversation_id=conversation, sender_id=helper.user_id, content="One"
        )
        await other.call("create_help_request", title="Bread and milk", category="other")
        began = time.monotonic()
        results = [
            asyncio.create_task(V1.offer(helper, second)),
            asyncio.create_task(V2.offer(helper, second, key="other")),
            asyncio.create_task(facade.send_message(helper.caller("tap"), conversation, "One")),
        ]
        answers = [
            asyncio.create_task(call)
            for call in (
                facade.mark_read(owner.caller(), conversation, 1),
                facade.close_conversation(owner.caller("close"), conversation),
                facade.accept_offer(owner.caller(), conversation),
                facade.decline_offer(owner.caller(), conversation, None),
                facade.reopen_conversation(helper.caller(), conversation),
                facade.step_back(helper.caller(), conversation),
            )
        ]
        for result in await asyncio.gather(*results):
            assert (result.error, result.extras["retry_after"]) == (Code.UNAVAILABLE, 1)
        for answer in await asyncio.gather(*answers, return_exceptions=True):
            assert isinstance(answer, CareError)
            assert (answer.code, answer.extras["retry_after"]) == (Code.UNAVAILABLE, 1)
        assert time.monotonic() - began > 1.9
    replay = await facade.send_message(helper.caller("tap"), conversation, "One")
    assert (replay.success, replay.replayed, replay.seq) == (True, True, 1)


async def test_reading_waits_for_nobody(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    conversation = await engine.opened(helper, request)
    async with session(helper) as first, session(owner) as other:
        await first.call("close_conversation", conversation_id=conversation)
        await other.call("create_help_request", title="Bread and milk", category="other")
        for person in (owner, helper):
            assert (await person.call("get_messages", conversation_id=conversation))["success"]
            assert len((await person.call("list_conversations"))["conversations"]) == 1
