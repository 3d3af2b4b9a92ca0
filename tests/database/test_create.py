"""create_conversation_atomic alone: what it writes, what it refuses, in which order."""

from uuid import uuid4

from harness import FIRST_WORDS, Town


async def test_an_offer_opens_a_conversation_with_its_words_in_both_inboxes(town: Town) -> None:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    request = await town.request(owner)

    answer = await helper.offer_v2(request, f"\u2003{FIRST_WORDS}\n")

    assert set(answer) == {"success", "conversation_id", "message"}
    assert answer["success"] is True
    for person, unread in ((owner, 1), (helper, 0)):
        inbox = await person.call("list_conversations")
        assert [c["id"] for c in inbox["conversations"]] == [answer["conversation_id"]]
        assert inbox["conversations"][0]["last_message"]["content"] == FIRST_WORDS
        assert inbox["conversations"][0]["unread"] == unread
    assert await town.count("care.outbox", "topic = 'conversation.opened'") == 1
    assert await town.care.violations(town.community_id) == []


async def test_absent_and_foreign_requests_answer_alike(town: Town) -> None:
    helper = await town.member()
    other = await town.care.town()
    foreign = await other.request(await other.member())

    answers = [await helper.offer_v2(foreign), await helper.offer_v2(uuid4())]

    assert answers[0] == answers[1]
    assert answers[0]["error"] == "not_found"
