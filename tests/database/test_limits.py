"""contract.md, limits: who has used theirs up waits, and nothing else uses any."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from database.steps import Engine, Stage, code, legacy_steps, nowhere
from harness import FIRST_WORDS, Person, Town

pytestmark = pytest.mark.alike


async def use(person: Person, kind: str, used: int, *, ago: str = "1 minute") -> None:
    """Sets a member's counter, the window having begun so long ago."""
    await person.town.care.owner.execute(
        "insert into care.rate_counters (community_id, user_id, kind, window_start, used) "
        "values ($1, $2, $3, now() - $5::text::interval, $4) "
        "on conflict on constraint rate_counters_pkey do update set used = $4, window_start = excluded.window_start",
        person.town.community_id, person.user_id, kind, used, ago,
    )  # fmt: skip


async def used(person: Person, kind: str) -> int:
    """What the counter stands at."""
    value = await person.town.care.owner.fetchval(
        "select used from care.rate_counters where community_id = $1 and user_id = $2 and kind = $3",
        person.town.community_id, person.user_id, kind,
    )  # fmt: skip
    return int(value or 0)


async def test_the_eleventh_conversation_in_an_hour_waits(town: Town, engine: Engine) -> None:
    owner, helper = await town.member(), await town.member()
    for _ in range(10):
        await engine.opened(helper, await town.request(owner))
    request = await town.request(owner)
    answer = await engine.offer(helper, request)
    assert code(answer) == "rate_limited"
    assert 3500 < answer["retry_after"] <= 3600
    assert await used(helper, "conversations") == 10
    # Another member, and another limit, are not touched by it.
    assert (await engine.offer(await town.member(), request))["success"]
    mine = (await helper.call("list_conversations"))["conversations"][0]["id"]
    assert (await helper.send(mine, "Still talking"))["success"]
    # The hour passes.
    await use(helper, "conversations", 10, ago="59 minutes 40 seconds")
    assert 1 <= (await engine.offer(helper, request))["retry_after"] <= 20
    await use(helper, "conversations", 10, ago="1 hour")
    assert (await engine.offer(helper, request))["success"]
    assert await used(helper, "conversations") == 1


async def test_refusals_replays_and_existing_conversations_use_nothing(town: Town, engine: Engine) -> None:
    owner, helper = await town.member(), await town.member()
    request, ended = await town.request(owner), await town.request(owner, status="completed")
    assert (await engine.offer(helper, request, key="k"))["success"]
    assert await used(helper, "conversations") == 1
    for answer in (
        await engine.offer(helper, request, key="k"),
        await engine.offer(helper, request, "Other words than these", key="k"),
        await engine.offer(helper, request),
        await engine.offer(helper, ended),
        await engine.offer(helper, nowhere()),
        await engine.offer(helper, request, "short"),
        await engine.offer(helper, await town.request(helper)),
    ):
        assert code(answer) != "rate_limited"
    assert await used(helper, "conversations") == 1
    # Past the limit what is there is still found, and the first answer still given.
    await use(helper, "conversations", 10)
    assert code(await engine.offer(helper, request)) == "conversation_exists"
    assert (await engine.offer(helper, request, key="k"))["success"]


async def test_an_opening_in_v1_is_counted_once_whatever_its_retries(town: Town) -> None:
    owner, helper = await town.member(), await town.member()
    request = await town.request(owner)
    await legacy_steps(helper, request, steps=1)
    await legacy_steps(helper, request, steps=2)
    await legacy_steps(helper, request)
    assert await used(helper, "conversations") == 1


async def stockpile(helper: Person, owner: Person, count: int, *, ago: str) -> list[UUID]:
    """Requests on which the helper left orphans in V1, after two of the steps, in a window that began so long ago."""
    requests = [await helper.town.request(owner) for _ in range(count)]
    for request in requests:
        assert "recipient_id" in await legacy_steps(helper, request, steps=2)
    execute, mine = helper.town.care.owner.execute, (helper.town.community_id, helper.user_id, ago)
    await execute(
        "update public.conversations set created_at = created_at - $3::text::interval "
        "where community_id = $1 and created_by = $2 and last_seq < 0", *mine
    )  # fmt: skip
    await execute(
        "update care.rate_counters set window_start = window_start - $3::text::interval "
        "where community_id = $1 and user_id = $2", *mine
    )  # fmt: skip
    return requests


