"""Opening a conversation: one suite, which both engines pass."""

from uuid import UUID, uuid4

import pytest

from care_collective.errors import CareError, Code
from engines.stage import Engine, held
from harness import FIRST_WORDS, Person, Town

OTHER_WORDS = "Other words, and of a length that is allowed."


async def pair(town: Town) -> tuple[Person, Person, UUID]:
    """A requester, a helper and the request between them."""
    owner, helper = await town.member("Olga"), await town.member("Hal")
    return owner, helper, await town.request(owner)


async def conversations(town: Town) -> int:
    """How many conversations a town has, whichever engine keeps them and however far they came."""
    return await town.count("public.conversations") + await town.count("public.conversations_v2")


async def test_an_offer_opens_a_conversation_with_its_words_in_both_inboxes(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)

    result = await engine.offer(helper, request, f"\u2003{FIRST_WORDS}\n")

    assert (result.success, result.version, result.replayed) == (True, engine.version, False)
    for person, role, unread in ((owner, "requester", 1), (helper, "helper", 0)):
        (item,) = (await person.call("list_conversations"))["conversations"]
        assert (item["id"], item["version"], item["status"]) == (str(result.conversation_id), engine.version, "active")
        assert (item["role"], item["unread"], item["last_seq"]) == (role, unread, 0)
        assert item["last_message"]["content"] == FIRST_WORDS
        assert item["last_message"]["sender_id"] == str(helper.user_id)
    assert await town.count("care.outbox", "topic = 'conversation.opened'") == 1
    assert await town.care.violations(town.community_id) == []


