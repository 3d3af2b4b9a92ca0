"""Accept, decline, step back, release; ask, change, cancel, complete, reopen: the one table of what may follow what."""

from itertools import product
from typing import Any
from uuid import UUID

import pytest

from database.steps import V1, V2, Engine, code, nowhere
from harness import Person, Town

pytestmark = pytest.mark.alike

STATUSES = ("open", "in_progress", "completed", "cancelled", "closed")
# product.md, the life of a request: what an owner's action makes of each state.
OWNER = {
    "cancel_help_request": {"open": "cancelled", "in_progress": "cancelled"},
    "complete_help_request": {"in_progress": "completed"},
    "reopen_help_request": {"completed": "open", "cancelled": "open"},
}
TOPICS = {"cancelled": "request.cancelled", "completed": "request.completed", "open": "request.reopened"}


async def state(town: Town, request: UUID) -> dict[str, Any]:
    """The row of a request."""
    return dict(await town.care.owner.fetchrow("select * from public.help_requests where id = $1", request))


async def put(town: Town, request: UUID, status: str, helper: Person | None = None) -> None:
    await town.care.owner.execute(
        "update public.help_requests set status = $1, helper_id = $2 where id = $3",
        status, helper and helper.user_id, request,
    )  # fmt: skip


@pytest.mark.parametrize(("action", "status"), list(product(OWNER, STATUSES)))
async def test_the_owners_table_of_a_request(town: Town, action: str, status: str) -> None:
    owner, helper = await town.member(), await town.member()
    request = await town.request(owner)
    await put(town, request, status, helper if status != "open" else None)
    before = await state(town, request)
    answer = await owner.call(action, help_request_id=request)
    after = await state(town, request)
    expected = OWNER[action].get(status)
    if expected is None:
        assert (code(answer), answer["status"]) == ("conflict/state", status)
        assert after == before
        assert await town.count("care.outbox") == 0
        return
    assert answer == {"success": True, "help_request_id": str(request), "status": expected}
    assert after["status"] == expected
    assert (after["completed_at"] is not None) == (expected == "completed")
    assert (after["cancelled_at"] is not None) == (expected == "cancelled")
    assert after["helper_id"] == (None if expected == "open" else before["helper_id"])
    assert await town.count("care.outbox", f"topic = '{TOPICS[expected]}'") == 1


@pytest.mark.parametrize(("status", "assigned"), [(s, a) for s in STATUSES for a in ("nobody", "me", "another")
                                                  if (a == "nobody") == (s == "open")])  # fmt: skip
async def test_the_table_of_an_offer(town: Town, engine: Engine, status: str, assigned: str) -> None:
    """Accept, decline, step back and release, by whom it is for, in every state of the request."""
    for verb in ("accept_offer", "decline_offer", "step_back", "release_helper"):
        owner, helper, another = [await town.member(name) for name in ("Olga", "Hal", "Ann")]
        request = await town.request(owner)
        conversation = await engine.opened(helper, request)
        await engine.opened(another, request)
        await put(town, request, status, {"me": helper, "another": another}.get(assigned))
        before = await state(town, request)
        by, other = (helper, owner) if verb == "step_back" else (owner, helper)

        assert code(await other.call(verb, conversation_id=conversation)) == "permission_denied/role"
        assert await state(town, request) == before
        answer = await by.call(verb, conversation_id=conversation)
        after = await state(town, request)
        mine = status == "in_progress" and assigned == "me"
        if verb == "accept_offer":
            taken = status in ("open", "in_progress")
            assert code(answer) == ("success" if taken else "conflict/state")
            assert (after["status"], after["helper_id"]) == (
                ("in_progress", helper.user_id) if taken else (before["status"], before["helper_id"])
            )
        elif verb == "decline_offer":
            assert answer == {"success": True, "status": "declined"}
            assert after["status"] == ("open" if mine else status)
            assert after["helper_id"] == (None if mine else before["helper_id"])
        else:
            assert code(answer) == ("success" if mine else "conflict/state")
            assert (after["status"], after["helper_id"]) == (
                ("open", None) if mine else (before["status"], before["helper_id"])
            )
    assert await town.care.violations(town.community_id) == []


async def topics(town: Town) -> list[tuple[str, UUID]]:
    rows = await town.care.owner.fetch(
        "select topic, conversation_id from care.outbox where community_id = $1 "
        "and topic not in ('conversation.opened', 'message.sent') order by created_at, topic",
        town.community_id,
    )
    return [(row["topic"], row["conversation_id"]) for row in rows]


