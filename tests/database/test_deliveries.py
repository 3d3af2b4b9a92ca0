"""What is due to be told becomes letters: to whom, when, what goes together, and what needs no letter any more."""

import json
from datetime import UTC, datetime, time, timedelta
from uuid import UUID, uuid4

import pytest

from database.letters import (
    MINUTE,
    MORNING,
    NIGHT,
    NOON,
    deliveries,
    due,
    lease,
    mute,
    notify,
    plan,
    prefer,
    read,
    settle,
)
from database.steps import V2
from database.test_quiet import utc
from harness import Town

pytestmark = pytest.mark.alike


async def test_one_letter_a_conversation_tells_what_is_unread_in_names_and_titles(town: Town) -> None:
    ann, bob = await town.member("Ann"), await town.member("Bob")
    request = await town.request(ann)
    one, other = uuid4(), uuid4()
    await notify(ann, NOON, kind="offer.received", actor=bob, request=request, conversation=one)
    await notify(ann, NOON + MINUTE, actor=bob, request=request, conversation=one, count=3)
    await notify(ann, NOON, actor=bob, request=request, conversation=other)
    await notify(ann, NOON, kind="request.expired", request=request)
    await notify(ann, NOON + 5 * MINUTE, kind="membership.approved")

    await plan(town.care, NOON - MINUTE)
    assert await lease(town, NOON) == []
    await plan(town.care, NOON)
    await plan(town.care, NOON)
    letters = await lease(town, NOON)
    assert await lease(town, NOON) == []  # leased

    assert sorted([item["kind"] for item in letter["items"]] for letter in letters) == [
        ["message.received"], ["offer.received", "message.received"], ["request.expired"],
    ]  # fmt: skip
    (letter,) = [one for one in letters if len(one["items"]) == 2]
    address = await town.care.owner.fetchval("select email from care.users where id = $1", ann.user_id)
    assert (letter["address"], letter["display_name"], letter["kind"]) == (address, "Ann", "notifications")
    assert letter["locales"] == [None, "en"]
    assert letter["community"]["hosts"] == [town.host]
    assert {name: letter["items"][1][name] for name in ("count", "actor", "title", "conversation_id")} == {
        "count": 3, "actor": "Bob", "title": "Groceries on Friday", "conversation_id": str(one),
    }  # fmt: skip
    assert {await settle(town, one, "sent", NOON) for one in letters} == {"sent"}
    assert await settle(town, letter, "retry", NOON) is None  # too late: it is sent
    assert await lease(town, NOON + timedelta(days=2)) == []


async def test_what_is_read_before_or_after_it_is_planned_is_not_sent(town: Town) -> None:
    ann = await town.member("Ann")
    early, late = await notify(ann, NOON, conversation=uuid4()), await notify(ann, NOON, conversation=uuid4())
    await read(town, early)
    await plan(town.care, NOON)
    assert len(await deliveries(ann)) == 1
    await read(town, late)
    assert await lease(town, NOON) == []
    assert [(one["sent_at"], one["dropped_at"]) for one in await deliveries(ann)] == [(None, NOON)]


@pytest.mark.parametrize("gone", ["off", "banned", "deleted", "user deleted", "muted"])
@pytest.mark.parametrize("when", ["before it is planned", "after"])
async def test_who_wants_or_may_get_no_letter_gets_none(town: Town, gone: str, when: str) -> None:
    ann = await town.member("Ann")
    conversation = uuid4()
    told = await notify(ann, NOON, conversation=conversation)
    if when == "after":
        await plan(town.care, NOON)
        assert len(await deliveries(ann)) == 1

    if gone == "off":
        await prefer(ann, email="off")
    elif gone == "banned":
        await town.restrict(ann, "banned")
    elif gone == "deleted":
        await town.care.owner.execute("update public.profiles set deleted_at = now() where user_id = $1", ann.user_id)
    elif gone == "user deleted":
        await town.care.owner.execute("update care.users set deleted_at = now() where id = $1", ann.user_id)
    else:
        await mute(ann, conversation, NOON + MINUTE)

    await plan(town.care, NOON)
    assert await lease(town, NOON) == []
    assert await due(told, town) is None
    assert [one["dropped_at"] for one in await deliveries(ann)] == ([] if when.startswith("before") else [NOON])


