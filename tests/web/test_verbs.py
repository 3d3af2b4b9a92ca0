"""Every verb over HTTP, where it succeeds and where it is another's, in both engines; answers keep their shape."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest

from care_collective.web.api import blocks, health, schemas
from care_collective.web.services import Services
from harness import FIRST_WORDS, Care, Person, Town
from web.calls import Stage, staged
from web_harness import MakeClient, bearer, browser, of, services_for, start

REQUESTS, MESSAGING = "/api/requests", "/api/messaging"
ASK = {"title": "Company for tea", "category": "social-companionship", "description": "An hour is fine."}


@pytest.fixture
async def stage(town: Town, client: MakeClient) -> Stage:
    """An offer made in the engine under test."""
    return await staged(town, client)


def shaped(answer: httpx.Response, shape: type, status: int = 200) -> Any:  # noqa: ANN401
    """A success in its declared shape: every member is declared, and of the declared type."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    found: Any = msgspec.json.decode(answer.content, type=shape, strict=True)
    # Encoding what was decoded loses what is not declared, and adds nothing but declared defaults.
    assert _without_nulls(body) == _without_nulls(msgspec.to_builtins(found)), shape
    return found


def _without_nulls(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {name: _without_nulls(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [_without_nulls(member) for member in value]
    if isinstance(value, str) and len(value) > 18 and value[4:5] == "-" and value[10:11] == "T":
        return datetime.fromisoformat(value)
    return value


def refused(answer: httpx.Response, status: int, code: str, reason: str | None = None) -> schemas.Error:
    """A refusal in its declared shape."""
    found: schemas.Error = shaped(answer, schemas.Error, status)
    assert (found.code, found.reason) == (code, reason), answer.text
    return found


async def decide(client: MakeClient, person: Person, verb: str, stage: Stage, **more: str) -> httpx.Response:
    """One person's decision about the stage's offer."""
    return await client(person).post(f"{MESSAGING}/{verb}", json={"conversation_id": stage.conversation, **more})


async def test_the_owner_accepts_and_only_the_owner(client: MakeClient, stage: Stage) -> None:
    refused(await decide(client, stage.helper, "accept-offer", stage), 403, "permission_denied", "role")
    refused(await decide(client, stage.stranger, "accept-offer", stage), 403, "permission_denied", "not_participant")
    moved = shaped(await decide(client, stage.owner, "accept-offer", stage), schemas.HelpRequestMoved)
    assert (moved.help_request_id, moved.help_request_status) == (stage.request, "in_progress")
    seen = shaped(await client(stage.helper).get(f"{REQUESTS}/{stage.request}"), schemas.HelpRequestAnswer)
    assert (seen.help_request.status, seen.help_request.is_helper) == ("in_progress", True)
    again = shaped(await decide(client, stage.owner, "accept-offer", stage), schemas.HelpRequestMoved)
    assert again.help_request_status == "in_progress"


async def test_the_owner_declines_with_a_reason_that_the_helper_reads(client: MakeClient, stage: Stage) -> None:
    refused(await decide(client, stage.helper, "reject-offer", stage), 403, "permission_denied", "role")
    refused(await decide(client, stage.stranger, "reject-offer", stage), 403, "permission_denied", "not_participant")
    done = shaped(await decide(client, stage.owner, "reject-offer", stage, reason="My son comes."), schemas.Done)
    assert done.status == "declined"
    page = shaped(await client(stage.helper).get(f"{MESSAGING}/conversations"), schemas.ConversationPage)
    assert (page.conversations[0].status, page.conversations[0].decline_reason) == ("declined", "My son comes.")
    conflict = await decide(client, stage.owner, "reject-offer", stage)
    assert refused(conflict, 409, "conflict", "state").status == "declined"


async def test_the_helper_steps_back_and_the_owner_releases(client: MakeClient, stage: Stage) -> None:
    for person, verb, other in (
        (stage.helper, "step-back", stage.owner),
        (stage.owner, "release-helper", stage.helper),
    ):
        early = await decide(client, person, verb, stage)
        assert refused(early, 409, "conflict", "state").help_request_status == "open"
        shaped(await decide(client, stage.owner, "accept-offer", stage), schemas.HelpRequestMoved)
        refused(await decide(client, other, verb, stage), 403, "permission_denied", "role")
        refused(await decide(client, stage.stranger, verb, stage), 403, "permission_denied", "not_participant")
        moved = shaped(await decide(client, person, verb, stage), schemas.HelpRequestMoved)
        assert moved.help_request_status == "open"


async def test_who_closed_reopens(client: MakeClient, stage: Stage) -> None:
    for verb in ("close", "reopen"):
        answer = await client(stage.stranger).post(of(stage.conversation, verb))
        refused(answer, 403, "permission_denied", "not_participant")
    assert shaped(await client(stage.helper).post(of(stage.conversation, "close")), schemas.Done).status == "closed"
    sent = await client(stage.owner).post(of(stage.conversation), json={"content": "Hello?"})
    assert refused(sent, 403, "permission_denied", "not_active").status == "closed"
    again = await client(stage.helper).post(start(stage.request), json={"initial_message": FIRST_WORDS})
    assert str(refused(again, 409, "conversation_exists").conversation_id) == stage.conversation
    refused(await client(stage.owner).post(of(stage.conversation, "reopen")), 403, "permission_denied", "role")
    assert shaped(await client(stage.helper).post(of(stage.conversation, "reopen")), schemas.Done).status == "active"
    sent = await client(stage.owner).post(of(stage.conversation), json={"content": "Hello again."})
    assert shaped(sent, schemas.Sent, 201).seq == 1


async def test_a_member_mutes_archives_finds_and_blocks(client: MakeClient, stage: Stage) -> None:
    owner, helper = client(stage.owner), client(stage.helper)

    async def listed(query: str) -> list[schemas.Conversation]:
        page: schemas.ConversationPage = shaped(
            await owner.get(f"{MESSAGING}/conversations?{query}"), schemas.ConversationPage
        )
        return page.conversations

    until = {"until": "2100-01-01T00:00:00+02:00"}
    muted = shaped(await owner.post(of(stage.conversation, "mute"), json=until), schemas.Muted)
    assert muted.muted_until == datetime(2099, 12, 31, 22, tzinfo=UTC)
    assert shaped(await owner.post(of(stage.conversation, "archive"), json={"archived": True}), schemas.Archived)
    assert [len(await listed(f"filter={one}")) for one in ("all", "unread", "archived")] == [0, 1, 1]
    assert [len(await listed(f"search={words}")) for words in ("HAL", "fríday ten", "nowhere")] == [1, 1, 0]
    for wrong in ("0001-01-01T00:00:00+23:59", "infinity", "2100-01-01T00:00:00", 7):
        answer = await owner.post(of(stage.conversation, "mute"), json={"until": wrong})
        assert set(refused(answer, 400, "validation_error").fields or ()) == {"until"}, wrong

    path = f"/api/blocks/{stage.helper.user_id}"
    assert shaped(await owner.post(path), schemas.Done)
    (block,) = shaped(await owner.get("/api/blocks"), blocks.Blocks).blocks
    assert block.user.user_id == stage.helper.user_id
    assert shaped(await helper.get("/api/blocks"), blocks.Blocks).blocks == []
    assert shaped(await owner.delete(path), schemas.Done)
    assert shaped(await owner.get("/api/blocks"), blocks.Blocks).blocks == []
    refused(await owner.post(f"/api/blocks/{stage.stranger.user_id}"), 404, "not_found")


async def test_a_thread_is_written_paged_and_marked_by_its_two_people(client: MakeClient, stage: Stage) -> None:
    for number in range(1, 6):
        writer = stage.owner if number % 2 else stage.helper
        sent = await client(writer).post(of(stage.conversation), json={"content": f"Line {number}"})
        assert shaped(sent, schemas.Sent, 201).seq == number

    async def page(query: str) -> tuple[list[int], bool]:
        found = shaped(await client(stage.helper).get(f"{of(stage.conversation)}?{query}"), schemas.MessagePage)
        return [message.seq for message in found.messages], found.has_more

    assert await page("") == ([0, 1, 2, 3, 4, 5], False)
    assert await page("limit=2") == ([4, 5], True)
    assert await page("before=4&limit=2") == ([2, 3], True)
    assert await page("before=2&limit=2") == ([0, 1], False)
    assert await page("after=0&limit=2") == ([1, 2], True)
    assert await page("after=-1&limit=100") == ([0, 1, 2, 3, 4, 5], False)
    assert await page("after=5") == ([], False)

    inbox = shaped(await client(stage.owner).get(f"{MESSAGING}/conversations?filter=unread"), schemas.ConversationPage)
    assert [c.unread for c in inbox.conversations] == [3]
    marked = await client(stage.owner).post(of(stage.conversation, "read"), json={"seq": 2_147_483_647})
    assert shaped(marked, schemas.Marked) == schemas.Marked(success=True, last_read_seq=5, unread=0)
    back = await client(stage.owner).post(of(stage.conversation, "read"), json={"seq": 1})
    assert shaped(back, schemas.Marked).last_read_seq == 5
    unread = shaped(await client(stage.owner).get(f"{MESSAGING}/conversations?filter=unread"), schemas.ConversationPage)
    assert unread.conversations == []


async def test_a_thread_is_nobody_elses(client: MakeClient, stage: Stage) -> None:
    stranger = client(stage.stranger)
    refused(await stranger.get(of(stage.conversation)), 404, "not_found")
    for verb, content in (("messages", {"content": "Let me in."}), ("read", {"seq": 0})):
        answer = await stranger.post(of(stage.conversation, verb), json=content)
        refused(answer, 403, "permission_denied", "not_participant")
    assert shaped(await stranger.get(f"{MESSAGING}/conversations"), schemas.ConversationPage).conversations == []


async def test_offers_are_listed_for_the_owner_alone_page_by_page(client: MakeClient, stage: Stage) -> None:
    path = f"{MESSAGING}/help-requests/{stage.request}/conversations"
    for number in range(3):
        helper = await stage.town.member(f"Helper {number}")
        await client(helper).post(start(stage.request), json={"initial_message": FIRST_WORDS})
    found, cursor = [], ""
    while True:
        page = shaped(await client(stage.owner).get(f"{path}?limit=3{cursor}"), schemas.ConversationPage)
        found += [c.other.display_name for c in page.conversations]
        if page.next_cursor is None:
            break
        cursor = f"&cursor={page.next_cursor}"
    assert found == ["Helper 2", "Helper 1", "Helper 0", "Hal"]
    for person in (stage.helper, stage.stranger):
        refused(await client(person).get(path), 404, "not_found")


async def test_a_request_is_asked_rewritten_ended_and_opened_by_its_owner(client: MakeClient, town: Town) -> None:
    owner, other = await town.member("Olga"), await town.member("Sam")
    made = shaped(await client(owner).post(REQUESTS, json=ASK), schemas.HelpRequestMoved, 201)
    one = f"{REQUESTS}/{made.help_request_id}"
    seen = shaped(await client(other).get(one), schemas.HelpRequestAnswer).help_request
    assert (seen.title, seen.status, seen.is_mine, seen.urgency) == (ASK["title"], "open", False, "normal")
    for method, path, body in (
        ("PUT", one, ASK),
        ("POST", f"{one}/cancel", None),
        ("POST", f"{one}/complete", None),
        ("POST", f"{one}/reopen", None),
    ):
        refused(await client(other).request(method, path, json=body), 403, "permission_denied", "role")
    changed = await client(owner).put(one, json={**ASK, "title": "  Coffee, not tea  ", "urgency": "urgent"})
    assert shaped(changed, schemas.HelpRequestMoved).status == "open"
    seen = shaped(await client(owner).get(one), schemas.HelpRequestAnswer).help_request
    assert (seen.title, seen.urgency, seen.is_mine) == ("Coffee, not tea", "urgent", True)
    assert refused(await client(owner).post(f"{one}/complete"), 409, "conflict", "state").status == "open"
    ended = await client(owner).post(f"{one}/cancel", json={"reason": "My sister comes."})
    assert shaped(ended, schemas.HelpRequestMoved).status == "cancelled"
    refused(await client(owner).put(one, json=ASK), 409, "conflict", "state")
    assert shaped(await client(owner).post(f"{one}/reopen"), schemas.HelpRequestMoved).status == "open"
    assert shaped(await client(owner).post(f"{one}/cancel"), schemas.HelpRequestMoved).status == "cancelled"


async def test_a_request_in_progress_is_completed_by_its_owner(client: MakeClient, stage: Stage) -> None:
    await decide(client, stage.owner, "accept-offer", stage)
    one = f"{REQUESTS}/{stage.request}"
    refused(await client(stage.helper).post(f"{one}/complete"), 403, "permission_denied", "role")
    assert shaped(await client(stage.owner).post(f"{one}/complete"), schemas.HelpRequestMoved).status == "completed"


async def test_requests_are_browsed_by_page_filter_and_words(client: MakeClient, town: Town) -> None:
    owner, other = await town.member("Olga"), await town.member("Sam")
    for title, urgency in (("A ride to town", "normal"), ("Soup for a week", "urgent"), ("A ride home", "critical")):
        await client(owner).post(REQUESTS, json={**ASK, "title": title, "urgency": urgency})

    async def titles(query: str, person: Person = other) -> list[str]:
        found = shaped(await client(person).get(f"{REQUESTS}?{query}"), schemas.HelpRequestPage)
        return [r.title for r in found.help_requests]

    assert await titles("") == ["A ride home", "Soup for a week", "A ride to town"]
    assert await titles("search=ride") == ["A ride home", "A ride to town"]
    assert await titles("urgency=urgent&category=social-companionship") == ["Soup for a week"]
    assert await titles("status=completed") == []
    assert await titles("mine=true") == []
    assert len(await titles("mine=true", owner)) == 3
    first = shaped(await client(other).get(f"{REQUESTS}?limit=2"), schemas.HelpRequestPage)
    assert await titles(f"limit=2&cursor={first.next_cursor}") == ["A ride to town"]


async def test_features_are_told_to_each_by_their_stage(shared: Care, town: Town) -> None:
    member, coordinator = await town.member("Ann"), await town.member("Cora", coordinator=True)
    for stage, told in (
        ("off", (False, False, False)),
        ("internal", (False, False, True)),
        ("on", (True, True, True)),
        ("percentage:100", (True, True, True)),
        ("percentage:0", (False, False, True)),
    ):
        node = services_for(shared, messaging_v2_rollout=stage)
        async with browser(node, town) as client:
            found = [
                shaped(await client.get("/api/features", headers=headers), health.Features).messaging_v2
                for headers in ({}, bearer(member), bearer(coordinator))
            ]
        assert tuple(found) == told, stage
        await node.close()


async def test_ones_own_account_in_its_declared_shape(services: Services, town: Town) -> None:
    coordinator = await town.member("Cora", coordinator=True)
    await town.restrict(coordinator, "suspended", why="A test of the rules")
    async with browser(services, town) as client:
        me = shaped(await client.get("/api/auth/me", headers=bearer(coordinator)), schemas.Me)
    assert (me.user_id, me.is_coordinator, me.is_operator) == (coordinator.user_id, True, False)
    assert me.restriction is not None
    assert (me.restriction.kind, me.restriction.why) == ("suspended", "A test of the rules")
    assert me.restriction.until is not None
    assert me.community.id == UUID(str(town.community_id))


async def test_a_restriction_says_why_and_until_when(client: MakeClient, stage: Stage) -> None:
    await stage.town.restrict(stage.helper, "suspended", why="Sent adverts")
    answer = await client(stage.helper).post(of(stage.conversation), json={"content": "Hello"})
    told = refused(answer, 403, "permission_denied", "restricted")
    assert (told.restriction, told.why) == ("suspended", "Sent adverts")
    assert told.until is not None


async def test_a_used_up_limit_says_when_again(client: MakeClient, town: Town) -> None:
    tight = await town.care.town(limits={"messages_per_minute": 2})
    stage = await staged(tight, client)
    caller = client(stage.helper)
    answers = [await caller.post(of(stage.conversation), json={"content": f"Line {n}"}) for n in range(3)]
    assert [a.status_code for a in answers] == [201, 201, 429]
    told = refused(answers[-1], 429, "rate_limited")
    assert answers[-1].headers["retry-after"] == str(told.retry_after)
    assert 0 < (told.retry_after or 0) <= 60
