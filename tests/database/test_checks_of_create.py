"""contract.md section 3: the order of checks when help is offered, in the first call of each engine."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any
from uuid import UUID

import pytest

from database.steps import V1, V2, Engine, code, contents, legacy_steps, nowhere
from harness import FIRST_WORDS, Person, Town

pytestmark = pytest.mark.alike


@dataclass(slots=True)
class Offer:
    """An offer about to be made: sound, until one or more reasons against it are added."""

    town: Town
    owner: Person
    helper: Person
    request: UUID
    words: str = FIRST_WORDS
    key: str | None = None
    claimed: Person | None = field(default=None)


async def sound(town: Town) -> Offer:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    return Offer(town, owner, helper, await town.request(owner))


async def not_identified(offer: Offer) -> None:
    await offer.town.care.owner.execute(
        "update public.profiles set deleted_at = now() where user_id = $1", offer.helper.user_id
    )


async def not_approved(offer: Offer) -> None:
    await offer.town.care.owner.execute(
        "update public.profiles set verification_status = 'pending' where user_id = $1", offer.helper.user_id
    )


async def restricted(offer: Offer) -> None:
    await offer.town.restrict(offer.helper, "suspended")


async def key_taken(offer: Offer) -> None:
    offer.key = "taken"
    await offer.town.care.owner.execute(
        "insert into care.idempotency_keys (community_id, user_id, key, fingerprint, answer) "
        "values ($1, $2, 'taken', 'x', '{}')",
        offer.town.community_id, offer.helper.user_id,
    )  # fmt: skip


async def blank(offer: Offer) -> None:
    offer.words = " \u200b\u2800\n" * 5


async def no_such_request(offer: Offer) -> None:
    # A blocked pair's request and a foreign one answer as this one does; see below.
    offer.request = nowhere()


async def own_request(offer: Offer) -> None:
    if await is_there(offer):
        await offer.town.care.owner.execute(
            "update public.help_requests set user_id = $1 where id = $2", offer.helper.user_id, offer.request
        )


async def already_there(offer: Offer) -> None:
    if await is_there(offer):
        await offer.town.care.owner.execute(
            "insert into public.conversations_v2 "
            "(community_id, help_request_id, requester_id, helper_id, initial_message) values ($1, $2, $3, $4, $5)",
            offer.town.community_id, offer.request, offer.owner.user_id, offer.helper.user_id, FIRST_WORDS,
        )  # fmt: skip


async def ended(offer: Offer) -> None:
    await offer.town.care.owner.execute(
        "update public.help_requests set status = 'completed' where id = $1", offer.request
    )


async def used_up(offer: Offer) -> None:
    await offer.town.care.owner.execute(
        "insert into care.rate_counters (community_id, user_id, kind, window_start, used) "
        "values ($1, $2, 'conversations', now(), 10)",
        offer.town.community_id, offer.helper.user_id,
    )  # fmt: skip


async def is_there(offer: Offer) -> bool:
    return bool(await offer.town.count("public.help_requests", f"id = '{offer.request}'"))


# In the order of the contract.
CHECKS: list[tuple[str, Callable[[Offer], Awaitable[None]]]] = [
    ("permission_denied/identity", not_identified),
    ("permission_denied/not_approved", not_approved),
    ("permission_denied/restricted", restricted),
    ("idempotency_mismatch", key_taken),
    ("validation_error", blank),
    ("not_found", no_such_request),
    ("validation_error/own_request", own_request),
    ("conversation_exists", already_there),
    ("help_request_unavailable", ended),
    ("rate_limited", used_up),
]


async def make(engine: Engine, offer: Offer) -> dict[str, Any]:
    answer = await engine.first(offer.helper, offer.request, offer.words, key=offer.key)
    return json.loads(answer.text)  # type: ignore[no-any-return]


async def test_each_check_refuses_alone_and_writes_nothing(town: Town, engine: Engine) -> None:
    for expected, spoil in CHECKS:
        offer = await sound(town)
        await spoil(offer)
        before = await contents(town.care)
        assert code(await make(engine, offer)) == expected
        assert await contents(town.care) == before, expected
    assert code(await make(engine, await sound(town))) == "success"


async def test_each_check_wins_over_every_later_one(town: Town, engine: Engine) -> None:
    for (first, spoil), (later, spoil_too) in combinations(CHECKS, 2):
        offer = await sound(town)
        # The later one first, so that the earlier one finds its rows as it needs them.
        await spoil_too(offer)
        await spoil(offer)
        assert code(await make(engine, offer)) == first, f"{first} against {later}"


async def test_a_block_in_either_direction_hides_the_request(town: Town, engine: Engine) -> None:
    for turn in (0, 1):
        offer = await sound(town)
        pair = (offer.owner, offer.helper) if turn else (offer.helper, offer.owner)
        await town.block(*pair)
        hidden = await make(engine, offer)
        offer.request = nowhere()
        assert hidden == await make(engine, offer)
        assert hidden["error"] == "not_found"


async def test_a_block_after_an_offer_leads_to_the_conversation_that_looks_closed(town: Town, engine: Engine) -> None:
    offer = await sound(town)
    conversation = await engine.opened(offer.helper, offer.request)
    await town.block(offer.owner, offer.helper)
    for asked in (V1, V2):
        answer = await make(asked, offer)
        assert (answer["error"], answer["conversation_id"], answer["status"]) == (
            "conversation_exists", str(conversation), "closed",
        )  # fmt: skip


@pytest.mark.parametrize("status", ["open", "in_progress", "completed", "cancelled", "closed"])
async def test_what_there_is_already_is_named_whatever_became_of_the_request(
    town: Town, engine: Engine, status: str
) -> None:
    offer = await sound(town)
    conversation = await engine.opened(offer.helper, offer.request)
    await town.care.owner.execute(
        "update public.help_requests set status = $1, helper_id = $2 where id = $3",
        status, offer.helper.user_id, offer.request,
    )  # fmt: skip
    for held in ("active", "held", "declined", "closed"):
        await town.care.owner.execute(
            f"update {engine.conversations} set status = $1 where id = $2", held, conversation
        )
        for asked in (V1, V2):
            answer = await make(asked, offer)
            assert (answer["error"], answer["conversation_id"], answer["status"]) == (
                "conversation_exists", str(conversation), held,
            )  # fmt: skip


@pytest.mark.parametrize("status", ["open", "in_progress", "completed", "cancelled", "closed"])
async def test_offers_are_taken_while_open_or_in_progress(town: Town, engine: Engine, status: str) -> None:
    owner, helper = await town.member(), await town.member()
    request = await town.request(owner, status=status)
    expected = "success" if status in ("open", "in_progress") else "help_request_unavailable"
    assert code(await engine.offer(helper, request)) == expected
    assert await town.care.violations(town.community_id) == []


@pytest.mark.parametrize("steps", [1, 2])
async def test_an_orphan_does_not_count_and_is_completed_by_either_engine(
    town: Town, engine: Engine, steps: int
) -> None:
    offer = await sound(town)
    left = await legacy_steps(offer.helper, offer.request, steps=steps)
    assert await town.care.violations(town.community_id) == [("orphan", "v1")]
    # The orphan used the member's last offer of the hour; completing it uses nothing.
    await town.care.owner.execute("update care.rate_counters set used = 10 where user_id = $1", offer.helper.user_id)

    other_words = f"{FIRST_WORDS} Shall I?"
    if engine is V2:
        answer = await V2.first(offer.helper, offer.request, other_words)
        assert answer.headers == {"Conversation-Version": "v1"}
        done = answer.data()
        assert set(done) == {"success", "conversation_id", "message"}
    else:
        done = await legacy_steps(offer.helper, offer.request, other_words)
    assert done["conversation_id"] == left["conversation_id"]

    assert await town.care.violations(town.community_id) == []
    assert await town.count("public.conversations_v2") == 0
    assert await town.count("public.messages", f"seq = 0 and content = '{other_words}'") == 1
    assert await town.count("care.outbox", "topic = 'conversation.opened'") == 1
    assert await town.count("care.rate_counters", "used = 10") == 1
    assert code(await V2.offer(offer.helper, offer.request)) == "conversation_exists"


async def test_an_orphan_is_not_completed_on_a_request_that_has_ended_or_hides(town: Town, engine: Engine) -> None:
    offer = await sound(town)
    await legacy_steps(offer.helper, offer.request, steps=2)
    await ended(offer)
    assert code(await engine.offer(offer.helper, offer.request)) == "help_request_unavailable"
    await town.block(offer.owner, offer.helper)
    assert code(await engine.offer(offer.helper, offer.request)) == "not_found"
    assert await town.count("public.messages") == 0


async def test_one_conversation_per_helper_and_request_across_both_engines(town: Town) -> None:
    for first, second in ((V1, V2), (V2, V1)):
        offer = await sound(town)
        conversation = await first.opened(offer.helper, offer.request)
        answer = await second.offer(offer.helper, offer.request)
        assert (answer["error"], answer["conversation_id"]) == ("conversation_exists", str(conversation))
        # Another helper has a conversation of their own.
        assert await second.opened(await town.member(), offer.request) != conversation
    assert await town.care.violations(town.community_id) == []
