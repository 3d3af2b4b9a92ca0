"""The flag decides which engine opens a conversation, and nothing else; one line is logged for every attempt."""

from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from care_collective.db.call import Caller
from care_collective.errors import Code
from care_collective.rollout.policy import bucket
from engines.stage import V1, Engine, Flag, hasty, held, holding, other
from harness import FIRST_WORDS, Care, Person, Town


async def opens_in(town: Town, stage: str, helper: Person) -> str | None:
    """The engine in which this helper's offer opens under a stage."""
    request = await town.request(await town.member("Olga"))
    result = await held(town.care, stage).start_help_conversation(helper.caller(), request, FIRST_WORDS)
    assert result.success
    found = {
        "v1": await town.count("public.conversations", f"id = '{result.conversation_id}'"),
        "v2": await town.count("public.conversations_v2", f"id = '{result.conversation_id}'"),
    }
    assert found == {"v1": 0, "v2": 0} | {result.version: 1}
    return result.version


async def test_off_opens_in_v1_and_on_in_v2(town: Town) -> None:
    helper = await town.member()
    assert await opens_in(town, "off", helper) == "v1"
    assert await opens_in(town, "on", helper) == "v2"


async def test_internal_is_for_coordinators_and_operators(town: Town) -> None:
    operator = await town.member("Otto")
    await town.care.owner.execute(
        "insert into care.operators (user_id, granted_by) values ($1, 'a test')", operator.user_id
    )
    coordinator = await town.member("Cora", coordinator=True)
    assert await opens_in(town, "internal", operator) == "v2"
    assert await opens_in(town, "internal", coordinator) == "v2"
    assert await opens_in(town, "internal", await town.member()) == "v1"


async def test_a_percentage_takes_members_by_their_bucket_and_the_cohort_always(town: Town) -> None:
    members = [await town.member(f"Member{number}") for number in range(6)]
    for member in members:
        place = bucket(member.user_id) / 100
        assert await opens_in(town, f"percentage:{min(place + 0.01, 100):.2f}", member) == "v2"
        assert await opens_in(town, f"percentage:{place:.2f}", member) == "v1"
    assert await opens_in(town, "percentage:0", await town.member("Cora", coordinator=True)) == "v2"


async def test_nobody_is_told_v2_only_when_it_is_on_for_all(town: Town) -> None:
    expected = {"off": False, "internal": False, "percentage:99.99": False, "percentage:100": True, "on": True}
    told = {stage: await held(town.care, stage).uses_v2(Caller()) for stage in expected}
    assert told == expected


async def test_a_pair_has_one_conversation_across_the_engines(town: Town, engine: Engine) -> None:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    request = await town.request(owner)
    conversation = await engine.opened(helper, request)

    result = await other(engine).offer(helper, request)

    assert (result.error, result.extras["status"]) == (Code.CONVERSATION_EXISTS, "active")
    assert result.conversation_id == conversation
    assert await town.count("public.conversations") + await town.count("public.conversations_v2") == 1
    assert (await other(engine).offer(await town.member("Eve"), request)).version == other(engine).version


async def test_a_retry_with_its_key_is_answered_after_the_flag_has_moved(town: Town, engine: Engine) -> None:
    helper = await town.member("Hal")
    request = await town.request(await town.member("Olga"))
    first = await engine.offer(helper, request, key="tap")
    again = await other(engine).offer(helper, request, key="tap")
    assert (again.success, again.replayed, again.conversation_id) == (True, True, first.conversation_id)
    assert again.version == engine.version


async def test_a_conversation_keeps_its_engine_whatever_the_flag_says(town: Town) -> None:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    flag = Flag("off")
    facade = flag.facade(town.care)
    opened = {}
    for stage in ("off", "on"):
        flag.stage = stage
        result = await facade.start_help_conversation(helper.caller(), await town.request(owner), FIRST_WORDS)
        assert result.conversation_id is not None
        opened[result.conversation_id] = result.version
    assert sorted(str(version) for version in opened.values()) == ["v1", "v2"]

    for number, stage in enumerate(("off", "on", "internal", "off", "percentage:50"), start=1):
        flag.stage = stage
        for conversation, version in opened.items():
            sent = await facade.send_message(helper.caller(), conversation, f"Message {number}")
            assert sent.seq == number
            read = await facade.get_conversation(owner.caller(), conversation)
            assert [m["seq"] for m in read.messages or []] == list(range(1, number + 1))
            page = await facade.get_messages(owner.caller(), conversation, before=None, after=number - 1, limit=10)
            assert [m["content"] for m in page.data()["messages"]] == [f"Message {number}"]
            assert page.data()["conversation"]["version"] == version
            listed = (await facade.list_conversations(owner.caller(), cursor=None, limit=20, filter_="unread")).data()
            assert {UUID(c["id"]): c["version"] for c in listed["conversations"]}[conversation] == version
            assert (await facade.mark_read(owner.caller(), conversation, number)).data()["unread"] == 0
    table = {"v1": "public.messages", "v2": "public.messages_v2"}
    for conversation, version in opened.items():
        assert await town.count(table[str(version)], f"conversation_id = '{conversation}' and seq > 0") == 5
    assert await town.care.violations(town.community_id) == []


async def stop(care: Care, stopped: str | None) -> None:
    """Kills or trips the flag in the database, or lets it go on; no node has to know."""
    await care.owner.execute(
        "update care.rollout_flags set stopped = $1, generation = generation + 1 where name = 'messaging_v2'", stopped
    )