async def last_step(helper: Person, request: UUID) -> dict[str, Any]:
    """Step three alone, on the orphan of a request."""
    conversation, recipient = await helper.town.care.owner.fetchrow(
        "select id, requester_id from public.conversations where help_request_id = $1 and created_by = $2",
        request, helper.user_id,
    )  # fmt: skip
    return await helper.call("legacy_write_first_message", conversation_id=conversation, recipient_id=recipient,
                             content=FIRST_WORDS)  # fmt: skip


@pytest.mark.parametrize("way", ["v1", "v2", "last step"])
async def test_orphans_of_earlier_hours_are_first_messages_of_this_hour(town: Town, way: str) -> None:
    owner, helper = await town.member(), await town.member()
    requests = await stockpile(helper, owner, 10, ago="2 hours") + await stockpile(helper, owner, 3, ago="1 hour")

    async def complete(request: UUID) -> dict[str, Any]:
        return await (last_step(helper, request) if way == "last step" else Engine(way).offer(helper, request))

    answers = [await complete(request) for request in requests]
    assert [code(a) for a in answers] == ["success"] * 10 + ["rate_limited"] * 3
    assert 3500 < answers[-1]["retry_after"] <= 3600
    assert await used(helper, "conversations") == 10
    assert await town.count("public.messages", "seq = 0") == 10
    # The refused ones are left as they were, and completed in their turn.
    await use(helper, "conversations", 10, ago="1 hour")
    assert [code(await complete(request)) for request in requests[10:]] == ["success"] * 3
    assert await used(helper, "conversations") == 3
    assert await town.care.violations(town.community_id) == []


async def test_an_old_orphan_is_counted_anew_once_whatever_its_retries(town: Town) -> None:
    owner, helper = await town.member(), await town.member()
    (request,) = await stockpile(helper, owner, 1, ago="1 hour")
    await use(helper, "conversations", 8)
    await legacy_steps(helper, request, steps=1)
    assert await used(helper, "conversations") == 9
    assert (await helper.offer_v2(await town.request(owner)))["success"]
    # It was counted within this window: the steps that are left use nothing, even with the limit used up.
    await legacy_steps(helper, request, steps=2)
    assert (await last_step(helper, request))["success"]
    assert await used(helper, "conversations") == 10


async def test_the_hour_may_end_between_the_steps_of_v1(town: Town) -> None:
    owner, helper = await town.member(), await town.member()
    request = await town.request(owner)
    await legacy_steps(helper, request, steps=2)
    await use(helper, "conversations", 10, ago="1 hour")
    assert (await last_step(helper, request))["success"]
    assert await used(helper, "conversations") == 1


async def test_the_51st_message_in_a_minute_waits(stage: Stage) -> None:
    await use(stage.helper, "messages", 49, ago="30 seconds")
    assert (await stage.helper.send(stage.conversation, "The fiftieth", key="k"))["success"]
    answer = await stage.helper.send(stage.conversation, "One more")
    assert code(answer) == "rate_limited"
    assert 25 <= answer["retry_after"] <= 30
    assert (await stage.helper.send(stage.conversation, "The fiftieth", key="k"))["success"]
    assert (await stage.owner.send(stage.conversation, "Mine is not used up"))["success"]
    assert await used(stage.helper, "messages") == 50
    await use(stage.helper, "messages", 50, ago="1 minute")
    assert (await stage.helper.send(stage.conversation, "A minute later"))["success"]


async def test_refused_messages_use_nothing(stage: Stage) -> None:
    stranger = await stage.town.member()
    await stage.helper.send(stage.conversation, " ")
    await stage.helper.send(nowhere(), "To nobody")
    await stranger.send(stage.conversation, "To strangers")
    await stage.owner.call("close_conversation", conversation_id=stage.conversation)
    await stage.helper.send(stage.conversation, "Too late")
    assert await used(stage.helper, "messages") == 0
    assert await used(stranger, "messages") == 0


