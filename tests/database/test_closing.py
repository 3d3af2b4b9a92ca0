"""Closing the loop: one reminder of an offer that nobody answered, an end for what nobody touches, told to both sides,
by one node at a time."""

import asyncio
from uuid import UUID, uuid4

import pytest

from care_collective.requests.tending import tend
from database.steps import V1, V2, Engine, code
from harness import Care, Person, Town

pytestmark = pytest.mark.alike

ENGINES = pytest.mark.parametrize("engine", [V1, V2], ids=["v1", "v2"])


@pytest.fixture
def engine() -> Engine:
    """The engine, where a test does not try both."""
    return V2


async def age(town: Town, interval: str) -> None:
    """Makes everything of a town so much older."""
    for table, columns in {
        "public.help_requests": ("created_at", "updated_at"),
        "public.conversations": ("created_at", "updated_at"),
        "public.conversations_v2": ("created_at", "updated_at"),
        "public.notifications": ("created_at", "updated_at"),
    }.items():
        changes = ", ".join(f"{column} = {column} - $2::text::interval" for column in columns)
        await town.care.owner.execute(
            f"update {table} set {changes} where community_id = $1", town.community_id, interval
        )


async def tended(town: Town, limit: int = 100) -> int:
    """A turn of the chore for one town."""
    return int(await town.care.database.value("care.tend_requests", p_community_id=town.community_id, p_limit=limit))


async def told(town: Town, person: Person, kind: str) -> int:
    """How often somebody was told of something."""
    return await town.count("public.notifications", f"user_id = '{person.user_id}' and kind = '{kind}'")


@ENGINES
async def test_an_owner_is_reminded_once_of_an_offer_after_three_days(town: Town, engine: Engine) -> None:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    await engine.opened(helper, await town.request(owner))
    await age(town, "2 days 23 hours")
    assert await tended(town) == 0
    await age(town, "1 hour 1 minute")
    for expected in (1, 0):
        assert await tended(town) == expected
        assert await told(town, owner, "offer.unanswered") == 1
    assert await told(town, helper, "offer.unanswered") == 0


@pytest.mark.parametrize("what", ["answered", "declined", "closed", "accepted", "blocked", "banned", "cancelled"])
async def test_what_was_answered_or_has_ended_is_not_reminded_of(town: Town, what: str) -> None:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    request = await town.request(owner)
    conversation = await V2.opened(helper, request)
    if what == "answered":
        await owner.send(conversation, "Thank you!")
    elif what == "blocked":
        await town.block(owner, helper)
    elif what == "banned":
        await town.restrict(helper, "banned")
    elif what == "cancelled":
        await owner.call("cancel_help_request", help_request_id=request)
    else:
        verb = {"declined": "decline_offer", "closed": "close_conversation", "accepted": "accept_offer"}[what]
        assert (await owner.call(verb, conversation_id=conversation))["success"]
    await age(town, "4 days")
    assert await tended(town) == 0
    assert await told(town, owner, "offer.unanswered") == 0


@ENGINES
async def test_what_nobody_touches_for_a_month_ends_and_both_sides_are_told(town: Town, engine: Engine) -> None:
    owner, helper, other = await town.member("Olga"), await town.member("Hal"), await town.member("Ola")
    request = await town.request(owner)
    accepted = await engine.opened(helper, request)
    await engine.opened(other, request)
    assert (await owner.call("accept_offer", conversation_id=accepted))["success"]
    await age(town, "29 days 23 hours")
    await tended(town)
    assert await town.count("public.help_requests", "status = 'in_progress'") == 1
    await age(town, "1 hour 1 minute")
    assert await tended(town) == 1
    row = await town.care.owner.fetchrow(
        "select status, status_reason from public.help_requests where id = $1", request
    )
    assert tuple(row) == ("cancelled", "expired")
    for person in (owner, helper, other):
        assert await told(town, person, "request.expired") == 1, person.name
    assert await town.count("care.outbox", "topic = 'request.expired'") == 1
    # Their conversations go on, nothing unread was marked, and one tap opens it again.
    assert await town.count("public.conversation_members", "unread > 0") == 2
    assert (await helper.send(accepted, "Are you well?"))["success"]
    assert (await owner.call("reopen_help_request", help_request_id=request))["success"]
    assert await tended(town) == 0