async def test_a_second_offer_is_led_to_the_first_in_whatever_state_it_is(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    conversation = await engine.opened(helper, request)

    again = await engine.offer(helper, request, OTHER_WORDS)
    await owner.call("close_conversation", conversation_id=conversation)
    closed = await engine.offer(helper, request)
    await owner.call("cancel_help_request", help_request_id=request)
    ended = await engine.offer(helper, request)

    for result, status in ((again, "active"), (closed, "closed"), (ended, "closed")):
        assert (result.success, result.error) == (False, Code.CONVERSATION_EXISTS)
        assert result.conversation_id == conversation
        assert result.extras["status"] == status
    assert await conversations(town) == 1


@pytest.mark.parametrize("status", ["completed", "cancelled", "closed"])
async def test_a_request_that_has_ended_takes_no_offer(town: Town, engine: Engine, status: str) -> None:
    helper = await town.member()
    result = await engine.offer(helper, await town.request(await town.member(), status=status))
    assert (result.error, await conversations(town)) == (Code.HELP_REQUEST_UNAVAILABLE, 0)


@pytest.mark.parametrize("status", ["open", "in_progress"])
async def test_a_request_that_goes_on_takes_offers(town: Town, engine: Engine, status: str) -> None:
    helper = await town.member()
    assert (await engine.offer(helper, await town.request(await town.member(), status=status))).success


async def test_nobody_offers_help_on_their_own_request(town: Town, engine: Engine) -> None:
    owner, _, request = await pair(town)
    result = await engine.offer(owner, request)
    assert (result.error, result.reason, await conversations(town)) == (Code.VALIDATION_ERROR, "own_request", 0)


async def test_unknown_and_foreign_requests_answer_alike(town: Town, engine: Engine) -> None:
    helper = await town.member()
    elsewhere = await town.care.town()
    foreign = await elsewhere.request(await elsewhere.member())

    results = [await engine.offer(helper, foreign), await engine.offer(helper, uuid4())]

    assert results[0] == results[1]
    assert results[0].error == Code.NOT_FOUND
    assert await conversations(town) + await conversations(elsewhere) == 0


@pytest.mark.parametrize("status", ["pending", "rejected"])
async def test_who_is_not_approved_opens_nothing(town: Town, engine: Engine, status: str) -> None:
    _, _, request = await pair(town)
    result = await engine.offer(await town.member(status=status), request)
    assert (result.error, result.reason) == (Code.PERMISSION_DENIED, "not_approved")
    assert await conversations(town) == 0


@pytest.mark.parametrize("kind", ["limited", "suspended", "banned"])
async def test_who_is_restricted_opens_nothing_and_is_told_why(town: Town, engine: Engine, kind: str) -> None:
    _, helper, request = await pair(town)
    await town.restrict(helper, kind, why="Sent adverts")
    result = await engine.offer(helper, request)
    assert (result.error, result.reason, result.extras["why"]) == (
        Code.PERMISSION_DENIED,
        "restricted",
        "Sent adverts",
    )
    assert await conversations(town) == 0


async def test_nobody_and_the_deleted_open_nothing(town: Town, engine: Engine) -> None:
    _, helper, request = await pair(town)
    await town.care.owner.execute("update public.profiles set deleted_at = now() where user_id = $1", helper.user_id)
    for person in (helper, Person(town, uuid4(), "Nobody")):
        result = await engine.offer(person, request)
        assert (result.error, result.reason) == (Code.PERMISSION_DENIED, "identity")
    assert await conversations(town) == 0


@pytest.mark.parametrize("by_helper", [True, False])
async def test_a_block_either_way_hides_the_request(town: Town, engine: Engine, by_helper: bool) -> None:
    owner, helper, request = await pair(town)
    await town.block(*((helper, owner) if by_helper else (owner, helper)))
    blocked, unknown = await engine.offer(helper, request), await engine.offer(helper, uuid4())
    assert blocked == unknown
    assert (blocked.error, await conversations(town)) == (Code.NOT_FOUND, 0)


async def test_a_block_after_the_opening_leaves_a_conversation_that_looks_closed(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    conversation = await engine.opened(helper, request)
    await town.block(owner, helper)
    again = await engine.offer(helper, request)
    assert (again.error, again.extras["status"]) == (Code.CONVERSATION_EXISTS, "closed")
    assert again.conversation_id == conversation


@pytest.mark.parametrize(
    "words", ["", " \u3164\u200b\n", "too short", "x" * 1001, "NUL \0 within the words", "half a pair \ud800 in it"]
)
async def test_words_that_break_a_rule_open_nothing(town: Town, engine: Engine, words: str) -> None:
    _, helper, request = await pair(town)
    result = await engine.offer(helper, request, words)
    assert (result.error, list(result.extras["fields"])) == (Code.VALIDATION_ERROR, ["initial_message"])
    assert await conversations(town) == 0


async def test_the_tenth_opening_of_an_hour_is_the_last_and_refusals_use_nothing(town: Town, engine: Engine) -> None:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    requests = [await town.request(owner) for _ in range(11)]
    for request in requests[:9]:
        await engine.opened(helper, request)
        assert (await engine.offer(helper, request)).error == Code.CONVERSATION_EXISTS
    await engine.opened(helper, requests[9])

    result = await engine.offer(helper, requests[10])

    assert result.error == Code.RATE_LIMITED
    assert 3500 < result.extras["retry_after"] <= 3600
    assert await conversations(town) == 10


# --- Keys


async def test_a_retry_with_the_same_key_gets_the_first_answer_and_writes_nothing(town: Town, engine: Engine) -> None:
    _, helper, request = await pair(town)
    first = await engine.offer(helper, request, key="tap")
    again = await engine.offer(helper, request, f" {FIRST_WORDS} ", key="tap")

    assert (again.success, again.conversation_id, again.message) == (True, first.conversation_id, first.message)
    assert (first.replayed, again.replayed, again.version) == (False, True, engine.version)
    assert await conversations(town) == 1
    assert await town.count("care.outbox") == 1
    assert await town.count("care.idempotency_keys") == 1


async def test_a_key_with_other_content_is_refused(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    await engine.offer(helper, request, key="tap")
    for result in (
        await engine.offer(helper, request, OTHER_WORDS, key="tap"),
        await engine.offer(helper, await town.request(owner), key="tap"),
    ):
        assert result.error == Code.IDEMPOTENCY_MISMATCH
    assert await conversations(town) == 1


async def test_a_key_is_its_owners_alone(town: Town, engine: Engine) -> None:
    _, helper, request = await pair(town)
    first = await engine.offer(helper, request, key="tap")
    second = await engine.offer(await town.member("Eve"), request, key="tap")
    assert second.success
    assert not second.replayed
    assert first.conversation_id != second.conversation_id


async def test_a_refusal_is_not_stored_under_its_key(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    await owner.call("cancel_help_request", help_request_id=request)
    refused = await engine.offer(helper, request, key="tap")
    await owner.call("reopen_help_request", help_request_id=request)
    opened = await engine.offer(helper, request, key="tap")

    assert refused.error == Code.HELP_REQUEST_UNAVAILABLE
    assert (opened.success, opened.replayed) == (True, False)


async def test_another_key_does_not_open_a_second_conversation(town: Town, engine: Engine) -> None:
    _, helper, request = await pair(town)
    first = await engine.offer(helper, request, key="tap")
    for key in ("other", None):
        again = await engine.offer(helper, request, key=key)
        assert (again.error, again.conversation_id) == (Code.CONVERSATION_EXISTS, first.conversation_id)


# --- Talking


async def test_both_write_and_every_message_has_the_next_number(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    conversation = await engine.opened(helper, request)
    facade = held(town.care, "off")

    sent = [
        await facade.send_message(person.caller(), conversation, f"Message {number}")
        for number, person in enumerate((owner, helper, helper, owner), start=1)
    ]

    assert [s.seq for s in sent] == [1, 2, 3, 4]
    for person, unread in ((owner, 3), (helper, 2)):
        read = (await facade.get_conversation(person.caller(), conversation)).raised()
        assert read.conversation is not None
        assert read.messages is not None
        assert read.conversation["initial_message"] == FIRST_WORDS
        assert read.conversation["requester_id"] == str(owner.user_id)
        assert read.conversation["helper_id"] == str(helper.user_id)
        assert [(m["seq"], m["content"]) for m in read.messages] == [(n, f"Message {n}") for n in (1, 2, 3, 4)]
        assert [UUID(m["id"]) for m in read.messages] == [s.message_id for s in sent]
        assert read.has_more is False
        (item,) = (await person.call("list_conversations"))["conversations"]
        assert (item["unread"], item["last_message"]["content"]) == (unread, "Message 4")
    assert await town.count("care.outbox", "topic = 'message.sent'") == 4
    assert await town.care.violations(town.community_id) == []


async def test_a_thread_is_paged_by_number_with_the_first_message_as_nought(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    conversation = await engine.opened(helper, request)
    for number in range(1, 8):
        await owner.send(conversation, f"Message {number}")
    facade = held(town.care, "on")

    async def page(**where: int | None) -> tuple[list[int], bool]:
        asked: dict[str, int | None] = {"before": None, "after": None, **where}
        answer = await facade.get_messages(
            helper.caller(), conversation, before=asked["before"], after=asked["after"], limit=3
        )
        data = answer.data()
        return [m["seq"] for m in data["messages"]], data["has_more"]

    assert await page() == ([5, 6, 7], True)
    assert await page(before=5) == ([2, 3, 4], True)
    assert await page(before=2) == ([0, 1], False)
    assert await page(after=-1) == ([0, 1, 2], True)
    assert await page(after=5) == ([6, 7], False)
    assert await page(after=7) == ([], False)


async def test_marks_go_forward_only_and_never_past_the_end(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    conversation = await engine.opened(helper, request)
    for number in (1, 2, 3):
        await helper.send(conversation, f"Message {number}")
    facade = held(town.care, "off")

    marked = [(await facade.mark_read(owner.caller(), conversation, seq)).data() for seq in (1, 0, 99)]

    assert [(m["last_read_seq"], m["unread"]) for m in marked] == [(1, 2), (1, 2), (3, 0)]
    (item,) = (await helper.call("list_conversations"))["conversations"]
    assert item["other_last_read_seq"] == 3
    unread = await facade.list_conversations(owner.caller(), cursor=None, limit=20, filter_="unread")
    assert unread.data()["conversations"] == []


async def test_a_message_sent_again_with_its_key_is_one_message(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    conversation = await engine.opened(helper, request)
    facade = held(town.care, "on")

    first = await facade.send_message(owner.caller("tap"), conversation, "Friday is fine.")
    again = await facade.send_message(owner.caller("tap"), conversation, "Friday is fine.")
    other = await facade.send_message(owner.caller("tap"), conversation, "Monday is better.")

    assert (again.message_id, again.seq, again.replayed) == (first.message_id, 1, True)
    assert other.error == Code.IDEMPOTENCY_MISMATCH
    assert len((await helper.call("get_messages", conversation_id=conversation))["messages"]) == 2


async def test_a_refused_message_is_not_stored_under_its_key(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    conversation = await engine.opened(helper, request)
    await owner.call("close_conversation", conversation_id=conversation)
    refused = await owner.send(conversation, "Friday is fine.", key="tap")
    await owner.call("reopen_conversation", conversation_id=conversation)
    sent = await owner.send(conversation, "Friday is fine.", key="tap")
    assert (refused["error"], refused["reason"]) == ("permission_denied", "not_active")
    assert (sent["success"], sent["seq"]) == (True, 1)


async def test_strangers_find_no_conversation(town: Town, engine: Engine) -> None:
    _, helper, request = await pair(town)
    conversation = await engine.opened(helper, request)
    stranger = await town.member("Eve")
    facade = held(town.care, "on")
    for identity in (conversation, uuid4()):
        assert (await facade.get_conversation(stranger.caller(), identity)).error == Code.NOT_FOUND
        assert (await facade.send_message(stranger.caller(), identity, "Hello")).reason == "not_participant"
        with pytest.raises(CareError, match="not one of your conversations"):
            (await facade.mark_read(stranger.caller(), identity, 0)).data()
        with pytest.raises(CareError, match="not one of your conversations"):
            (await facade.close_conversation(stranger.caller(), identity)).data()


# --- Deciding


async def test_an_accepted_offer_gives_the_request_its_helper(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    conversation = await engine.opened(helper, request)
    facade = held(town.care, "off")

    with pytest.raises(CareError) as refused:
        (await facade.accept_offer(helper.caller(), conversation)).data()
    accepted = (await facade.accept_offer(owner.caller(), conversation)).data()
    again = (await facade.accept_offer(owner.caller(), conversation)).data()

    assert (refused.value.code, refused.value.reason) == (Code.PERMISSION_DENIED, "role")
    assert accepted == again
    assert (accepted["helper_id"], accepted["help_request_status"]) == (str(helper.user_id), "in_progress")
    assert await town.count("care.outbox", "topic = 'offer.accepted'") == 1
    assert await town.care.violations(town.community_id) == []


async def test_another_offer_can_be_accepted_instead(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    second = await town.member("Eve")
    ids = [await engine.opened(person, request) for person in (helper, second)]
    for conversation in ids:
        (await held(town.care, "off").accept_offer(owner.caller(), conversation)).data()
    assert await town.count("public.help_requests", f"helper_id = '{second.user_id}'") == 1
    assert await town.count("care.outbox", f"topic = 'offer.replaced' and conversation_id = '{ids[0]}'") == 1


@pytest.mark.parametrize("by_helper", [True, False])
async def test_a_helper_steps_back_or_is_released(town: Town, engine: Engine, by_helper: bool) -> None:
    owner, helper, request = await pair(town)
    conversation = await engine.opened(helper, request)
    facade = held(town.care, "on")
    (await facade.accept_offer(owner.caller(), conversation)).data()

    verb, person = (facade.step_back, helper) if by_helper else (facade.release_helper, owner)
    assert (await verb(person.caller(), conversation)).data()["help_request_status"] == "open"
    with pytest.raises(CareError) as refused:
        (await verb(person.caller(), conversation)).data()
    assert (refused.value.code, refused.value.reason) == (Code.CONFLICT, "state")


async def test_a_declined_offer_takes_no_messages_until_its_owner_reopens_it(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    conversation = await engine.opened(helper, request)
    facade = held(town.care, "off")
    (await facade.accept_offer(owner.caller(), conversation)).data()

    (await facade.decline_offer(owner.caller(), conversation, "Somebody nearer has come.")).data()

    sent = await facade.send_message(helper.caller(), conversation, "But why?")
    assert (sent.error, sent.reason, sent.extras["status"]) == (Code.PERMISSION_DENIED, "not_active", "declined")
    (item,) = (await helper.call("list_conversations"))["conversations"]
    assert (item["decline_reason"], item["may_reopen"]) == ("Somebody nearer has come.", False)
    assert item["help_request"]["status"] == "open"
    with pytest.raises(CareError) as refused:
        (await facade.reopen_conversation(helper.caller(), conversation)).data()
    assert refused.value.reason == "role"
    assert (await facade.reopen_conversation(owner.caller(), conversation)).data()["status"] == "active"
    assert (await facade.send_message(helper.caller(), conversation, "Thank you!")).success


async def test_a_closed_conversation_can_be_read_and_is_reopened_by_who_closed_it(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    conversation = await engine.opened(helper, request)
    facade = held(town.care, "on")

    (await facade.close_conversation(helper.caller(), conversation)).data()

    for person in (owner, helper):
        assert (await facade.get_conversation(person.caller(), conversation)).success
        assert (await facade.send_message(person.caller(), conversation, "Hello?")).reason == "not_active"
    with pytest.raises(CareError) as closed_again:
        (await facade.close_conversation(owner.caller(), conversation)).data()
    with pytest.raises(CareError) as not_theirs:
        (await facade.reopen_conversation(owner.caller(), conversation)).data()
    assert (closed_again.value.reason, not_theirs.value.reason) == ("state", "role")
    assert (await facade.reopen_conversation(helper.caller(), conversation)).data()["status"] == "active"
    assert await town.count("care.outbox", "topic in ('conversation.closed', 'conversation.reopened')") == 2


async def test_offers_of_a_request_are_shown_to_its_owner_alone(town: Town, engine: Engine) -> None:
    owner, helper, request = await pair(town)
    conversation = await engine.opened(helper, request)
    facade = held(town.care, "off")
    offers = (await facade.list_offers(owner.caller(), request, cursor=None, limit=20)).data()["conversations"]
    assert [(o["id"], o["version"]) for o in offers] == [(str(conversation), engine.version)]
    with pytest.raises(CareError) as refused:
        (await facade.list_offers(helper.caller(), request, cursor=None, limit=20)).data()
    assert refused.value.code == Code.NOT_FOUND