@pytest.mark.parametrize("stopped", ["killed", "tripped"])
async def test_a_node_that_lags_behind_the_stop_opens_in_v1_in_the_same_call(scratch: Care, stopped: str) -> None:
    town = await scratch.town()
    helper, owner = await town.member("Hal"), await town.member("Olga")
    before, request = await town.request(owner), await town.request(owner)
    lagging = held(scratch, "on")
    opened = (await lagging.start_help_conversation(helper.caller("tap"), before, FIRST_WORDS)).raised()
    await stop(scratch, stopped)

    with capture_logs() as lines:
        result = await lagging.start_help_conversation(helper.caller("next tap"), request, FIRST_WORDS)
    assert (result.success, result.version) == (True, "v1")
    assert [(line["event"], line["version"]) for line in lines] == [("messaging.conversation.created", "v1")]
    # Who asks the function itself is told; what was opened or answered before is still answered.
    another = await town.request(owner)
    told = await helper.offer_v2(another)
    assert (told["error"], told["reason"]) == ("unavailable", "engine_off")
    assert (await helper.offer_v2(before))["conversation_id"] == str(opened.conversation_id)
    replayed = await lagging.start_help_conversation(helper.caller("tap"), before, FIRST_WORDS)
    assert (replayed.replayed, replayed.conversation_id, replayed.version) == (True, opened.conversation_id, "v2")
    with capture_logs() as lines:
        await lagging.call(
            "create_conversation_atomic",
            helper.caller(),
            {"p_help_request_id": another, "p_helper_id": helper.user_id, "p_initial_message": FIRST_WORDS},
        )
    assert [(line["event"], line["log_level"]) for line in lines] == [("messaging.refused", "info")]
    assert await town.count("public.conversations_v2") == 1
    await stop(scratch, None)
    assert (await lagging.start_help_conversation(helper.caller(), another, FIRST_WORDS)).version == "v2"
    assert await scratch.violations() == []


async def test_after_a_stop_every_thread_goes_on_where_it_is_and_going_forward_moves_none(scratch: Care) -> None:
    town = await scratch.town()
    owner, helpers = await town.member("Olga"), [await town.member(f"Hal{number}") for number in range(3)]
    facade = held(scratch, "on")
    opened = {}
    for helper in helpers:
        result = await facade.start_help_conversation(helper.caller(), await town.request(owner), FIRST_WORDS)
        opened[result.raised().conversation_id] = helper
    for seq, stopped in enumerate(("killed", None, "tripped", None), start=1):
        await stop(scratch, stopped)
        listed = (await facade.list_conversations(owner.caller(), cursor=None, limit=50, filter_="all")).data()
        versions = {UUID(c["id"]): c["version"] for c in listed["conversations"]}
        for conversation, helper in opened.items():
            assert conversation is not None
            assert versions[conversation] == "v2"
            assert (await facade.send_message(owner.caller(), conversation, f"Word {seq}")).seq == seq
            read = await facade.get_conversation(helper.caller(), conversation)
            assert [m["seq"] for m in read.messages or []] == list(range(1, seq + 1))
            assert (await facade.mark_read(helper.caller(), conversation, seq)).data()["unread"] == 0
        fresh = await facade.start_help_conversation(helpers[0].caller(), await town.request(owner), FIRST_WORDS)
        assert fresh.version == ("v2" if stopped is None else "v1")
    conversation = next(iter(opened))
    assert conversation is not None
    await stop(scratch, "killed")
    assert (await facade.accept_offer(owner.caller(), conversation)).data()["help_request_status"] == "in_progress"
    assert await town.count("public.conversations") == 2
    assert await town.count("public.conversations_v2") == 3 + 2
    assert await scratch.violations() == []


# --- The line of an attempt


@pytest.mark.parametrize("words", [FIRST_WORDS, "short"])
async def test_an_attempt_is_one_line_without_a_word_of_the_message(town: Town, engine: Engine, words: str) -> None:
    helper = await town.member("Hal")
    request = await town.request(await town.member("Olga"))
    caller = Caller(helper.user_id, town.community_id, "tap", "reference-1")

    with capture_logs() as lines:
        result = await held(town.care, "off" if engine is V1 else "on").start_help_conversation(caller, request, words)

    (line,) = lines
    assert words not in str(line)
    assert line["request_id"] == "reference-1"
    assert (line["user_id"], line["help_request_id"]) == (str(helper.user_id), str(request))
    assert line["duration_ms"] >= 0
    if words == FIRST_WORDS:
        assert (line["event"], line["version"], line["success"]) == (
            "messaging.conversation.created",
            engine.version,
            True,
        )
        assert line["conversation_id"] == str(result.conversation_id)
    else:
        assert (line["event"], line["error_code"], line["success"]) == ("messaging.refused", "validation_error", False)


async def test_a_refusal_is_no_failure_and_a_fault_is_one(town: Town, engine: Engine) -> None:
    helper = await town.member("Hal")
    request = await town.request(await town.member("Olga"))
    stage = "off" if engine is V1 else "on"
    with capture_logs() as refused:
        await engine.offer(helper, uuid4())
    async with hasty(town.care) as care, holding(care, helper):
        with capture_logs() as failed:
            await held(care, stage).start_help_conversation(helper.caller(), request, FIRST_WORDS)
    assert [(line["event"], line["error_code"], line["version"], line["log_level"]) for line in refused + failed] == [
        ("messaging.refused", "not_found", engine.version, "info"),
        ("messaging.error", "unavailable", engine.version, "error"),
    ]
    assert failed[0]["endpoint"] == "start-conversation"