async def test_a_word_in_a_conversation_is_activity(town: Town, engine: Engine) -> None:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    conversation = await engine.opened(helper, await town.request(owner))
    await age(town, "31 days")
    assert (await helper.send(conversation, "Does it still stand?"))["success"]
    assert await tended(town) == 0
    assert await town.count("public.help_requests", "status = 'open'") == 1


async def test_an_end_waits_for_nobody_who_works_on_the_request(town: Town) -> None:
    requests = [await town.request(await town.member()) for _ in range(3)]
    await age(town, "31 days")
    connection = await town.care.connect()
    async with connection.transaction():
        await connection.fetchval("select id from public.help_requests where id = $1 for no key update", requests[0])
        assert await tended(town, limit=1) == 1
        assert await tended(town) == 1
    await connection.close()
    assert await tended(town) == 1


async def test_of_several_processes_one_has_the_chore_until_it_is_gone(scratch: Care) -> None:
    town = await scratch.town()
    await town.request(await town.member())
    await age(town, "31 days")
    first, second = uuid4(), uuid4()
    took = await asyncio.gather(*(tend(scratch.database, one, pause_seconds=0) for one in (first, second) * 4))
    assert took.count(True) == 4
    assert await town.count("public.help_requests", "status = 'cancelled'") == 1
    holder: UUID = await scratch.owner.fetchval("select held_by from care.chores")
    other = second if holder == first else first
    assert await tend(scratch.database, holder)
    assert not await tend(scratch.database, other)
    await scratch.owner.execute("update care.chores set held_until = now() - interval '1 second'")
    assert await tend(scratch.database, other)
    assert not await tend(scratch.database, holder)


async def test_a_fault_in_one_community_keeps_no_other_waiting(scratch: Care) -> None:
    towns = sorted([await scratch.town() for _ in range(3)], key=lambda town: town.community_id)
    for town in towns:
        await town.request(await town.member())
        await age(town, "31 days")
    await scratch.owner.execute(
        f"alter table public.notifications add check (community_id <> '{towns[1].community_id}')"
    )
    assert await tend(scratch.database, uuid4(), pause_seconds=0)
    assert [await town.count("public.help_requests", "status = 'open'") for town in towns] == [0, 1, 0]


async def test_coordinators_are_told_once_who_waits_and_applicants_what_was_decided(town: Town) -> None:
    cora, carl, ann = [await town.member(name, coordinator=name != "Ann") for name in ("Cora", "Carl", "Ann")]
    applicants = []
    for name in ("Nia", "Tom"):
        joined = await town.care.database.call(
            "care.sign_up", p_community_id=town.community_id, p_email=f"{name.lower()}-{uuid4().hex}@example.org",
            p_secret="none", p_display_name=name, p_town=None, p_application_words=None,
        )  # fmt: skip
        applicants.append(Person(town, UUID(joined.data()["user_id"]), name))
    assert [await told(town, one, "membership.waiting") for one in (cora, carl, ann)] == [1, 1, 0]
    for applicant, decision, kind in zip(applicants, ("approve", "reject"), ("approved", "rejected"), strict=True):
        answer = await cora.call("decide_application", applicant_id=applicant.user_id, decision=decision)
        assert code(answer) == "success"
        assert await told(town, applicant, f"membership.{kind}") == 1
    # Nobody is left: who decided has seen it, and nobody gets a letter about it any more.
    assert await town.count("public.notifications", "kind = 'membership.waiting' and read_at is null") == 1
    assert await town.count("public.notifications", "kind = 'membership.waiting' and due_at is not null") == 0