@pytest.mark.parametrize("gone", ["whom they blocked", "nobody waits", "no coordinator", "suspended"])
async def test_what_a_member_is_not_to_be_told_any_more_is_in_no_letter(town: Town, gone: str) -> None:
    cora, bob = await town.member("Cora", coordinator=True), await town.member("Bob")
    applicant = await town.member("Nia", status="pending")
    kind = "offer.received" if gone == "whom they blocked" else "membership.waiting"

    async def told() -> None:
        await notify(cora, NOON, kind=kind, actor=bob if kind == "offer.received" else None)

    await told()
    await notify(bob, NOON, kind="conversation.closed", actor=cora, conversation=uuid4())
    await plan(town.care, NOON)
    if gone == "whom they blocked":
        await town.block(cora, bob)
    elif gone == "nobody waits":
        await town.care.owner.execute(
            "update public.profiles set verification_status = 'approved' where user_id = $1", applicant.user_id
        )
    elif gone == "no coordinator":
        await town.care.owner.execute("select care.set_role($1, $2, 'member', 'test')", town.community_id, cora.user_id)
    else:
        await town.restrict(cora, "suspended")
    await told()  # and what is planned now
    await plan(town.care, NOON)
    # Whom it was done to is told of the end as of any: that no letter came would tell of the block.
    assert [letter["user_id"] for letter in await lease(town, NOON)] == [str(bob.user_id)]
    assert [one["dropped_at"] for one in await deliveries(cora)] == [NOON]


async def test_a_letter_waits_for_the_end_of_quiet_hours_by_the_members_own_clock(town: Town) -> None:
    ann, zoe = await town.member("Ann"), await town.member("Zoe")
    await town.care.owner.execute(
        "update public.communities set time_zone = 'Asia/Tokyo' where id = $1", town.community_id
    )
    await town.care.owner.execute(
        "update public.profiles set time_zone = 'Europe/Madrid' where user_id = $1", zoe.user_id
    )
    at = utc("2031-10-25 22:00")  # 7 in the morning in Tokyo; midnight in Madrid, before a night of 25 hours
    both = [await notify(one, at, conversation=uuid4()) for one in (ann, zoe)]
    await plan(town.care, at)
    assert [await due(one, town) for one in both] == [utc("2031-10-25 23:00"), utc("2031-10-26 07:00")]
    assert await lease(town, at) == []
    await plan(town.care, utc("2031-10-26 06:59"))
    assert [len(await deliveries(one)) for one in (ann, zoe)] == [1, 0]
    await plan(town.care, utc("2031-10-26 07:00"))
    assert [len(await deliveries(one)) for one in (ann, zoe)] == [1, 1]


async def test_only_what_is_critical_disturbs_and_three_times_a_day_at_most(town: Town) -> None:
    ann, bob = await town.member("Ann"), await town.member("Bob")
    critical, urgent = await town.request(ann), await town.request(ann)
    for request, urgency in ((critical, "critical"), (urgent, "urgent")):
        await town.care.owner.execute("update public.help_requests set urgency = $2 where id = $1", request, urgency)
    quiet = await notify(ann, NIGHT, actor=bob, request=urgent, conversation=uuid4())
    for step in range(5):
        await notify(ann, NIGHT + step * MINUTE, actor=bob, request=critical, conversation=uuid4())
        await plan(town.care, NIGHT + step * MINUTE)
    assert await due(quiet, town) == MORNING
    assert [one["urgent"] for one in await deliveries(ann)] == [True] * 3
    assert len(await lease(town, NIGHT + 5 * MINUTE)) == 3
    await plan(town.care, MORNING)
    assert [one["urgent"] for one in await deliveries(ann)] == [True] * 3 + [False] * 3
    # A day later there is room again.
    again = NIGHT + timedelta(days=1, minutes=5)
    await notify(ann, again, actor=bob, request=critical, conversation=uuid4())
    await plan(town.care, again)
    assert (await deliveries(ann))[-1]["urgent"]


