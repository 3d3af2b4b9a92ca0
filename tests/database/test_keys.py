"""Rule 12: a retry after a lost answer writes nothing twice. Every write takes a key."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from care_collective.db.call import Answer
from database.steps import V1, V2, Engine, Stage, code, contents, legacy_steps, offered
from harness import FIRST_WORDS, Person, Town

pytestmark = pytest.mark.alike

REPLAYED = {"Idempotency-Replayed": "true"}
# The key of an opening in V1 is taken by its first step; a deletion erases every key, and its retry finds no member;
# an export only counts.
TAKES_NO_KEY = {"delete_account", "export_my_data", "legacy_add_participants", "legacy_write_first_message"}


@dataclass(frozen=True, slots=True)
class Write:
    """A write that succeeds on a stage, once `before` was done, and the same key with another content."""

    by_owner: bool
    before: tuple[str, ...] = ()
    other: str = ""


WRITES = {
    "create_conversation_atomic": Write(False, other="p_initial_message"),
    "legacy_open_conversation": Write(False, other="p_initial_message"),
    "send_message_v2": Write(False, other="p_content"),
    "mark_read": Write(True, other="p_seq"),
    "accept_offer": Write(True),
    "decline_offer": Write(True, other="p_reason"),
    "step_back": Write(False, ("accept_offer",)),
    "release_helper": Write(True, ("accept_offer",)),
    "close_conversation": Write(True),
    "reopen_conversation": Write(True, ("close_conversation",)),
    "create_help_request": Write(True, other="p_title"),
    "update_help_request": Write(True, other="p_title"),
    "cancel_help_request": Write(True, other="p_reason"),
    "complete_help_request": Write(True, ("in progress",)),
    "reopen_help_request": Write(True, ("cancel_help_request",)),
    "report_problem": Write(False, other="p_words"),
    "decide_application": Write(True, ("coordinator",), other="p_reason"),
    "mark_notification_read": Write(True, other="p_notification_id"),
    "mark_all_notifications_read": Write(True),
    "set_preferences": Write(False, other="p_email"),
    "set_profile": Write(False, other="p_town"),
    "mute_conversation": Write(False, other="p_until"),
    "archive_conversation": Write(True, other="p_archived"),
    "block_user": Write(True, other="p_user_id"),
    "unblock_user": Write(False, other="p_user_id"),
    "add_push_subscription": Write(False, other="p_endpoint"),
    "remove_push_subscription": Write(True, other="p_endpoint"),
}
OTHER: dict[str, Any] = {"p_initial_message": f"{FIRST_WORDS} Or Saturday.", "p_content": "Other words", "p_seq": 1,
                         "p_reason": "Another reason", "p_title": "Another title",
                         "p_words": "It came again", "p_email": "off", "p_town": "Linden",
                         "p_notification_id": UUID(int=7), "p_until": None, "p_archived": False,
                         "p_user_id": UUID(int=7), "p_endpoint": "https://push.example/another"}  # fmt: skip


async def test_every_offered_write_takes_a_key(stage: Stage) -> None:
    assert {f.name for f in await offered(stage.town.care) if f.writes} == set(WRITES) | TAKES_NO_KEY


@pytest.mark.parametrize("name", WRITES)
async def test_a_key_answers_its_retry_and_refuses_another_content(stage: Stage, name: str) -> None:
    write, care = WRITES[name], stage.town.care
    function = next(f for f in await offered(care) if f.name == name)
    person = stage.owner if write.by_owner else stage.helper
    arguments = stage.named(function, person.user_id)
    for step in write.before:
        if step == "in progress":
            await care.owner.execute(
                "update public.help_requests set status = 'in_progress', helper_id = $1 where id = $2",
                stage.helper.user_id, stage.open_request,
            )  # fmt: skip
        elif step == "coordinator":
            await stage.town.coordinate(stage.owner)
        else:
            named = stage.named(next(f for f in await offered(care) if f.name == step), stage.owner.user_id)
            await care.database.call(f"public.{step}", stage.owner.caller(), **named)

    async def call(**changed: object) -> Answer:
        return await care.database.call(f"public.{name}", person.caller("the key"), **{**arguments, **changed})

    first = await call()
    assert first.refusal() is None, first.text
    assert first.headers == {}
    after = await contents(care)
    again = await call()
    if name == "legacy_open_conversation":
        # Not done yet: the retry is told to go on.
        assert (again.text, again.headers) == (first.text, {})
    else:
        assert again.text == first.text
        assert again.headers.items() >= REPLAYED.items()
    # An id of something else is another content wherever there is an id.
    changed = {write.other: OTHER[write.other]} if write.other else {}
    for argument in arguments.keys() & {"p_conversation_id", "p_help_request_id"}:
        changed = changed or {argument: UUID(int=7)}
    if arguments:
        mismatch = await call(**changed)
        refusal = mismatch.refusal()
        assert refusal is not None
        assert (refusal.code, refusal.status, mismatch.headers) == ("idempotency_mismatch", 422, {})
    assert await contents(care) == after

    # Another verb with the same key is another content too.
    other = "send_message_v2" if name != "send_message_v2" else "create_conversation_atomic"
    named = stage.named(next(f for f in await offered(care) if f.name == other), person.user_id)
    answer = await care.database.call(f"public.{other}", person.caller("the key"), **named)
    assert '"idempotency_mismatch"' in answer.text


async def test_refusals_and_faults_are_not_stored(stage: Stage) -> None:
    stranger = await stage.town.member()
    assert code(await stranger.send(stage.conversation, "Hello", key="k")) == "permission_denied/not_participant"
    assert code(await stage.helper.send(stage.conversation, " ", key="k")) == "validation_error"
    await stage.owner.call("close_conversation", conversation_id=stage.conversation)
    assert code(await stage.helper.send(stage.conversation, "Hello", key="k")) == "permission_denied/not_active"
    assert await stage.town.count("care.idempotency_keys") == 0
    await stage.owner.call("reopen_conversation", conversation_id=stage.conversation)
    # Judged afresh: the very same call is a success now.
    assert (await stage.helper.send(stage.conversation, "Hello", key="k"))["success"]


async def test_a_key_of_one_verb_is_no_key_of_another_with_the_same_content(stage: Stage) -> None:
    verbs = ("close_conversation", "reopen_conversation", "accept_offer", "release_helper")
    for verb in verbs:
        assert (await stage.owner.call(verb, key=verb, conversation_id=stage.conversation))["success"]
    for used in verbs:
        for verb in set(verbs) - {used}:
            answer = await stage.owner.call(verb, key=used, conversation_id=stage.conversation)
            assert code(answer) == "idempotency_mismatch", (used, verb)


async def test_a_key_is_its_members_alone(stage: Stage) -> None:
    sent = [await person.send(stage.conversation, "Same words", key="k") for person in (stage.owner, stage.helper)]
    assert [s["seq"] for s in sent] == [1, 2]
    assert [await p.send(stage.conversation, "Same words", key="k") for p in (stage.owner, stage.helper)] == sent


async def test_a_refused_member_gets_no_replay(stage: Stage) -> None:
    assert (await stage.helper.send(stage.conversation, "Hello", key="k"))["success"]
    await stage.town.restrict(stage.helper, "banned")
    assert code(await stage.helper.send(stage.conversation, "Hello", key="k")) == "permission_denied/restricted"


@pytest.mark.parametrize("key", ["k", " ".join("ab"), "x" * 255, "".join(map(chr, range(33, 127)))])
async def test_keys_are_printable_ascii(stage: Stage, key: str) -> None:
    first = await stage.helper.send(stage.conversation, "Hello", key=key)
    assert first == await stage.helper.send(stage.conversation, "Hello", key=key)


@pytest.mark.parametrize("key", ["", " ", " k", "k ", "x" * 256, "k\n", "\tk", "k\x7f", "clé", "\U0001f511", "k\u200b"])
async def test_other_keys_are_invalid_and_write_nothing(stage: Stage, engine: Engine, key: str) -> None:
    before = await contents(stage.town.care)
    for answer in (
        await stage.helper.send(stage.conversation, "Hello", key=key),
        await engine.offer(stage.helper, stage.open_request, key=key),
        await stage.owner.call("close_conversation", key=key, conversation_id=stage.conversation),
    ):
        assert (code(answer), set(answer["fields"])) == ("validation_error", {"idempotency-key"})
    assert await contents(stage.town.care) == before


@pytest.mark.parametrize(("first", "second"), [(V1, V2), (V2, V1)], ids=["v1 then v2", "v2 then v1"])
async def test_a_key_holds_when_the_flag_moves_between_the_tries(town: Town, first: Engine, second: Engine) -> None:
    owner, helper = await town.member(), await town.member()
    request = await town.request(owner)
    opened = await first.offer(helper, request, key="k")
    again = await second.first(helper, request, key="k")
    assert again.data() == opened
    assert again.headers == {**REPLAYED, "Conversation-Version": first.version}
    assert code(await second.offer(helper, request, f"{FIRST_WORDS} Really.", key="k")) == "idempotency_mismatch"
    assert await town.count("public.conversations") + await town.count("public.conversations_v2") == 1


@pytest.mark.parametrize("steps", [1, 2])
async def test_a_key_goes_on_where_v1_stopped_in_either_engine(town: Town, engine: Engine, steps: int) -> None:
    owner, helper = await town.member(), await town.member()
    request = await town.request(owner)
    left = await legacy_steps(helper, request, steps=steps, key="k")
    done = await engine.offer(helper, request, key="k")
    assert (done["success"], done["conversation_id"]) == (True, left["conversation_id"])
    for again in (V1, V2):
        answer = await again.first(helper, request, key="k")
        assert answer.data() == done
        assert answer.headers == {**REPLAYED, "Conversation-Version": "v1"}
    assert await town.count("public.messages") == 1
    assert await town.care.violations(town.community_id) == []


async def test_step_three_again_is_a_success_to_its_key_alone(town: Town) -> None:
    owner, helper = await town.member(), await town.member()
    request = await town.request(owner)
    first = await legacy_steps(helper, request, key="k")
    step = {"conversation_id": UUID(first["conversation_id"]), "recipient_id": owner.user_id}
    again = await helper.answer("legacy_write_first_message", key="k", **step, content=f" {FIRST_WORDS} ")
    assert (again.data(), again.headers) == (first, {**REPLAYED, "Conversation-Version": "v1"})
    # Other words, or no key, were not what opened it: success would lose them silently.
    other = await helper.call("legacy_write_first_message", key="k", **step, content="Quite other words than those")
    assert code(other) == "idempotency_mismatch"
    for key in (None, "another"):
        answer = await helper.call("legacy_write_first_message", key=key, **step, content=FIRST_WORDS)
        assert (code(answer), answer["conversation_id"]) == ("conversation_exists", first["conversation_id"])
    assert await town.count("public.messages") == 1


@pytest.mark.parametrize("key", ["k", None])
async def test_step_three_without_step_two_is_refused_and_writes_nothing(town: Town, key: str | None) -> None:
    owner, helper = await town.member(), await town.member()
    request = await town.request(owner)
    opened = await legacy_steps(helper, request, steps=1, key=key)
    step = {"conversation_id": UUID(opened["conversation_id"]), "recipient_id": owner.user_id}

    async def last() -> dict[str, Any]:
        return await helper.call("legacy_write_first_message", key=key, **step, content=FIRST_WORDS)

    assert code(await last()) == "permission_denied/not_participant"
    # One of the two is not both, and a third is neither.
    for person in (helper, await town.member()):
        await town.care.owner.execute(
            "insert into public.conversation_participants (community_id, conversation_id, user_id) values ($1, $2, $3)",
            town.community_id, step["conversation_id"], person.user_id,
        )  # fmt: skip
        assert code(await last()) == "permission_denied/not_participant"
    assert await town.count("public.messages") == 0
    assert await town.care.violations(town.community_id) == [("orphan", "v1")]
    await town.care.owner.execute(
        "delete from public.conversation_participants where community_id = $1 and user_id <> $2",
        town.community_id, helper.user_id,
    )  # fmt: skip
    assert (await helper.call("legacy_add_participants", key=key, **step))["success"]
    assert (await last())["success"]
    assert await town.care.violations(town.community_id) == []


async def many(person: Person, engine: Engine, request: UUID, key: str | None) -> list[dict[str, Any]]:
    return await asyncio.gather(*(engine.offer(person, request, key=key) for _ in range(8)))


async def test_equal_calls_at_once_are_one_success_and_its_replays(town: Town, engine: Engine) -> None:
    owner, helper = await town.member(), await town.member()
    answers = await many(helper, engine, await town.request(owner), "k")
    assert len({a["conversation_id"] for a in answers}) == 1
    assert {code(a) for a in answers} == {"success"}
    without = await many(helper, engine, await town.request(owner), None)
    assert len({a["conversation_id"] for a in without}) == 1
    if engine is V2:
        assert sorted(code(a) for a in without) == ["conversation_exists"] * 7 + ["success"]
    conversation = answers[0]["conversation_id"]
    sent = await asyncio.gather(*(helper.send(conversation, "Once", key="s") for _ in range(8)))
    assert {s["seq"] for s in sent} == {1}
    assert await town.care.violations(town.community_id) == []


async def test_keys_are_kept_for_a_day_and_pruned_after(stage: Stage) -> None:
    care = stage.town.care
    await stage.helper.send(stage.conversation, "Young", key="young")
    await stage.helper.send(stage.conversation, "Old", key="old")
    await care.owner.execute(
        "update care.idempotency_keys set created_at = now() - interval '24 hours' "
        "where community_id = $1 and key = 'young'",
        stage.town.community_id,
    )
    await care.owner.execute(
        "update care.idempotency_keys set created_at = now() - interval '26 hours' "
        "where community_id = $1 and key = 'old'",
        stage.town.community_id,
    )
    await care.database.value("care.prune")
    assert await stage.town.count("care.idempotency_keys", "key = 'young'") == 1
    assert await stage.town.count("care.idempotency_keys", "key = 'old'") == 0
