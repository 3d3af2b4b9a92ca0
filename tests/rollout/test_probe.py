"""The probe of both engines, and the check of V2's rows: what the guard finds out by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from care_collective.errors import CareError, Code
from care_collective.messaging import atomic
from harness import FIRST_WORDS, Care, Person
from rollout.conftest import Deployment, make_guard

V2 = "public.create_conversation_atomic(uuid, uuid, text)"
V1 = "public.legacy_write_first_message(uuid, uuid, text)"


@asynccontextmanager
async def broken(deployed: Deployment, *functions: str) -> AsyncIterator[None]:
    """Engines whose functions raise, for as long as the block runs."""
    owner = deployed.care.owner
    before = [str(await owner.fetchval("select pg_get_functiondef($1::text::regprocedure)", f)) for f in functions]
    for text in before:
        await owner.execute(text.replace("\nbegin\n", "\nbegin\n  raise check_violation;\n", 1))
    yield
    for text in before:
        await owner.execute(text)


async def everything(deployed: Deployment) -> dict[str, int]:
    """How many rows each table of ours holds."""
    names = "select schemaname || '.' || tablename from pg_tables where schemaname in ('public', 'care')"
    tables = [row[0] for row in await deployed.care.owner.fetch(names)]
    return {table: await deployed.care.owner.fetchval(f"select count(*) from {table}") for table in tables}


async def probe_again(deployed: Deployment) -> None:
    """Probes as if ten seconds had passed."""
    await deployed.care.owner.execute("update care.rollout_probes set due_at = now()")
    await deployed.guard.probe()


async def counts(deployed: Deployment) -> tuple[int, int]:
    """How often running the probe failed: in V2 alone, and in both."""
    row = await deployed.care.owner.fetchrow("select v2_alone, v1_too from care.rollout_probes")
    return int(row[0]), int(row[1])


async def test_the_probe_leaves_nothing_and_is_nobodys_attempt(deployed: Deployment) -> None:
    await probe_again(deployed)
    before = await everything(deployed)
    for _ in range(12):  # more than a member may open in an hour
        await probe_again(deployed)
    assert await everything(deployed) == before
    assert await deployed.care.owner.fetchval("select count(*) from care.engine_outcomes") == 0
    assert await counts(deployed) == (0, 0)
    assert await deployed.care.owner.fetchval("select probed_at is not null from care.rollout_probes")


async def test_the_probe_is_one_nodes_turn_every_ten_seconds(deployed: Deployment) -> None:
    await deployed.guard.probe()
    first = await deployed.care.owner.fetchrow("select * from care.rollout_probes")
    await deployed.another().probe()
    assert await deployed.care.owner.fetchrow("select * from care.rollout_probes") == first
    left = await deployed.care.owner.fetchval("select extract(epoch from due_at - now()) from care.rollout_probes")
    assert 0 < left <= 10


async def test_what_members_and_communities_are_called_takes_nothing_from_the_probe(scratch: Care) -> None:
    await scratch.owner.execute("insert into public.communities (slug, name) values ('probe', 'Probe Street')")
    await scratch.owner.execute(
        "insert into care.users (email) values ('probe-owner@probe.invalid'), ('probe-helper@probe.invalid')"
    )
    await make_guard(scratch.database).probe()
    row = await scratch.owner.fetchrow("select probed_at is not null, v2_alone, v1_too from care.rollout_probes")
    assert tuple(row) == (True, 0, 0)


async def test_a_clock_that_was_set_back_stops_neither_probe_nor_check(deployed: Deployment) -> None:
    for table in ("rollout_probes", "rollout_checks"):
        await deployed.care.owner.execute(f"update care.{table} set due_at = now() + interval '1 day'")
    await deployed.guard.probe()
    await deployed.guard.look()
    for table in ("rollout_probes", "rollout_checks"):
        assert await deployed.care.owner.fetchval(f"select due_at < now() + interval '1 minute' from care.{table}")


async def test_v2_failing_three_times_running_while_v1_passes_rolls_back(deployed: Deployment) -> None:
    async with broken(deployed, V2):
        for times in (1, 2):
            await probe_again(deployed)
            assert await counts(deployed) == (times, 0)
            await deployed.guard.look()
            assert await deployed.stopped() is None
        await probe_again(deployed)
        verdict = await deployed.guard.look()
    assert (
        verdict.words == "The probe failed 3 times running in the new engine (server_error), while the old one passed"
    )
    assert await deployed.stopped() == "tripped"


async def test_a_pass_between_failures_begins_the_count_anew(deployed: Deployment) -> None:
    async with broken(deployed, V2):
        await probe_again(deployed)
        await probe_again(deployed)
    await probe_again(deployed)
    assert await counts(deployed) == (0, 0)


async def test_where_both_fail_nothing_is_rolled_back_and_operators_are_warned(deployed: Deployment) -> None:
    async with broken(deployed, V1, V2):
        for _ in range(3):
            await probe_again(deployed)
        assert await counts(deployed) == (0, 3)
        verdict = await deployed.guard.look()
    assert verdict.action == "hold"
    assert await deployed.stopped() is None
    assert [change["why"] for change in await deployed.changes("warn")] == ["probe_both"]


async def test_where_nothing_opens_in_v2_its_failing_probe_is_a_warning(deployed: Deployment) -> None:
    await deployed.care.owner.execute("update care.rollout_flags set stage = 'off'")
    async with broken(deployed, V2):
        for _ in range(3):
            await probe_again(deployed)
        assert (await deployed.guard.look()).action == "warn"
    assert await deployed.stopped() is None


async def test_while_v2_is_stopped_there_is_no_probe(deployed: Deployment) -> None:
    await deployed.care.owner.execute("update care.rollout_flags set stopped = 'killed'")
    await deployed.guard.probe()
    assert await deployed.care.owner.fetchval("select probed_at from care.rollout_probes") is None


async def killed_within(deployed: Deployment) -> None:
    """Ends the backend of a transaction that is to be undone, in the middle of a call."""
    async with deployed.care.database.undone() as undone:
        pid = await undone.value("pg_catalog.pg_backend_pid")
        try:
            await undone.value("pg_catalog.pg_terminate_backend", pid=pid, timeout=1000)
        finally:
            await asyncio.sleep(0.05)  # the pool sees that it is gone


async def test_a_backend_that_is_killed_in_the_probe_is_a_failure_and_no_fault(deployed: Deployment) -> None:
    with pytest.raises(CareError) as fault:
        await killed_within(deployed)
    assert fault.value.code is Code.UNAVAILABLE
    await probe_again(deployed)
    assert await counts(deployed) == (0, 0)


async def test_what_is_undone_is_seen_within_and_by_nobody_else(deployed: Deployment) -> None:
    town = await deployed.care.town()
    owner, helper = await town.member("Olga"), await town.member("Hal")
    request = await town.request(owner)
    database = deployed.care.database
    async with database.undone() as undone:
        first = await atomic.start(undone, helper.caller(), request, FIRST_WORDS)
        assert first.refusal() is None
        second = await atomic.start(undone, helper.caller(), request, FIRST_WORDS)
        assert '"conversation_exists"' in second.text
        assert await town.count("public.conversations_v2") == 0
    assert await town.count("public.conversations_v2") == 0
    assert (await atomic.start(database, helper.caller(), request, FIRST_WORDS)).refusal() is None


# ------------------------------------------------------------------------------------------------------ rows of V2


async def conversation(deployed: Deployment) -> tuple[Person, Person, UUID]:
    """Owner, helper and a conversation of theirs in V2, with three more messages."""
    town = await deployed.care.town()
    owner, helper = await town.member("Olga"), await town.member("Hal")
    opened = UUID((await helper.offer_v2(await town.request(owner)))["conversation_id"])
    for person in (owner, helper, owner):
        await person.send(opened, "When does it suit you?")
    return owner, helper, opened


HARM = {
    "sequence_gap": "update public.conversations_v2 set last_seq = last_seq + 1 where id = $1",
    "unread_sum": "update public.conversation_members set unread = unread + 1 where conversation_id = $1",
    "foreign_message": "update public.messages_v2 set recipient_id = gen_random_uuid() where conversation_id = $1",
    "conversation_without_member": "delete from public.conversation_members where conversation_id = $1",
    "double_pair": (
        "insert into public.conversations (community_id, help_request_id, created_by, requester_id) "
        "select community_id, help_request_id, helper_id, requester_id from public.conversations_v2 where id = $1"
    ),
    "foreign_requester": (
        "update public.help_requests r set user_id = c.helper_id, helper_id = null from public.conversations_v2 c "
        "where c.id = $1 and r.community_id = c.community_id and r.id = c.help_request_id"
    ),
}
MENDED = (
    "delete from public.messages_v2 where conversation_id = $1",
    "delete from public.conversation_members where conversation_id = $1",
    "delete from public.conversations o using public.conversations_v2 c where c.id = $1 and o.created_by = c.helper_id",
    "delete from public.conversations_v2 where id = $1",
)


@pytest.mark.parametrize("kind", HARM)
async def test_a_violation_in_what_was_written_lately_rolls_back_at_once(deployed: Deployment, kind: str) -> None:
    _, _, opened = await conversation(deployed)
    assert (await deployed.guard.look()).action == "hold"
    await deployed.care.owner.execute(HARM[kind], opened)
    await deployed.care.owner.execute("update care.rollout_checks set due_at = now()")
    verdict = await deployed.guard.look()
    assert (verdict.action, verdict.rule) == ("rollback", "violation")
    assert f"{kind} in conversation {opened}" in verdict.words
    assert kind in {found for found, _ in await deployed.care.violations()}  # doctor says the same
    for statement in MENDED:
        await deployed.care.owner.execute(statement, opened)


async def test_a_violation_in_old_rows_is_found_in_turn_and_stays_until_it_is_mended(deployed: Deployment) -> None:
    _, _, opened = await conversation(deployed)
    await deployed.care.owner.execute("update care.outbox set created_at = created_at - interval '1 hour'")
    await deployed.care.owner.execute(HARM["sequence_gap"], opened)
    past_all = UUID(int=2**128 - 1)
    for place in (None, past_all):  # a round of all rows, and then the suspects alone
        await deployed.care.owner.execute(
            "update care.rollout_checks set due_at = now(), looked_until = now() - interval '20 minutes', "
            "place_community = $1, place = $1",
            place,
        )
        await deployed.guard.look()
        assert await deployed.care.owner.fetchval("select found from care.rollout_checks") == 1
    await deployed.care.owner.execute(
        "update public.conversations_v2 set last_seq = last_seq - 1 where id = $1", opened
    )
    await deployed.care.owner.execute("update care.rollout_checks set due_at = now()")
    await deployed.guard.look()
    assert await deployed.care.owner.fetchval("select found from care.rollout_checks") == 0


async def test_all_rows_have_their_turn_a_hundred_a_look(deployed: Deployment) -> None:
    owner, helper, _ = await conversation(deployed)
    community, execute = owner.town.community_id, deployed.care.owner.execute
    await execute(
        "with r as (insert into public.help_requests (community_id, user_id, title, category) "
        "select $1, $2, 'Groceries on Friday', 'other' from generate_series(1, 150) returning id), "
        "c as (insert into public.conversations_v2 (community_id, help_request_id, requester_id, helper_id, "
        "initial_message) select $1, r.id, $2, $3, 'Hello, I can help.' from r returning id) "
        "insert into public.conversation_members (community_id, conversation_id, user_id, version, last_read_seq, "
        "unread, last_activity_at) select $1, c.id, p.id, 'v2', 0, 0, now() from c, unnest(array[$2, $3]) as p (id)",
        community, owner.user_id, helper.user_id,
    )  # fmt: skip
    await execute("update care.outbox set created_at = created_at - interval '1 hour'")
    last = await deployed.care.owner.fetchval(
        "update public.conversations_v2 set last_seq = 7 where (community_id, id) = "
        "(select community_id, id from public.conversations_v2 order by 1 desc, 2 desc limit 1) returning id"
    )
    found = []
    for _ in range(2):
        await execute("update care.rollout_checks set due_at = now(), looked_until = now() - interval '20 minutes'")
        found.append(await deployed.care.database.value("care.check_rows", p_flag="messaging_v2"))
    assert found == [0, 1]
    await execute("update public.conversations_v2 set last_seq = 0 where id = $1", last)


async def test_v1s_orphans_are_no_violation_of_v2(deployed: Deployment) -> None:
    town = await deployed.care.town()
    owner, helper = await town.member("Olga"), await town.member("Hal")
    request = await town.request(owner)
    await helper.call("legacy_open_conversation", help_request_id=request, initial_message=FIRST_WORDS)
    assert await deployed.care.violations(town.community_id) == [("orphan", "v1")]
    assert (await deployed.guard.look()).action == "hold"
    assert await deployed.stopped() is None