async def test_nobody_fills_anothers_inbox_by_closing_and_opening_again(town: Town) -> None:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    await prefer(owner, quiet_from=time(0), quiet_to=time(0))
    request = await town.request(owner)
    opened = await V2.opened(helper, request)
    began = datetime.now(UTC)
    for minutes in range(2, 80, 2):
        for verb in ("close_conversation", "reopen_conversation"):
            assert (await helper.call(verb, conversation_id=opened))["success"]
        await plan(town.care, began + minutes * MINUTE)
    assert await town.count("public.notifications", f"user_id = '{owner.user_id}'") == 3
    assert len(await deliveries(owner)) == 4
    # What is held back is told two hours after the first of them, in one letter.
    await plan(town.care, began + 123 * MINUTE)
    assert len(await deliveries(owner)) == 5

    # A request taken back and asked for again is told to each helper as seldom.
    for _ in range(10):
        for verb in ("cancel_help_request", "reopen_help_request"):
            assert (await owner.call(verb, help_request_id=request))["success"]
    assert await town.count("public.notifications", f"user_id = '{helper.user_id}'") == 2


@pytest.mark.parametrize(
    ("hours", "morning"), [(("21:00", "08:00"), "08:00"), (("00:00", "00:00"), "08:00"), (("20:00", "06:30"), "06:30")]
)
async def test_who_wants_one_letter_a_day_gets_all_that_is_unread_in_it(
    town: Town, hours: tuple[str, str], morning: str
) -> None:
    ann = await town.member("Ann")
    await prefer(ann, email="daily")
    await town.care.owner.execute(
        "update public.messaging_preferences set quiet_from = $2::text::time, quiet_to = $3::text::time "
        "where user_id = $1",
        ann.user_id,
        *hours,
    )
    told = [await notify(ann, NOON + step * timedelta(hours=2), conversation=uuid4()) for step in range(5)]
    for step in range(5):
        await plan(town.care, NOON + step * timedelta(hours=2))
    (digest,) = await deliveries(ann)
    assert (digest["kind"], digest["due_at"]) == ("digest", utc(f"2031-06-11 {morning}"))
    assert await lease(town, digest["due_at"] - MINUTE) == []
    await read(town, told[0])
    (letter,) = await lease(town, digest["due_at"])
    assert len(letter["items"]) == 4
    # What comes while that one is under way goes into the next.
    await notify(ann, digest["due_at"], conversation=uuid4())
    await plan(town.care, digest["due_at"])
    assert (await deliveries(ann))[1]["due_at"] == digest["due_at"] + timedelta(days=1)


async def test_a_retry_backs_off_for_a_day_with_jitter_and_is_given_up_after_eight(town: Town) -> None:
    ann = await town.member("Ann")
    await prefer(ann, quiet_from=NOON.time(), quiet_to=NOON.time())
    await notify(ann, NOON, conversation=uuid4())
    await plan(town.care, NOON)
    now, pauses = NOON, []
    for jitter in (0, 1, 0.5, 0.5, 0.5, 0.5, 0.5):
        (letter,) = await lease(town, now)
        assert await settle(town, letter, "retry", now, "unreachable", jitter) == "waiting"
        at = (await deliveries(ann))[0]["due_at"]
        assert await lease(town, at - timedelta(seconds=1)) == []
        pauses.append((at - now).total_seconds() / 60)
        now = at
    assert pauses == [0.75, 5, 16, 64, 256, 480, 480]
    (letter,) = await lease(town, now)
    assert await settle(town, letter, "retry", now, "unreachable") == "dead"
    (dead,) = await deliveries(ann)
    assert (dead["attempts"], dead["dead_at"], dead["last_error"]) == (8, now, "unreachable")

    failed = json.loads(await town.care.owner.fetchval("select care.failed_letters(1000)"))
    (shown,) = [one for one in failed if one["id"] == letter["id"]]
    assert (shown["error"], shown["attempts"]) == ("unreachable", 8)
    assert await town.care.owner.fetchval("select care.retry_deliveries()") >= 1
    (again,) = await deliveries(ann)
    assert (again["dead_at"], again["attempts"]) == (None, 0)
    now = again["due_at"]
    (letter,) = await lease(town, now)
    assert letter["id"] == str(dead["id"])
    assert await settle(town, letter, "refused", now, "recipient_550") == "dead"