async def test_the_eleventh_request_for_help_in_a_day_waits(stage: Stage) -> None:
    owner, ask = stage.owner, {"title": "A lift to the doctor", "category": "other"}
    await use(owner, "requests", 9, ago="23 hours")
    assert (await owner.call("create_help_request", key="k", **ask))["success"]
    # What is refused or replayed uses nothing, and what is wrong is told before the limit.
    assert (await owner.call("create_help_request", key="k", **ask))["success"]
    assert code(await owner.call("create_help_request", **{**ask, "title": "Lift"})) == "validation_error"
    answer = await owner.call("create_help_request", **ask)
    assert code(answer) == "rate_limited"
    assert 3500 < answer["retry_after"] <= 3600
    assert await used(owner, "requests") == 10
    # Another member, offers and changes of what there is are not touched by it.
    assert (await stage.helper.call("create_help_request", **ask))["success"]
    changed = await owner.call("update_help_request", help_request_id=stage.open_request, **ask)
    assert changed["success"]
    await use(owner, "requests", 10, ago="1 day")
    assert (await owner.call("create_help_request", **ask))["success"]


async def test_a_limited_member_writes_ten_a_day(stage: Stage) -> None:
    await stage.town.restrict(stage.helper, "limited")
    await use(stage.helper, "messages_limited", 9, ago="23 hours")
    assert (await stage.helper.send(stage.conversation, "The tenth"))["success"]
    answer = await stage.helper.send(stage.conversation, "The eleventh")
    assert code(answer) == "rate_limited"
    assert 3500 < answer["retry_after"] <= 3600
    assert (await stage.owner.send(stage.conversation, "Not limited"))["success"]
    assert await used(stage.owner, "messages_limited") == 0
    await use(stage.helper, "messages_limited", 10, ago="1 day")
    assert (await stage.helper.send(stage.conversation, "The next day"))["success"]


async def test_pages_of_an_export_come_a_hundred_an_hour_to_the_banned_too(stage: Stage) -> None:
    await stage.town.restrict(stage.helper, "banned")
    await use(stage.helper, "exports", 98, ago="10 minutes")
    cursor = f"{stage.conversation}.0"
    for page in (None, cursor):
        assert (await stage.helper.call("export_my_data", cursor=page))["success"]
    answers = [await stage.helper.call("export_my_data", cursor=page) for page in (None, cursor)]
    assert [code(answer) for answer in answers] == ["rate_limited"] * 2
    assert 2900 < answers[0]["retry_after"] <= 3000
    assert code(await stage.helper.call("export_my_data", cursor="1.2")) == "validation_error"
    assert await used(stage.helper, "exports") == 100
    assert (await stage.owner.call("export_my_data"))["success"]


@pytest.mark.parametrize("limit", [0, 1, 3])
async def test_a_community_sets_its_own_limits(town: Town, limit: int) -> None:
    own = await town.care.town(limits={"conversations_per_hour": limit, "requests_per_day": limit})
    owner, helper = await own.member(), await own.member()
    expected = ["success"] * limit + ["rate_limited"] * (4 - limit)
    assert [code(await helper.offer_v2(await own.request(owner))) for _ in range(4)] == expected
    ask = {"title": "A lift to the doctor", "category": "other"}
    assert [code(await owner.call("create_help_request", **ask)) for _ in range(4)] == expected
    await use(helper, "conversations", 0, ago="2 hours")
    await own.care.owner.execute("update public.communities set settings = '{}' where id = $1", own.community_id)
    assert (await helper.offer_v2(await own.request(owner)))["success"]


async def test_concurrent_offers_of_one_member_do_not_pass_the_limit(town: Town, engine: Engine) -> None:
    owner, helper = await town.member(), await town.member()
    requests = [await town.request(owner) for _ in range(14)]
    answers = await asyncio.gather(*(engine.offer(helper, request) for request in requests))
    assert sorted(code(a) for a in answers) == ["rate_limited"] * 4 + ["success"] * 10
    assert await town.care.violations(town.community_id) == []


async def test_a_limit_that_cannot_be_read_refuses(town: Town, engine: Engine) -> None:
    own = await town.care.town(limits={"conversations_per_hour": "many"})
    owner, helper = await own.member(), await own.member()
    answer = await engine.offer(helper, await own.request(owner), FIRST_WORDS)
    assert code(answer) == "server_error"
    assert "many" not in str(answer)
    assert await own.count("public.conversations") + await own.count("public.conversations_v2") == 0
