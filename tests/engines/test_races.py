"""Many calls at once: whoever comes second is told so, and nothing is done twice or after its end."""

import asyncio
import json
from collections import Counter
from uuid import uuid4

import pytest

from engines.stage import held, rounds
from harness import FIRST_WORDS, Person, Town

WIDE = {"limits": {"conversations_per_hour": 1_000_000, "messages_per_minute": 1_000_000}}
TAPS = 16


async def members(town: Town, count: int) -> list[Person]:
    """Many approved members at once."""
    people = [Person(town, uuid4(), f"Member {number}") for number in range(count)]
    await town.care.owner.executemany(
        "insert into care.users (id, email) values ($1, $2)", [(p.user_id, f"{p.user_id}@example.org") for p in people]
    )
    await town.care.owner.executemany(
        "insert into public.profiles (community_id, user_id, display_name, verification_status) "
        "values ($1, $2, $3, 'approved')",
        [(town.community_id, p.user_id, p.name) for p in people],
    )
    return people


@pytest.mark.parametrize("keys", ["none", "each its own", "one for all"])
async def test_sixteen_identical_offers_at_once_open_one_conversation(town: Town, keys: str) -> None:
    await town.care.owner.execute(
        "update public.communities set settings = $2 where id = $1", town.community_id, json.dumps(WIDE)
    )
    request = await town.request(await town.member("Olga"))
    facades = [held(town.care, "off"), held(town.care, "on")]
    # CARE_TEST_ROUNDS=2.5 plays the full number of goals.md on the server that is the default, a quarter on the other.
    bare = 400 if town.care.server.version == 18 else 100
    played = await members(town, rounds(bare if keys == "none" else 40))
    answers: Counter[str] = Counter()

    for number, helper in enumerate(played):

        def key(tap: int) -> str | None:
            return {"none": None, "each its own": f"tap-{tap}", "one for all": "tap"}[keys]

        results = await asyncio.gather(
            *(
                facades[(number + tap) % 2].start_help_conversation(helper.caller(key(tap)), request, FIRST_WORDS)
                for tap in range(TAPS)
            )
        )
        first = {r.conversation_id for r in results if r.success and not r.replayed}
        assert len(first) == 1
        assert {r.conversation_id for r in results} == first
        answers.update("replayed" if r.replayed else str(r.error or "success") for r in results)

    rest = "replayed" if keys == "one for all" else "conversation_exists"
    assert answers == {"success": len(played), rest: len(played) * (TAPS - 1)}
    assert await town.count("care.outbox", "topic = 'conversation.opened'") == len(played)
    assert await town.care.violations(town.community_id) == []