async def test_accepting_another_offer_replaces_the_helper_and_tells_both(town: Town) -> None:
    owner, first, second = [await town.member() for _ in range(3)]
    request = await town.request(owner)
    one, two = await V1.opened(first, request), await V2.opened(second, request)
    assert (await owner.call("accept_offer", conversation_id=one))["helper_id"] == str(first.user_id)
    # A second tap is a success and no second event.
    assert (await owner.call("accept_offer", conversation_id=one))["success"]
    assert await topics(town) == [("offer.accepted", one)]
    assert (await owner.call("accept_offer", conversation_id=two))["helper_id"] == str(second.user_id)
    assert (await topics(town))[1:] == [("offer.accepted", two), ("offer.replaced", one)]
    # Both conversations go on.
    assert (await first.send(one, "All right"))["success"]
    seen = await first.call("get_help_request", help_request_id=request)
    assert (seen["help_request"]["is_helper"], seen["help_request"]["helper_id"]) == (False, None)
    assert (await owner.call("list_offers", help_request_id=request))["conversations"][0]["help_request"]["status"] == (
        "in_progress"
    )


async def test_the_accepted_offer_is_marked_in_the_lists_of_both(town: Town, engine: Engine) -> None:
    owner, helper = await town.member(), await town.member()
    request = await town.request(owner)
    conversation = await engine.opened(helper, request)
    for accepted in (False, True):
        if accepted:
            await owner.call("accept_offer", conversation_id=conversation)
        for person in (owner, helper):
            item = (await person.call("list_conversations"))["conversations"][0]
            assert item["help_request"]["accepted"] is accepted
    for verb, by, topic in (("step_back", helper, "helper.stepped_back"), ("release_helper", owner, "helper.released")):
        await owner.call("accept_offer", conversation_id=conversation)
        answer = await by.call(verb, conversation_id=conversation)
        assert answer == {"success": True, "help_request_id": str(request), "help_request_status": "open"}
        assert (await topics(town))[-1] == (topic, conversation)


async def test_a_declined_helper_reads_why_and_the_request_is_open_again(town: Town, engine: Engine) -> None:
    owner, helper = await town.member(), await town.member()
    request = await town.request(owner)
    conversation = await engine.opened(helper, request)
    await owner.call("accept_offer", conversation_id=conversation)
    assert (await owner.call("decline_offer", conversation_id=conversation, reason=" My sister comes "))["success"]
    item = (await helper.call("list_conversations"))["conversations"][0]
    assert (item["status"], item["decline_reason"]) == ("declined", "My sister comes")
    assert (await state(town, request))["status"] == "open"
    assert code(await owner.call("decline_offer", conversation_id=conversation)) == "conflict/state"
    assert code(await owner.call("accept_offer", conversation_id=conversation)) == "conflict/state"
    assert (await owner.call("reopen_conversation", conversation_id=conversation))["success"]
    assert (await helper.call("list_conversations"))["conversations"][0]["decline_reason"] is None
    assert (await owner.call("accept_offer", conversation_id=conversation))["success"]


async def test_only_its_owner_moves_a_request_and_strangers_learn_nothing(town: Town) -> None:
    owner, member = await town.member(), await town.member()
    blocked, foreigner = await town.member(), await (await town.care.town()).member()
    request, closed = await town.request(owner), await town.request(owner, status="closed")
    await town.block(owner, blocked)
    for action in (*OWNER, "update_help_request"):
        more = {"title": "Another title", "category": "other"} if action == "update_help_request" else {}
        assert code(await member.call(action, help_request_id=request, **more)) == "permission_denied/role"
        absent = await member.call(action, help_request_id=nowhere(), **more)
        assert code(absent) == "not_found"
        for person, which in ((blocked, request), (foreigner, request), (member, closed)):
            assert await person.call(action, help_request_id=which, **more) == absent
            assert await person.call("get_help_request", help_request_id=which) == absent
    assert (await state(town, request))["status"] == "open"


@pytest.mark.parametrize("status", STATUSES)
async def test_a_request_is_rewritten_while_it_takes_offers(town: Town, status: str) -> None:
    owner = await town.member()
    request = await town.request(owner, status=status)
    answer = await owner.call(
        "update_help_request", help_request_id=request, title="Milk on Monday", category="other", urgency="urgent"
    )
    taken = status in ("open", "in_progress")
    assert code(answer) == ("success" if taken else "conflict/state")
    assert ((await state(town, request))["title"] == "Milk on Monday") == taken
    assert answer["status"] == status
