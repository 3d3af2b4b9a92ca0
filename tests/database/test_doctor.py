"""care.violations(): finds each state that must never be, marked with its engine, and nothing on a sound database."""

import re
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from care_collective.operations.doctor import NEXT_STEPS
from database.steps import V1, V2, legacy_steps
from harness import Care, Person, Town

pytestmark = pytest.mark.alike


async def lively(town: Town) -> tuple[Person, Person, UUID, UUID, UUID]:
    """Owner, helper, request and their conversations in V1 and V2, with everything done that members do."""
    owner, helper, second = [await town.member(name) for name in ("Olga", "Hal", "Ann")]
    request, other = await town.request(owner), await town.request(owner)
    one, two = await V1.opened(helper, request), await V2.opened(helper, other)
    three = await V2.opened(second, request)
    for conversation in (one, two):
        for n in range(4):
            await (owner, helper)[n % 2].send(conversation, f"Message {n}")
        await owner.call("mark_read", conversation_id=conversation, seq=2)
        await owner.call("accept_offer", conversation_id=conversation)
    await owner.call("accept_offer", conversation_id=three)
    await owner.call("decline_offer", conversation_id=three)
    await helper.call("step_back", conversation_id=two)
    await owner.call("close_conversation", conversation_id=two)
    await owner.call("reopen_conversation", conversation_id=two)
    await owner.call("accept_offer", conversation_id=one)
    await owner.call("complete_help_request", help_request_id=request)
    await owner.call("reopen_help_request", help_request_id=request)
    # Completed by its retry: an orphan that was.
    late = await town.member()
    await legacy_steps(late, request, steps=1)
    await V2.offer(late, request)
    return owner, helper, request, one, two


async def test_a_sound_and_busy_database_has_none(town: Town) -> None:
    await lively(town)
    assert await town.care.violations(town.community_id) == []


Plant = Callable[[Care, UUID, UUID, UUID], Awaitable[object]]
PLANTS: dict[str, tuple[str, set[tuple[str, str]]]] = {
    "message of v1 gone": (
        "delete from public.messages where conversation_id = $1 and seq = 2",
        {("sequence_gap", "v1")},
    ),
    "message of v2 gone": (
        "delete from public.messages_v2 where conversation_id = $2 and seq = 2",
        {("sequence_gap", "v2")},
    ),
    "all messages of v1 gone": (
        "delete from public.messages where conversation_id = $1",
        {("orphan", "v1"), ("sequence_gap", "v1"), ("unread_sum", "v1")},
    ),
    "last_seq of v1 ahead": ("update public.conversations set last_seq = 9 where id = $1", {("sequence_gap", "v1")}),
    "last_seq of v2 behind": (
        "update public.conversations_v2 set last_seq = 3 where id = $2",
        {("sequence_gap", "v2")},
    ),
    "unread of v1 wrong": (
        "update public.conversation_members set unread = unread + 1 where conversation_id = $1",
        {("unread_sum", "v1")},
    ),
    "unread of v2 wrong": (
        "update public.conversation_members set last_read_seq = -1 where conversation_id = $2",
        {("unread_sum", "v2")},
    ),
    "member row of v1 gone": (
        "delete from public.conversation_members where conversation_id = $1 and user_id = $3",
        {("conversation_without_member", "v1")},
    ),
    "member row of v2 gone": (
        "delete from public.conversation_members where conversation_id = $2 and user_id = $3",
        {("conversation_without_member", "v2")},
    ),
    "member row of nothing": (
        (
            "insert into public.conversation_members "
            "(community_id, conversation_id, user_id, version, last_activity_at) "
            "select community_id, gen_random_uuid(), user_id, 'v2', now() from public.profiles where user_id = $3"
        ),
        {("member_without_conversation", "v2")},
    ),
    "member row of the wrong engine": (
        "update public.conversation_members set version = 'v2' where conversation_id = $1 and user_id = $3",
        {("member_without_conversation", "v2")},
    ),
    "member row of a stranger": (
        (
            "insert into public.conversation_members "
            "(community_id, conversation_id, user_id, version, last_activity_at) "
            "select p.community_id, $1, p.user_id, 'v1', now() from public.profiles p "
            "join public.profiles me on me.community_id = p.community_id and me.user_id = $3 "
            "where p.display_name = 'Ann'"
        ),
        {("member_without_conversation", "v1")},
    ),
    "participant of v1 gone": (
        "delete from public.conversation_participants where conversation_id = $1 and user_id = $3",
        {("participants_missing", "v1")},
    ),
    "participant of v1 another": (
        (
            "update public.conversation_participants c set user_id = p.user_id "
            "from public.profiles p where c.conversation_id = $1 and c.user_id = $3 "
            "and p.community_id = c.community_id and p.display_name = 'Ann'"
        ),
        {("participants_missing", "v1")},
    ),
    "message of v1 from a stranger": (
        "update public.messages m set sender_id = gen_random_uuid() where m.conversation_id = $1 and m.seq = 2",
        {("foreign_message", "v1")},
    ),
    "message of v2 to a stranger": (
        "update public.messages_v2 m set recipient_id = gen_random_uuid() where m.conversation_id = $2 and m.seq = 2",
        {("foreign_message", "v2")},
    ),
    "request given to another": (
        (
            "update public.help_requests r set user_id = p.user_id, helper_id = null, status = 'open' "
            "from public.profiles p, public.conversations_v2 c "
            "where c.id = $2 and r.id = c.help_request_id and p.community_id = r.community_id "
            "and p.display_name = 'Ann'"
        ),
        {("foreign_requester", "v2")},
    ),
}


