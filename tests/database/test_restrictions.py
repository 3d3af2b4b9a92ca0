"""product.md, restrictions and approval: what each state of a member forbids, for every function, on the next call."""

import json
from typing import Any

import pytest

from database.steps import Stage, code, offered
from harness import Person

# own: one's own data. read: own threads, own choices. present: oneself, by name and town. browse: requests. write: in
# threads, and to what one has asked. offer: help, and asking for it.
RIGHTS = {
    "archive_conversation": "read", "block_user": "read", "list_blocks": "read", "mute_conversation": "read",
    "unblock_user": "read",
    "accept_offer": "write", "cancel_help_request": "write", "close_conversation": "write",
    "complete_help_request": "write", "create_conversation_atomic": "offer", "create_help_request": "offer",
    "decide_application": "coordinate", "decline_offer": "write", "delete_account": "own",
    "export_my_data": "own", "get_conversation_v2": "read",
    "get_help_request": "browse", "get_messages": "read",
    "legacy_add_participants": "offer", "legacy_open_conversation": "offer", "legacy_write_first_message": "offer",
    "list_applications": "coordinate",
    "list_conversations": "read", "list_help_requests": "browse", "list_offers": "read", "mark_read": "read",
    "release_helper": "write", "reopen_conversation": "write", "reopen_help_request": "offer",
    "report_problem": "browse", "send_message_v2": "write", "step_back": "write", "update_help_request": "offer",
    "get_preferences": "read", "set_preferences": "read", "get_profile": "read", "set_profile": "present",
    "list_notifications": "read", "count_unread_notifications": "read", "mark_notification_read": "read",
    "mark_all_notifications_read": "read",
    "add_push_subscription": "read", "list_push_subscriptions": "read", "remove_push_subscription": "own",
}  # fmt: skip

FORBIDDEN = {
    "limited": {"offer", "coordinate"},
    "suspended": {"offer", "write", "present", "coordinate"},
    "banned": {"offer", "write", "present", "browse", "read", "coordinate"},
}


async def refusals(stage: Stage, person: Person) -> dict[str, str]:
    """What every function answers this person, in short."""
    answers: dict[str, str] = {}
    for function in await offered(stage.town.care):
        arguments = stage.named(function, person.user_id)
        answer = await stage.town.care.database.call(f"public.{function.name}", person.caller(), **arguments)
        answers[function.name] = code(json.loads(answer.text))
    return answers


async def test_every_offered_function_has_a_right(stage: Stage) -> None:
    assert {f.name for f in await offered(stage.town.care)} == set(RIGHTS)


@pytest.mark.parametrize("kind", ["limited", "suspended", "banned"])
async def test_a_restriction_forbids_what_it_says_and_no_more(stage: Stage, kind: str) -> None:
    for person in (stage.helper, stage.owner):
        await stage.town.restrict(person, kind)
        for name, answer in (await refusals(stage, person)).items():
            forbidden = RIGHTS[name] in FORBIDDEN[kind]
            assert (answer == "permission_denied/restricted") == forbidden, (name, answer)


async def test_a_refusal_says_until_when_and_why(stage: Stage) -> None:
    await stage.town.restrict(stage.helper, "suspended", until="2 days", why="Sent adverts")
    answer = await stage.helper.send(stage.conversation, "Hello?")
    assert (answer["reason"], answer["restriction"], answer["why"]) == ("restricted", "suspended", "Sent adverts")
    assert answer["until"] is not None
    # The strongest restriction in force is the one that speaks.
    await stage.town.restrict(stage.helper, "banned", why="Threats")
    banned: dict[str, Any] = await stage.helper.send(stage.conversation, "Hello?")
    assert (banned["restriction"], banned["why"], banned["until"]) == ("banned", "Threats", None)
    assert (await stage.helper.call("care.me"))["restriction"]["kind"] == "banned"


async def test_restrictions_that_ended_or_were_lifted_do_not_count(stage: Stage) -> None:
    for kind in FORBIDDEN:
        await stage.town.restrict(stage.helper, kind, until="-1 second")
        await stage.town.restrict(stage.helper, kind, until="1 day")
    await stage.town.care.owner.execute(
        "update public.user_restrictions set lifted_at = now() where user_id = $1 and until > now()",
        stage.helper.user_id,
    )
    assert "permission_denied/restricted" not in (await refusals(stage, stage.helper)).values()


async def test_a_restriction_of_another_community_or_person_does_not_count(stage: Stage) -> None:
    abroad = await stage.town.care.town()
    await stage.town.care.owner.execute(
        "insert into public.profiles (community_id, user_id, display_name, verification_status) "
        "values ($1, $2, 'Hal', 'approved')",
        abroad.community_id, stage.helper.user_id,
    )  # fmt: skip
    await abroad.restrict(Person(abroad, stage.helper.user_id, "Hal"), "banned")
    await stage.town.restrict(stage.owner, "banned")
    assert (await stage.helper.send(stage.conversation, "Hello"))["success"]


@pytest.mark.parametrize("status", ["pending", "rejected"])
async def test_who_is_not_approved_reads_own_threads_and_does_nothing_to_others(stage: Stage, status: str) -> None:
    await stage.town.care.owner.execute(
        "update public.profiles set verification_status = $1 where user_id = any ($2)",
        status, [stage.helper.user_id, stage.owner.user_id],
    )  # fmt: skip
    newcomer = await stage.town.member(status=status)
    for person in (stage.helper, stage.owner, newcomer):
        for name, answer in (await refusals(stage, person)).items():
            own = RIGHTS[name] in {"own", "read", "present"}
            assert (answer == "permission_denied/not_approved") != own, (name, answer)
        assert (await person.call("care.me"))["verification_status"] == status
    assert (await newcomer.call("list_conversations"))["conversations"] == []
    assert code(await newcomer.call("get_messages", conversation_id=stage.conversation)) == "not_found"


async def test_a_suspended_helper_is_not_given_the_request_and_a_limited_one_is(stage: Stage) -> None:
    for kind, expected in (("suspended", "conflict/state"), ("banned", "conflict/state"), ("limited", "success")):
        await stage.town.restrict(stage.helper, kind, until="1 day")
        assert code(await stage.owner.call("accept_offer", conversation_id=stage.conversation)) == expected
        await stage.town.care.owner.execute("update public.user_restrictions set lifted_at = now()")
