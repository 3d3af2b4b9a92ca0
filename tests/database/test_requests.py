"""Browsing requests: who sees which, filters, search, and paging by keyset."""

from typing import Any
from uuid import UUID

import pytest

from database.steps import Engine, code, nowhere
from harness import Person, Town

STATUSES = ("open", "in_progress", "completed", "cancelled", "closed")


async def listed(person: Person, **filters: Any) -> list[UUID]:  # noqa: ANN401  arguments of the function
    """The ids of one page of fifty."""
    answer = await person.call("list_help_requests", limit=50, **filters)
    assert answer["success"], answer
    return [UUID(r["id"]) for r in answer["help_requests"]]


async def test_a_request_is_seen_by_its_neighbours_as_it_was_asked(town: Town) -> None:
    owner, neighbour = await town.member("Olga"), await town.member()
    asked = await owner.call("create_help_request", title="A lift on Monday", category="transportation-errands",
                             description="To the doctor", urgency="urgent", exchange_offer="A cake")  # fmt: skip
    request = UUID(asked["help_request_id"])
    assert set(asked) == {"success", "help_request_id", "message"}
    for person, mine in ((owner, True), (neighbour, False)):
        seen = (await person.call("get_help_request", help_request_id=request))["help_request"]
        assert seen == (await person.call("list_help_requests"))["help_requests"][0]
        assert {n: seen[n] for n in ("title", "description", "category", "urgency", "status", "exchange_offer")} == {
            "title": "A lift on Monday", "description": "To the doctor", "category": "transportation-errands",
            "urgency": "urgent", "status": "open", "exchange_offer": "A cake",
        }  # fmt: skip
        assert (seen["is_mine"], seen["owner"]["display_name"], seen["conversation"]) == (mine, "Olga", None)


async def test_each_status_is_found_by_its_name(town: Town) -> None:
    owner, neighbour = await town.member(), await town.member()
    made = {status: await town.request(owner, status=status) for status in STATUSES}
    for status in STATUSES:
        assert await listed(owner, status=status) == [made[status]]
        # What a coordinator closed is there for its owner alone.
        assert await listed(neighbour, status=status) == ([made[status]] if status != "closed" else [])
    assert set(await listed(neighbour)) == {made["open"], made["in_progress"]}
    assert set(await listed(neighbour, status="all")) == set(made.values()) - {made["closed"]}
    assert set(await listed(owner, status="all", mine=True)) == set(made.values())
    assert await listed(neighbour, status="all", mine=True) == []
    assert await listed(neighbour, status="all", mine=None) == []
    for wrong in (None, "", "OPEN", "any"):
        assert set((await owner.call("list_help_requests", status=wrong))["fields"]) == {"status"}


async def test_filters_and_search_narrow_the_list(town: Town) -> None:
    owner = await town.member()

    async def ask(title: str, description: str | None = None, **more: str) -> UUID:
        answer = await owner.call("create_help_request", title=title, description=description,
                                  **{"category": "other", "urgency": "normal", **more})  # fmt: skip
        return UUID(answer["help_request_id"])

    milk = await ask("Milk and BREAD", "100 % fresh_bread")
    lift = await ask("A lift, please", "Über the bridge", category="transportation-errands", urgency="critical")
    assert await listed(owner, category="transportation-errands") == [lift]
    assert await listed(owner, urgency="critical") == [lift]
    assert await listed(owner, category="transportation-errands", urgency="normal") == []
    assert await listed(owner, search=" bread ") == [milk]
    assert await listed(owner, search="BRIDGE") == [lift]
    # No character of a search is a wildcard, a quote or an operator.
    for search, found in (
        ("%", [milk]), ("_", [milk]), ("fresh_b", [milk]), ("freshxb", []), ("'; drop", []), ("\\", []),
        ("\u3000", [lift, milk]), (None, [lift, milk]), ("x" * 100, []),
    ):  # fmt: skip
        assert await listed(owner, search=search) == found, search
    assert set((await owner.call("list_help_requests", search="x" * 101))["fields"]) == {"search"}


@pytest.mark.parametrize("name", ["category", "urgency", "status"])
async def test_a_filter_that_there_is_not_is_refused_by_its_name(town: Town, name: str) -> None:
    neighbour = await town.member()
    known = {"category": "other", "urgency": "critical", "status": "completed"}

    assert await listed(neighbour, **{name: known[name]}) == []
    refused = await neighbour.call("list_help_requests", **{name: "nonsense"})

    assert (refused["error"], set(refused["fields"])) == ("validation_error", {name})


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
async def test_pages_are_whole_and_disjoint_newest_first(town: Town, limit: int) -> None:
    owner, reader = await town.member(), await town.member()
    made = [await town.request(owner) for _ in range(5)]
    # Three asked in one instant: the id decides.
    await town.care.owner.execute(
        "update public.help_requests set created_at = '2026-03-01 09:00:00.000001+00' where id = any ($1)", made[:3]
    )
    found: list[UUID] = []
    cursor = None
    while True:
        answer = await reader.call("list_help_requests", limit=limit, cursor=cursor)
        found += [UUID(r["id"]) for r in answer["help_requests"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
        assert len(set(found)) == len(found)
        if len(found) == limit:
            await town.request(owner)  # a newer one does not move what follows
    assert sorted(found) == sorted(made)
    assert [i for i in found if i in made[:3]] == sorted(made[:3], reverse=True)


async def test_a_blocked_pair_does_not_find_each_others_requests(town: Town) -> None:
    owner, member, other = await town.member(), await town.member(), await town.member()
    request, theirs = await town.request(owner), await town.request(member)
    await town.block(member, owner)
    assert await listed(member) == [theirs]
    assert await listed(owner) == [request]
    assert set(await listed(other)) == {request, theirs}
    absent = await member.call("get_help_request", help_request_id=nowhere())
    assert await member.call("get_help_request", help_request_id=request) == absent
    assert await owner.call("get_help_request", help_request_id=theirs) == absent


async def test_who_has_a_conversation_keeps_seeing_its_request(town: Town, engine: Engine) -> None:
    owner, helper = await town.member(), await town.member()
    request = await town.request(owner)
    conversation = await engine.opened(helper, request)
    for status in STATUSES:
        await town.care.owner.execute(
            "update public.help_requests set status = $1, helper_id = $2 where id = $3", status, helper.user_id, request
        )
        seen = (await helper.call("get_help_request", help_request_id=request))["help_request"]
        assert (seen["status"], seen["conversation"]) == (status, {"id": str(conversation), "status": "active"})
    await town.block(owner, helper)
    seen = (await helper.call("get_help_request", help_request_id=request))["help_request"]
    assert seen["conversation"]["status"] == "closed"


async def test_who_helps_is_between_the_two(town: Town) -> None:
    owner, neighbour = await town.member(), await town.member()
    request = await town.request(owner, status="in_progress")
    assert (await owner.call("get_help_request", help_request_id=request))["help_request"]["helper_id"] is not None
    assert (await neighbour.call("get_help_request", help_request_id=request))["help_request"]["helper_id"] is None


async def test_nothing_is_seen_across_communities(town: Town) -> None:
    abroad = await town.care.town()
    foreigner = await abroad.member()
    request = await town.request(await town.member())
    assert await listed(foreigner, status="all") == []
    assert code(await foreigner.call("get_help_request", help_request_id=request)) == "not_found"
