"""Rules 11, 15, 16 and 17: the shape of tables and functions that keeps them correct, and distributable later."""

import re

import asyncpg
import pytest

from care_collective.db import migrate as runner
from care_collective.db.call import Caller
from database.steps import offered, stage
from harness import Care

# Without a community by contract.md section 2: communities, sign-in, operators, ledgers.
WITHOUT_COMMUNITY = {
    "public.communities", "care.users", "care.credentials", "care.sessions", "care.sign_in_attempts", "care.operators",
    "care.schema_migrations", "care.schema_functions", "care.backups", "care.rollout_flags", "care.rollout_cohort",
    "care.rollout_changes", "care.rollout_nodes", "care.audit_log", "care.rollout_rules", "care.rollout_detectors",
    "care.rollout_episodes", "care.rollout_probes", "care.rollout_checks", "care.engine_outcomes",
    "care.engine_minutes", "care.engine_writers", "care.chores",
}  # fmt: skip
# What looks across communities by its purpose: pruning, health, the relay of hints, the rollout's numbers and guard,
# the end of V1, letters, whether a person is a member anywhere else, what a new password ends;
# and a view over a view, which hands the column on.
ACROSS = {
    "prune", "prune_outbox", "health", "publish_hints", "hints", "rollout_numbers", "check_rows", "shown_messages",
    "prune_notifications", "untold_hints",
    "legacy_batch", "legacy_find", "legacy_orphans", "legacy_quiet_since", "legacy_status",
    "plan_deliveries", "lease_deliveries", "letter_counts", "failed_letters", "retry_deliveries", "prune_deliveries",
    "lives_elsewhere", "forward_pushes", "replace_password", "invite_member",
}  # fmt: skip
PRODUCT_KEYS = (
    "select c.conrelid::regclass::text as relation, c.conname, c.contype::text, c.confdeltype::text, "
    "case when n.nspname = 'public' then 'public.' || t.relname else n.nspname || '.' || t.relname end as name, "
    "(select a.attname from pg_attribute a where a.attrelid = c.conrelid and a.attnum = c.conkey[1]) as first, "
    "(select a.attname from pg_attribute a where a.attrelid = c.confrelid and a.attnum = c.confkey[1]) as refers, "
    "c.confrelid::regclass::text as target "
    "from pg_constraint c join pg_class t on t.oid = c.conrelid join pg_namespace n on n.oid = t.relnamespace "
    "where n.nspname in ('public', 'care') and c.contype in ('p', 'u', 'f', 'c', 'x')"
)


async def test_community_id_leads_every_key_of_every_product_table(shared: Care) -> None:
    tables = {
        row[0]
        for row in await shared.owner.fetch(
            "select schemaname || '.' || tablename from pg_tables where schemaname in ('public', 'care')"
        )
    }
    assert tables >= WITHOUT_COMMUNITY
    for table in tables - WITHOUT_COMMUNITY:
        column = await shared.owner.fetchrow(
            "select a.atttypid::regtype::text as type, a.attnotnull from pg_attribute a "
            "where a.attrelid = $1::text::regclass and a.attname = 'community_id'",
            table,
        )
        assert column is not None, table
        assert (column["type"], column["attnotnull"]) == ("uuid", True), table
        assert await shared.owner.fetchval(
            "select count(*) from pg_constraint where conrelid = $1::text::regclass and contype = 'p'", table
        ), f"{table} has no primary key"

    for key in await shared.owner.fetch(PRODUCT_KEYS):
        if key["name"] in WITHOUT_COMMUNITY or key["contype"] in ("c", "x"):
            continue
        assert key["first"] == "community_id", key["conname"]
        if key["contype"] == "f":
            # communities is a reference table; every other target is led by its community too.
            assert key["refers"] == ("id" if key["target"] == "communities" else "community_id"), key["conname"]

    unique = await shared.owner.fetch(
        "select i.indexrelid::regclass::text as index, a.attname, n.nspname || '.' || t.relname as name "
        "from pg_index i join pg_class t on t.oid = i.indrelid join pg_namespace n on n.oid = t.relnamespace "
        "left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0] "
        "where i.indisunique and n.nspname in ('public', 'care')"
    )
    wrong = [u["index"] for u in unique if u["name"] not in WITHOUT_COMMUNITY and u["attname"] != "community_id"]
    assert wrong == []


async def test_every_constraint_is_named_by_us_and_nothing_is_deleted_by_cascade(shared: Care) -> None:
    constraints = await shared.owner.fetch(PRODUCT_KEYS)
    text = "".join(migration.text for migration in runner.migrations()) + runner._LEDGER
    for constraint in constraints:
        assert re.search(rf"\bconstraint {constraint['conname']}\b", text), constraint["conname"]
        if constraint["contype"] == "f":
            assert constraint["confdeltype"] == "a", constraint["conname"]
    # A constraint without our name in the text would be in the catalogue under PostgreSQL's.
    assert not re.search(r"\b(cascade|set null)\b", text)


