"""What a serving process removes by itself."""

import asyncio

from care_collective.db.migrate import migrate
from care_collective.operations.upkeep import keep_pruned
from harness import Care

BATCH = 10_000
TABLES = ("care.idempotency_keys", "care.sessions", "care.sign_in_attempts")


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
    async with asyncio.timeout(30):
        while await scratch.owner.fetchval("select count(*) from care.sessions") > 1:  # noqa: ASYNC110  rows, no event
            await asyncio.sleep(0.01)
    upkeep.cancel()

    assert await scratch.owner.fetchval("select string_agg(key, ',') from care.idempotency_keys") == "new"
    assert await scratch.owner.fetchval("select count(*) from care.sessions where expires_at > now()") == 1


async def _stale(care: Care, count: int) -> None:
    """So many rows in each table that are past their time, and one that is not."""
    town = await care.town()
    member = await town.member()
    execute, ids = care.owner.execute, (town.community_id, member.user_id)
    await execute(
        "insert into care.idempotency_keys (community_id, user_id, key, fingerprint, answer, created_at) "
        "select $1, $2, n::text, '', '{}', now() - case n when 0 then '1 hour' else '26 hours' end::interval "
        "from generate_series(0, $3::integer) as n", *ids, count
    )  # fmt: skip
    await execute(
        "insert into care.sessions (community_id, user_id, id_hash, expires_at) "
        "select $1, $2, sha256(n::text::bytea), now() + case n when 0 then '1 hour' else '-1 hour' end::interval "
        "from generate_series(0, $3::integer) as n", *ids, count
    )  # fmt: skip
    await execute(
        "insert into care.sign_in_attempts (account, address, window_start, used) "
        "select n::text, '', now() - case n when 0 then '1 hour' else '26 hours' end::interval, 1 "
        "from generate_series(0, $1::integer) as n", count
    )  # fmt: skip


async def _left(care: Care) -> list[int]:
    return [await care.owner.fetchval(f"select count(*) from {table}") for table in TABLES]


async def test_one_call_removes_no_more_than_a_batch_of_each_table_and_says_how_many(scratch: Care) -> None:
    await _stale(scratch, BATCH + 5)
    assert await scratch.database.value("care.prune") == 3 * BATCH
    assert await _left(scratch) == [6, 6, 6]
    assert await scratch.database.value("care.prune") == 3 * 5
    assert await scratch.database.value("care.prune") == 0
    assert await _left(scratch) == [1, 1, 1]


async def test_more_than_a_batch_is_gone_within_one_round(scratch: Care) -> None:
    await _stale(scratch, 2 * BATCH + 5)
    upkeep = asyncio.create_task(keep_pruned(scratch.database, every_seconds=3600, pause_seconds=0.01))
    async with asyncio.timeout(30):
        while await _left(scratch) != [1, 1, 1]:  # noqa: ASYNC110  rows, no event
            await asyncio.sleep(0.05)
    upkeep.cancel()


async def test_rows_that_another_node_removes_are_left_to_it(scratch: Care) -> None:
    await _stale(scratch, 5)
    other = await scratch.connect("care_app")
    async with other.transaction():
        assert await other.fetchval("select care.prune()") == 3 * 5
        assert await scratch.database.value("care.prune") == 0
    await other.close()
    assert await _left(scratch) == [1, 1, 1]


async def test_the_audit_log_goes_after_thirteen_months(scratch: Care) -> None:
    await scratch.owner.execute(
        "insert into care.audit_log (at, actor, action, allowed) "
        "select now() - age::interval, 'olga', age, true from unnest(array['14 months', '12 months']) as age"
    )
    assert await scratch.database.value("care.prune") == 1
    assert await scratch.owner.fetchval("select string_agg(action, ',') from care.audit_log") == "12 months"


async def test_a_database_whose_pruning_answered_nothing_is_migrated(scratch: Care) -> None:
    connection = await scratch.connect()
    await connection.execute(
        "set role care_owner; drop function care.prune(); "
        "create function care.prune() returns void language plpgsql as 'begin end'; "
        "update care.schema_functions set checksum = 'earlier' where room = 'accounts'; reset role"
    )
    assert (await migrate(connection)).rooms == ("accounts",)
    await connection.close()
    assert await scratch.database.value("care.prune") == 0