async def test_a_lease_runs_out_and_one_released_is_free_at_once_and_untried(town: Town) -> None:
    ann = await town.member("Ann")
    await notify(ann, NOON, conversation=uuid4())
    await plan(town.care, NOON)
    (first,) = await lease(town, NOON)
    assert await lease(town, NOON + timedelta(seconds=59)) == []
    (second,) = await lease(town, NOON + timedelta(seconds=60))
    assert second["id"] == first["id"]
    assert await settle(town, second, "release", NOON + MINUTE) == "waiting"
    (third,) = await lease(town, NOON + MINUTE)
    assert (await deliveries(ann))[0]["attempts"] == 0
    # A clock that was set back holds nothing for long.
    assert len(await lease(town, NOON - timedelta(hours=2))) == 0
    await town.care.owner.execute(
        "update care.deliveries set due_at = $2 where id = $1", UUID(third["id"]), NOON - timedelta(days=1)
    )
    assert len(await lease(town, NOON - timedelta(hours=2))) == 1


async def test_a_letter_that_failed_in_the_evening_does_not_come_in_the_night(town: Town) -> None:
    ann = await town.member("Ann")
    await notify(ann, NIGHT - timedelta(hours=2), conversation=uuid4())
    await plan(town.care, NIGHT - timedelta(hours=2))
    assert await lease(town, NIGHT) == []
    (waiting,) = await deliveries(ann)
    assert (waiting["due_at"], waiting["leased_until"]) == (MORNING, None)
    assert len(await lease(town, MORNING)) == 1


async def test_two_nodes_never_plan_or_lease_the_same(town: Town) -> None:
    people = [await town.member("Ann") for _ in range(3)]
    for person in people:
        await notify(person, NOON, conversation=uuid4())
    one, two = await town.care.connect(), await town.care.connect()
    daily = await town.member("Ann")
    await prefer(daily, email="daily")
    await notify(daily, NOON - MINUTE, conversation=uuid4())
    begun = one.transaction()
    await begun.start()
    assert await one.fetchval("select care.plan_deliveries(3, $1)", NOON) >= 1
    await notify(daily, NOON - MINUTE, conversation=uuid4())
    await two.fetchval("select care.plan_deliveries(100, $1)", NOON)
    await begun.commit()
    await plan(town.care, NOON)
    assert [len(await deliveries(person)) for person in (*people, daily)] == [1, 1, 1, 1]
    begun = one.transaction()
    await begun.start()
    first = json.loads(await one.fetchval("select care.lease_deliveries('email', 1, 60, $1)", NOON))["letters"]
    second = json.loads(await two.fetchval("select care.lease_deliveries('email', 100, 60, $1)", NOON))["letters"]
    await begun.commit()
    assert {letter["id"] for letter in first}.isdisjoint(letter["id"] for letter in second)
    await one.close()
    await two.close()


async def test_a_link_of_a_letter_ends_letters_and_changes_nothing_else(town: Town) -> None:
    ann = await town.member("Ann")
    end = town.care.database.value
    assert await end("care.unsubscribe", p_community_id=town.community_id, p_user_id=uuid4()) is False
    await prefer(ann, offers_paused=True)
    for _ in range(2):
        assert await end("care.unsubscribe", p_community_id=town.community_id, p_user_id=ann.user_id) is True
    (row,) = await town.care.owner.fetch("select * from public.messaging_preferences where user_id = $1", ann.user_id)
    assert (row["email"], row["offers_paused"]) == ("off", True)


async def test_letters_are_removed_a_month_after_they_were_sent_and_dead_ones_after_three(town: Town) -> None:
    ann = await town.member("Ann")
    for column, days in (("sent_at", 31), ("sent_at", 29), ("dropped_at", 31), ("dead_at", 89), ("dead_at", 91)):
        await town.care.owner.execute(
            f"insert into care.deliveries (community_id, user_id, kind, due_at, {column}) "
            "values ($1, $2, 'digest', now(), now() - make_interval(days => $3))",
            town.community_id,
            ann.user_id,
            days,
        )
    await town.care.database.value("care.prune")
    assert len(await deliveries(ann)) == 2