async def test_there_are_no_triggers_sequences_identities_or_rules(shared: Care) -> None:
    ours = "(select oid from pg_class where relnamespace in ('public'::regnamespace, 'care'::regnamespace))"
    assert await shared.owner.fetch(f"select tgname from pg_trigger where tgrelid in {ours} and not tgisinternal") == []
    assert await shared.owner.fetch(
        "select relname from pg_class where relkind = 'S' "
        "and relnamespace in ('public'::regnamespace, 'care'::regnamespace)"
    ) == []  # fmt: skip
    assert await shared.owner.fetch(
        f"select attname from pg_attribute where attrelid in {ours} and attidentity <> ''"
    ) == []  # fmt: skip
    rules = f"select rulename from pg_rewrite where ev_class in {ours} and rulename <> '_RETURN'"
    assert await shared.owner.fetch(rules) == []
    assert await shared.owner.fetch("select evtname from pg_event_trigger") == []


# The hours of a member's own clock, wherever and on whichever day it is.
LOCAL_HOURS = {("messaging_preferences", "quiet_from"), ("messaging_preferences", "quiet_to")}


async def test_all_times_are_with_time_zone_and_all_ids_are_uuids(shared: Care) -> None:
    columns = await shared.owner.fetch(
        "select c.table_name, c.column_name, c.data_type from information_schema.columns c "
        "where c.table_schema in ('public', 'care')"
    )
    for table, column, kind in (tuple(c) for c in columns):
        if (table, column) not in LOCAL_HOURS:
            assert not kind.startswith(("timestamp without", "time ", "character")), (table, column)
        if column.endswith("_at"):
            assert kind == "timestamp with time zone", (table, column)
        if column == "id" or column.endswith("_id"):
            assert kind == "uuid", (table, column)


async def test_every_object_of_ours_says_what_it_is_for(shared: Care) -> None:
    silent = await shared.owner.fetch(
        "select c.relname as name from pg_class c where c.relkind in ('r', 'v') "
        "and c.relnamespace in ('public'::regnamespace, 'care'::regnamespace) "
        "and obj_description(c.oid, 'pg_class') is null "
        "union all select p.proname from pg_proc p "
        "where p.pronamespace in ('public'::regnamespace, 'care'::regnamespace) "
        "and obj_description(p.oid, 'pg_proc') is null"
    )
    assert [row["name"] for row in silent] == []


# ------------------------------------------------------------------------------------------- lints over the functions


async def bodies(care: Care) -> dict[str, str]:
    """The text of every function and view of ours, comments taken out."""
    rows = await care.owner.fetch(
        "select p.proname, p.prosrc from pg_proc p "
        "where p.pronamespace in ('public'::regnamespace, 'care'::regnamespace) "
        "union all select c.relname, pg_get_viewdef(c.oid) from pg_class c "
        "where c.relkind = 'v' and c.relnamespace in ('public'::regnamespace, 'care'::regnamespace)"
    )
    return {row[0]: re.sub(r"--[^\n]*", "", row[1]).lower() for row in rows}


PRODUCT_TABLES = (
    "profiles", "user_restrictions", "user_blocks", "help_requests", "conversations", "conversation_participants",
    "messages", "conversations_v2", "messages_v2", "conversation_members", "outbox", "idempotency_keys",
    "rate_counters", "threads", "thread_messages", "shown_messages", "notifications", "messaging_preferences",
    "deliveries", "push_subscriptions",
)  # fmt: skip
READ = re.compile(rf"\b(?:from|join|update|using)\s+(?:public|care)\.({'|'.join(PRODUCT_TABLES)})\b(?:\s+as)?\s+(\w+)")
VOLATILE = re.compile(
    r"\b(now|clock_timestamp|statement_timestamp|random|gen_random_uuid|make_interval)\s*\(|\binterval\b"
)


def faults(name: str, body: str) -> list[str]:
    """What is wrong with one function's text by rules 11, 15 and 16."""
    found = []
    if re.search(r"\bpg_(try_)?advisory", body):
        found.append("advisory lock")
    if re.search(r"\bfor\s+(update|share|key\s+share)\b", body):
        found.append("a lock other than for no key update")
    if name not in ACROSS:
        for table, alias in READ.findall(body):
            if not re.search(rf"\b{alias}\.community_id\s*=", body) and not re.search(
                rf"=\s*{alias}\.community_id\b", body
            ):
                found.append(f"{table} {alias} is read without community_id")
    # A write: from `set` of an update or an on-conflict clause to its where, returning or end.
    writes = re.findall(r"\n\s*set\s+\w+\s*=(.*?)(?:\bwhere\b|\breturning\b|;)", body, flags=re.DOTALL)
    writes += re.findall(r"\bvalues\b(.*?)(?:\bon conflict\b|\breturning\b|;)", body, flags=re.DOTALL)
    if any(VOLATILE.search(write) for write in writes):
        found.append("a write computes what is not immutable")
    conditions = re.findall(r"\bwhere\b(.*?)(?:;|\border by\b)", body, flags=re.DOTALL)
    if any(re.search(r"care\.(caller|community)\(\)", c) or VOLATILE.search(c) for c in conditions):
        found.append("a condition computes what belongs in a variable")
    return found