@pytest.mark.parametrize("what", PLANTS)
async def test_each_violation_is_found_with_its_engine(town: Town, what: str) -> None:
    _, helper, _, one, two = await lively(town)
    statement, expected = PLANTS[what]
    # Every parameter is named, whether the statement uses it or not.
    done = await town.care.owner.execute(
        f"with given as (select $1::uuid, $2::uuid, $3::uuid) {statement}", one, two, helper.user_id
    )
    assert not done.endswith(" 0"), "nothing was planted"
    assert set(await town.care.violations(town.community_id)) == expected


@pytest.mark.parametrize("steps", [1, 2])
async def test_an_orphan_is_found(town: Town, steps: int) -> None:
    await lively(town)
    await legacy_steps(await town.member(), await town.request(await town.member()), steps=steps)
    assert await town.care.violations(town.community_id) == [("orphan", "v1")]


async def test_a_pair_in_both_engines_is_found(town: Town) -> None:
    owner, helper, _, _, two = await lively(town)
    await town.care.owner.execute(
        "insert into public.conversations (community_id, help_request_id, created_by, requester_id) "
        "select community_id, help_request_id, helper_id, requester_id from public.conversations_v2 where id = $1",
        two,
    )
    assert set(await town.care.violations(town.community_id)) == {("double_pair", "v1+v2"), ("orphan", "v1")}
    assert owner.user_id != helper.user_id


async def test_a_request_in_progress_without_helper_is_found(scratch: Care) -> None:
    town = await scratch.town()
    await lively(town)
    await scratch.owner.execute("alter table public.help_requests drop constraint help_requests_in_progress_check")
    await scratch.owner.execute("update public.help_requests set status = 'in_progress', helper_id = null")
    assert set(await scratch.violations()) == {("in_progress_without_helper", "both")}


async def test_a_violation_names_its_community_and_subject(town: Town) -> None:
    _, _, _, one, _ = await lively(town)
    await town.care.owner.execute("update public.conversations set last_seq = 9 where id = $1", one)
    found = await town.care.owner.fetch("select * from care.violations() where community_id = $1", town.community_id)
    assert [(f["kind"], f["subject"]) for f in found] == [("sequence_gap", one)]
    assert "last_seq 9" in found[0]["detail"]


async def test_looking_changes_nothing_and_is_the_owners(town: Town) -> None:
    connection = await town.care.connect()
    await connection.execute("set role care_owner; set default_transaction_read_only = on")
    assert await connection.fetchval("select count(*) from care.violations()") is not None
    await connection.close()


async def test_every_kind_of_violation_has_its_next_step(shared: Care) -> None:
    body = await shared.owner.fetchval(
        "select string_agg(prosrc, E'\n') from pg_proc "
        "where oid in ('care.violations()'::regprocedure, 'care.half_deleted()'::regprocedure)"
    )
    assert set(re.findall(r"^\s*select '(\w+)', ", body, flags=re.MULTILINE)) == set(NEXT_STEPS)


async def test_the_next_steps_that_members_can_take_mend_what_they_say(town: Town) -> None:
    owner, helper = await town.member(), await town.member()
    request = await town.request(owner)
    await legacy_steps(helper, request, steps=1)
    opened = UUID((await helper.offer_v2(await town.request(owner)))["conversation_id"])
    await town.care.owner.execute(
        "update public.conversation_members set unread = 7 where conversation_id = $1 and user_id = $2",
        opened, owner.user_id,
    )  # fmt: skip
    assert await town.care.violations(town.community_id) == [("orphan", "v1"), ("unread_sum", "v2")]
    assert (await helper.offer_v2(request))["success"]
    assert (await owner.call("mark_read", conversation_id=opened, seq=0))["unread"] == 0
    assert await town.care.violations(town.community_id) == []
