"""What a serving process removes by itself."""

import asyncio

from care_collective.operations.upkeep import keep_pruned
from harness import Care


async def test_keys_past_their_day_and_expired_sessions_go_and_the_others_stay(scratch: Care) -> None:
    town = await scratch.town()
    owner = await town.member("Olga")
    for key in ("old", "new"):
        await owner.call("create_help_request", key=key, title=f"Help with {key}", category="other")
    await scratch.owner.execute(
        "update care.idempotency_keys set created_at = now() - interval '26 hours' where key = 'old'"
    )
    await scratch.owner.execute(
        "insert into care.sessions (id_hash, user_id, community_id, expires_at) "
        "select sha256(age::bytea), $1, $2, now() + age::interval from unnest(array['-1 hour', '1 hour']) as age",
        owner.user_id,
        town.community_id,
    )

    upkeep = asyncio.create_task(keep_pruned(scratch.database, every_seconds=0.01))
    async with asyncio.timeout(10):
        while await scratch.owner.fetchval("select count(*) from care.sessions") > 1:  # noqa: ASYNC110  rows, no event
            await asyncio.sleep(0.01)
    upkeep.cancel()

    assert await scratch.owner.fetchval("select string_agg(key, ',') from care.idempotency_keys") == "new"
    assert await scratch.owner.fetchval("select count(*) from care.sessions where expires_at > now()") == 1