async def test_no_function_breaks_the_rules_of_locks_and_distribution(shared: Care) -> None:
    found = {name: faults(name, body) for name, body in (await bodies(shared)).items()}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    "body",
    [
        "begin perform pg_advisory_xact_lock(1); end",
        "begin perform 1 from public.profiles p where p.community_id = v for update; end",
        "begin perform 1 from public.profiles p where p.community_id = v for share; end",
        "begin return (select 1 from public.profiles p where p.user_id = v_id); end",
        "begin return (select 1 from care.threads t join public.profiles p on t.community_id = v); end",
        "begin update public.profiles p\n set deleted_at = now()\n where p.community_id = v; end",
        "begin insert into x (a) values (1) on conflict do update\n set a = clock_timestamp(); end",
        "begin insert into x (a) values (now()); end",
        "begin return (select 1 from x where a < v_now - interval '1 day'); end",
        "begin return (select 1 from public.profiles p where p.community_id = v and p.user_id = care.caller()); end",
    ],
)
async def test_the_lint_sees_each_fault(body: str) -> None:
    assert faults("planted", body) != []


async def test_public_functions_compute_nothing_before_their_guard_begins(shared: Care) -> None:
    """PL/pgSQL does not guard what DECLARE computes: a fault there would reach the caller with its text (rule 7)."""
    for name, body in (await bodies(shared)).items():
        is_public = await shared.owner.fetchval(
            "select count(*) from pg_proc where proname = $1 and pronamespace = 'public'::regnamespace", name
        )
        declared = re.match(r"\s*declare\b(.*?)\bbegin\b", body, flags=re.DOTALL)
        if is_public:
            assert "when others then" in body, name
            assert declared is None or ":=" not in declared[1], name


async def spoilt(care: Care, function: str, raising: str) -> str:
    """Makes a private function raise; answers its text from before."""
    before = str(await care.owner.fetchval("select pg_get_functiondef($1::text::regprocedure)", function))
    await care.owner.execute(before.replace("\nbegin\n", f"\nbegin\n  raise {raising};\n", 1))
    return before


async def test_a_fault_inside_is_answered_without_its_text_by_every_function(scratch: Care) -> None:
    here = await stage(await scratch.town())
    # In caller() and community() a data exception is nobody; this is none.
    for victim in ("care.caller()", "care.community()", "care.allow(uuid, uuid, text)"):
        before = await spoilt(scratch, victim, "check_violation using message = 'secret rule', detail = 'secret row'")
        for function in await offered(scratch):
            arguments = here.named(function, here.helper.user_id)
            answer = await scratch.database.call(f"public.{function.name}", here.helper.caller(), **arguments)
            assert '"server_error"' in answer.text, (victim, function.name)
            assert "secret" not in answer.text, (victim, function.name)
        await scratch.owner.execute(before)


async def test_a_fault_is_logged_with_its_reference_and_without_the_row(scratch: Care) -> None:
    here = await stage(await scratch.town())
    log = scratch.server.data_dir.parent / "postgres.log"
    await spoilt(scratch, "care.allow(uuid, uuid, text)", "check_violation using message = 'a rule', detail = 'a row'")
    begin = log.stat().st_size
    reference = "reference-of-this-call"
    caller = Caller(here.helper.user_id, here.helper.town.community_id, request_id=reference)

    for function in await offered(scratch):
        arguments = here.named(function, here.helper.user_id)
        await scratch.database.call(f"public.{function.name}", caller, **arguments)

    lines = [line for line in log.read_bytes()[begin:].decode().splitlines() if "care fault" in line]
    assert len(lines) == len(await offered(scratch))
    for function, line in zip(await offered(scratch), lines, strict=True):
        assert "[reference-of-this-call]: SQLSTATE 23514 a rule" in line
        assert function.name in line or function.name.startswith(("cancel", "complete", "reopen", "step", "release"))
        assert "a row" not in line


async def test_a_transient_fault_is_raised_by_every_function(scratch: Care) -> None:
    here = await stage(await scratch.town())
    connection = await scratch.connect("care_app")
    for state in ("08006", "40001", "40P01", "53100", "55P03", "57014", "57P01"):
        before = await spoilt(scratch, "care.allow(uuid, uuid, text)", f"sqlstate '{state}'")
        for function in await offered(scratch):
            arguments = here.named(function, here.helper.user_id)
            places = ", ".join(f"{name} => ${place}" for place, name in enumerate(arguments, start=2))
            statement = f"select set_config('request.jwt.claims', $1, false), public.{function.name}({places})"
            with pytest.raises(asyncpg.PostgresError) as raised:
                await connection.fetchval(statement, here.helper.caller().claims(), *arguments.values())
            assert raised.value.sqlstate == state, function.name
        await scratch.owner.execute(before)
    await connection.close()
