"""Rule 14: one list of both engines, by last activity, that pages without losing or doubling anything."""

from typing import Any
from uuid import UUID

import pytest

from database.steps import V1, V2, code
from harness import FIRST_WORDS, Person, Town


async def busy(town: Town, conversations: int) -> tuple[Person, list[UUID]]:
    """An owner with conversations of both engines by turns, oldest first."""
    owner = await town.member("Olga")
    request = await town.request(owner)
    opened = [await (V1, V2)[n % 2].opened(await town.member(f"Hal {n}"), request) for n in range(conversations)]
    return owner, opened


async def pages(person: Person, limit: int, **filters: Any) -> list[list[str]]:  # noqa: ANN401  arguments of it
    """The ids of every page."""
    found: list[list[str]] = []
    cursor = None
    while True:
        answer = await person.call("list_conversations", cursor=cursor, limit=limit, **filters)
        found.append([c["id"] for c in answer["conversations"]])
        cursor = answer["next_cursor"]
        if cursor is None:
            return found
        assert len(found[-1]) == limit
        assert found[-1] not in found[:-1]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
async def test_the_list_is_whole_newest_first_and_of_both_engines(town: Town, limit: int) -> None:
    owner, opened = await busy(town, 6)
    found = await pages(owner, limit)
    assert [UUID(c) for page in found for c in page] == opened[::-1]
    items = (await owner.call("list_conversations"))["conversations"]
    assert [i["version"] for i in items] == ["v2", "v1"] * 3
    assert {frozenset(i) for i in items} == {frozenset(items[0])}  # one serializer
    item = items[0]
    assert (item["role"], item["status"], item["unread"], item["last_seq"]) == ("requester", "active", 1, 0)
    assert item["other"] == {
        "user_id": item["other"]["user_id"],
        "display_name": "Hal 5",
        "town": None,
        "deleted": False,
    }
    assert item["last_message"]["content"] == FIRST_WORDS


async def test_equal_times_are_paged_by_id(town: Town) -> None:
    owner, opened = await busy(town, 5)
    await town.care.owner.execute(
        "update public.conversation_members set last_activity_at = '2026-01-01 12:00:00.123456+00' "
        "where community_id = $1",
        town.community_id,
    )
    found = [UUID(c) for page in await pages(owner, 2) for c in page]
    assert found == sorted(opened, key=lambda i: i.bytes, reverse=True)


async def test_new_activity_between_two_pages_doubles_nothing_and_loses_nothing_quiet(town: Town) -> None:
    owner, opened = await busy(town, 6)
    first = await owner.call("list_conversations", limit=3)
    seen = [c["id"] for c in first["conversations"]]
    # One that was seen and one that was not yet move to the top meanwhile.
    for moved in (seen[1], str(opened[0])):
        await owner.send(moved, "News")
    second = await owner.call("list_conversations", limit=3, cursor=first["next_cursor"])
    rest = [c["id"] for c in second["conversations"]]
    assert not set(seen) & set(rest)
    assert rest == [str(c) for c in opened[2:0:-1]]
    top = await owner.call("list_conversations", limit=2)
    assert [c["id"] for c in top["conversations"]] == [str(opened[0]), seen[1]]


async def test_the_unread_filter_follows_the_marks(town: Town) -> None:
    owner, opened = await busy(town, 4)
    await owner.call("mark_read", conversation_id=opened[1], seq=0)
    unread = [UUID(c) for page in await pages(owner, 2, filter="unread") for c in page]
    assert unread == [opened[3], opened[2], opened[0]]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [({"limit": limit}, "limit") for limit in (None, 0, -1, 51, 2**31 - 1)]
    + [({"filter": value}, "filter") for value in (None, "", "ALL", "muted", "' or true --")]
    + [({"cursor": value}, "cursor") for value in (
        "", "0", "abc", "1.2", "1767268800000000", "-1.00000000-0000-4000-8000-000000000000",
        "99999999999999999.00000000-0000-4000-8000-000000000000", "1e3.00000000-0000-4000-8000-000000000000",
        "1.00000000-0000-4000-8000-000000000000\n", "1.00000000-0000-4000-8000-00000000000", "x" * 10_000,
        "\u0661.00000000-0000-4000-8000-000000000000")],
)  # fmt: skip
async def test_wrong_arguments_are_named(town: Town, arguments: dict[str, Any], field: str) -> None:
    owner = await town.member()
    request = await town.request(owner)
    answer = await owner.call("list_conversations", **arguments)
    assert (code(answer), set(answer["fields"])) == ("validation_error", {field})
    if field != "filter":
        answer = await owner.call("list_offers", help_request_id=request, **arguments)
        assert set(answer["fields"]) == {field}
        answer = await owner.call("list_help_requests", **arguments)
        assert set(answer["fields"]) == {field}


async def test_any_cursor_of_our_form_is_only_a_place(town: Town) -> None:
    owner, opened = await busy(town, 2)
    other, _ = await busy(await town.care.town(), 3)
    foreign = (await other.call("list_conversations", limit=1))["next_cursor"]
    for cursor in (foreign, "9999999999999999.ffffffff-ffff-ffff-ffff-ffffffffffff"):
        answer = await owner.call("list_conversations", cursor=cursor)
        assert [UUID(c["id"]) for c in answer["conversations"]] == opened[::-1]
    first = "0.00000000-0000-0000-0000-000000000000"
    assert (await owner.call("list_conversations", cursor=first))["conversations"] == []


async def test_offers_are_the_owners_to_see(town: Town) -> None:
    owner, opened = await busy(town, 3)
    request = (await owner.call("list_conversations"))["conversations"][0]["help_request"]["id"]
    elsewhere = await V2.opened(await town.member(), await town.request(owner))
    first = await owner.call("list_offers", help_request_id=UUID(request), limit=2)
    second = await owner.call("list_offers", help_request_id=UUID(request), limit=2, cursor=first["next_cursor"])
    found = [UUID(c["id"]) for c in first["conversations"] + second["conversations"]]
    assert (found, second["next_cursor"]) == (opened[::-1], None)
    assert elsewhere not in found
    absent = await owner.call("list_offers", help_request_id=UUID(int=0))
    assert code(absent) == "not_found"
    for person in (await town.member(), await town.member(coordinator=True)):
        assert await person.call("list_offers", help_request_id=UUID(request)) == absent


async def test_a_deleted_person_leaves_a_tombstone_that_can_be_read(town: Town) -> None:
    owner, opened = await busy(town, 2)
    await town.care.owner.execute(
        "update public.profiles set deleted_at = now(), display_name = 'Former member' "
        "where community_id = $1 and user_id <> $2",
        town.community_id, owner.user_id,
    )  # fmt: skip
    for item in (await owner.call("list_conversations"))["conversations"]:
        assert (item["other"]["deleted"], item["other"]["display_name"]) == (True, "Former member")
    for conversation in opened:
        assert (await owner.call("get_messages", conversation_id=conversation))["messages"][0]["content"] == FIRST_WORDS
