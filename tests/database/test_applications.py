"""Who wants to join: coordinators alone see them and decide, and what they decide holds from the next call on."""

import asyncio
from datetime import UTC, datetime, time, timedelta
from uuid import uuid4

import pytest

from database.letters import HOUR, MINUTE, plan, prefer
from database.steps import code
from harness import Person, Town

pytestmark = pytest.mark.alike


async def test_whoever_waits_longest_comes_first_and_pages_hold_everybody_once(town: Town) -> None:
    coordinator = await town.member("Cora", coordinator=True)
    waiting = [await town.member(f"N{number}", status="pending") for number in range(5)]
    await town.care.owner.execute(
        "update public.profiles set deleted_at = now() where user_id = $1", waiting.pop(2).user_id
    )
    seen, cursor = [], None
    while True:
        page = await coordinator.call("list_applications", limit=2, cursor=cursor)
        seen += [one["display_name"] for one in page["applications"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [person.name for person in waiting]
    # Nobody's address.
    assert "email" not in page["applications"][0]
    assert (await coordinator.call("list_applications", waiting=False))["applications"] == []


async def test_only_coordinators_see_and_decide(town: Town) -> None:
    applicant, member = await town.member("Nia", status="pending"), await town.member("Ann")
    for person in (member, applicant):
        expected = "permission_denied/role" if person is member else "permission_denied/not_approved"
        assert code(await person.call("list_applications")) == expected
        answer = await person.call("decide_application", applicant_id=applicant.user_id, decision="approve")
        assert code(answer) == expected
    assert await town.count("public.profiles", "verification_status = 'pending'") == 1


async def test_a_decision_holds_from_the_next_call_on_and_says_who_made_it(town: Town) -> None:
    coordinator = await town.member("Cora", coordinator=True)
    applicant = await town.member("Nia", status="pending")
    ask = {"title": "A lift to the doctor", "category": "other"}
    assert code(await applicant.call("create_help_request", **ask)) == "permission_denied/not_approved"

    async def decide(decision: str, reason: str | None = None) -> str:
        return code(
            await coordinator.call(
                "decide_application", applicant_id=applicant.user_id, decision=decision, reason=reason
            )
        )

    assert await decide("perhaps") == "validation_error"
    assert await decide("reject", "x" * 501) == "validation_error"
    assert await decide("reject", "  Please call us  ") == "success"
    (rejected,) = (await coordinator.call("list_applications", waiting=False))["applications"]
    assert (rejected["status"], rejected["decision_reason"]) == ("rejected", "Please call us")
    assert await decide("reject") == "conflict/state"
    assert await decide("approve") == "success"
    assert code(await applicant.call("create_help_request", **ask)) == "success"
    # An approval is not taken back by a second look.
    assert await decide("reject") == "conflict/state"
    row = await town.care.owner.fetchrow(
        "select decided_by, decision_reason from public.profiles where user_id = $1", applicant.user_id
    )
    assert tuple(row) == (coordinator.user_id, None)
    logged = await town.care.owner.fetch(
        "select action, subject from care.audit_log where actor_id = $1 order by at", coordinator.user_id
    )
    assert [tuple(line) for line in logged] == [
        ("application.reject", str(applicant.user_id)), ("application.approve", str(applicant.user_id)),
    ]  # fmt: skip


async def test_whoever_is_decided_about_learns_it_under_a_block_too_and_never_who_decided(town: Town) -> None:
    coordinator = await town.member("Cora", coordinator=True)
    applicant = await town.member("Nia", status="pending")
    await town.block(applicant, coordinator)
    for decision in ("reject", "approve"):
        await coordinator.call("decide_application", applicant_id=applicant.user_id, decision=decision)
    told = (await applicant.call("list_notifications", key=None))["notifications"]
    assert [(one["kind"], one["actor"]) for one in told] == [
        ("membership.approved", None), ("membership.rejected", None),
    ]  # fmt: skip
    await town.care.owner.execute("delete from public.user_blocks where blocker_id = $1", applicant.user_id)
    assert str(coordinator.user_id) not in str(await applicant.call("export_my_data", key=None))
    # What was done here is in the export of here alone.
    abroad = await town.care.town()
    await town.care.owner.execute(
        "insert into public.profiles (community_id, user_id, display_name) values ($1, $2, 'Cora')",
        abroad.community_id, coordinator.user_id,
    )  # fmt: skip
    there = Person(abroad, coordinator.user_id, "Cora")
    exports = [str(await one.call("export_my_data", key=None)) for one in (coordinator, there)]
    assert [str(applicant.user_id) in one for one in exports] == [True, False]


async def test_absent_foreign_and_deleted_look_alike(town: Town) -> None:
    coordinator = await town.member("Cora", coordinator=True)
    elsewhere = await (await town.care.town()).member("Far", status="pending")
    gone = await town.member("Gone", status="pending")
    await town.care.owner.execute("update public.profiles set deleted_at = now() where user_id = $1", gone.user_id)
    answers = [
        await coordinator.call("decide_application", applicant_id=one, decision="approve")
        for one in (uuid4(), elsewhere.user_id, gone.user_id, None)
    ]
    assert [code(answer) for answer in answers] == ["not_found"] * 4
    assert answers.count(answers[0]) == 4


async def test_of_two_who_decide_at_once_one_does(town: Town) -> None:
    one, other = await town.member("Cora", coordinator=True), await town.member("Carl", coordinator=True)
    for _ in range(5):
        applicant = await town.member("Nia", status="pending")
        answers = await asyncio.gather(
            one.call("decide_application", applicant_id=applicant.user_id, decision="approve"),
            other.call("decide_application", applicant_id=applicant.user_id, decision="approve"),
        )
        assert sorted(map(code, answers)) == ["conflict/state", "success"]


async def test_who_applies_later_is_told_of_again_a_day_after_the_last_letter(town: Town) -> None:
    cora = await town.member("Cora", coordinator=True)
    await prefer(cora, quiet_from=time(0), quiet_to=time(0))
    sent = "select count(*) from care.deliveries where user_id = $1"

    async def apply() -> None:
        await town.member("Nia", status="pending")
        await town.care.owner.execute("select care.tell_coordinators($1)", town.community_id)

    start = datetime.now(UTC)
    await apply()
    await apply()  # the letter has not gone yet, and tells of both
    # Without somebody new nothing comes again; and in between not twice in a day.
    expected = [(5 * MINUTE, 1), (timedelta(days=3), 1)]
    for after, letters in expected:
        await plan(town.care, start + after)
        assert await town.care.owner.fetchval(sent, cora.user_id) == letters
    await town.care.owner.execute(
        "update public.notifications set again_at = $2::timestamptz + interval '2 hours' where user_id = $1",
        cora.user_id, start,
    )  # fmt: skip
    await apply()
    for after, letters in ((23 * HOUR, 1), (25 * HOUR, 2)):
        await plan(town.care, start + after)
        assert await town.care.owner.fetchval(sent, cora.user_id) == letters
    # One line of the bell, whoever waits.
    assert [one["kind"] for one in (await cora.call("list_notifications"))["notifications"]] == ["membership.waiting"]
