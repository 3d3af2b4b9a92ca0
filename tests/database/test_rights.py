"""Rules 2 to 6: who may do what, asked of the catalogue and tried."""

import json
from itertools import product

import asyncpg
import pytest

from database.steps import offered, stage
from harness import Care

ROLES = ("anon", "authenticated", "service_role", "care_app")
VERBS = ("select", "insert", "update", "delete", "truncate", "references", "trigger")

CLIENTS = {
    "accept_offer", "cancel_help_request", "close_conversation", "complete_help_request", "create_conversation_atomic",
    "count_unread_notifications", "create_help_request", "decide_application", "decline_offer",
    "delete_account", "export_my_data", "get_conversation_v2",
    "get_help_request", "get_messages", "list_applications", "list_conversations", "list_help_requests",
    "list_notifications", "list_offers", "mark_all_notifications_read", "mark_notification_read", "mark_read",
    "release_helper", "reopen_conversation", "reopen_help_request", "report_problem", "send_message_v2", "step_back",
    "update_help_request", "get_preferences", "set_preferences", "get_profile", "set_profile",
    "archive_conversation", "block_user", "list_blocks", "mute_conversation", "unblock_user",
    "add_push_subscription", "list_push_subscriptions", "remove_push_subscription",
}  # fmt: skip
# V1's steps: a client that took them itself would open conversations that nobody counts.
LEGACY = {"legacy_add_participants", "legacy_open_conversation", "legacy_write_first_message"}
WEB_PROCESS = {
    "check_rows", "guard_keep", "guard_look", "guard_warn", "hold_chore", "keep_probe", "keep_told", "take_probe",
    "take_untold",
    "close_session", "community_for_host", "find_credential", "forget_node", "get_community", "health", "is_in_cohort",
    "join_community", "list_tended", "live", "me", "open_session", "operate_rollout", "prune", "publish_hints",
    "untold_hints", "mark_told",
    "read_session", "record_attempts", "record_minutes", "report_node", "sign_up",
    "stop_rollout", "store_secret", "take_sign_in", "tend_requests",
    "plan_deliveries", "lease_deliveries", "settle_delivery", "settle_push", "unsubscribe",
    "ask_password_reset", "password_set_at", "replace_password",
}  # fmt: skip

RELATIONS = (
    "select c.oid, format('%I.%I', n.nspname, c.relname) as name, c.relkind::text, c.relrowsecurity, "
    "c.relforcerowsecurity, "
    "c.relowner::regrole::text as owner, c.reloptions from pg_class c join pg_namespace n on n.oid = c.relnamespace "
    "where n.nspname in ('public', 'care') and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')"
)
FUNCTIONS = (
    "select p.oid, n.nspname, p.proname, p.oid::regprocedure::text as name, p.prosecdef, p.proconfig, "
    "p.provolatile::text, "
    "p.proowner::regrole::text as owner from pg_proc p join pg_namespace n on n.oid = p.pronamespace "
    "where n.nspname in ('public', 'care')"
)


async def executable(care: Care, role: str) -> set[str]:
    """The functions of ours that a role may execute."""
    rows = await care.owner.fetch(
        f"select * from ({FUNCTIONS}) f where has_function_privilege($1, f.oid, 'execute')", role
    )
    return {f"{row['nspname']}.{row['proname']}" for row in rows}


async def test_no_role_has_any_right_on_any_table_or_view(shared: Care) -> None:
    rights = await shared.owner.fetch(
        f"select r.role, c.name, v.verb from ({RELATIONS}) c cross join unnest($1::text[]) as r (role) "
        "cross join unnest($2::text[]) as v (verb) where c.relkind <> 'S' "
        "and has_table_privilege(r.role, c.oid, v.verb)",
        ROLES, VERBS,
    )  # fmt: skip
    assert [tuple(right) for right in rights] == []
    columns = await shared.owner.fetch(
        f"select r.role, c.name, v.verb from ({RELATIONS}) c cross join unnest($1::text[]) as r (role) "
        "cross join unnest($2::text[]) as v (verb) where c.relkind <> 'S' "
        "and has_any_column_privilege(r.role, c.oid, v.verb)",
        ROLES, ("select", "insert", "update", "references"),
    )  # fmt: skip
    assert [tuple(right) for right in columns] == []


@pytest.mark.parametrize("role", ROLES)
async def test_every_verb_on_every_table_is_tried_and_refused(shared: Care, role: str) -> None:
    tables = {
        row["name"]: row["attname"]
        for row in await shared.owner.fetch(
            f"select c.name, a.attname from ({RELATIONS}) c join pg_attribute a on a.attrelid = c.oid and a.attnum = 1 "
            "where c.relkind = 'r'"
        )
    }
    assert len(tables) >= 20
    connection = await shared.connect("care_app" if role == "care_app" else "postgres")
    await connection.execute(f"set role {role}")
    allowed = []
    for table, verb in product(
        tables, ("select from", "insert", "update", "delete from", "truncate", "lock", "trigger")
    ):
        statement = {
            "select from": f"select from {table}",
            "insert": f"insert into {table} default values",
            "update": f"update {table} set {tables[table]} = null where false",
            "delete from": f"delete from {table} where false",
            "truncate": f"truncate {table}",
            "lock": f"do $$ begin lock table {table} in share mode; end $$",
            "trigger": f"create trigger t before insert on {table} execute function tsvector_update_trigger()",
        }[verb]
        try:
            await connection.execute(statement)
        except asyncpg.InsufficientPrivilegeError:
            continue
        allowed.append((table, verb))
    await connection.close()
    assert allowed == []


async def test_row_security_is_on_never_forced_and_without_policies(shared: Care) -> None:
    for table in await shared.owner.fetch(RELATIONS):
        assert table["owner"] == "care_owner", table["name"]
        if table["relkind"] == "r":
            assert (table["relrowsecurity"], table["relforcerowsecurity"]) == (True, False), table["name"]
        else:
            assert table["relkind"] == "v", table["name"]
            assert table["reloptions"] == ["security_invoker=true"], table["name"]
    assert await shared.owner.fetchval("select count(*) from pg_policies where schemaname in ('public', 'care')") == 0


async def test_the_grants_are_exactly_those_listed(shared: Care) -> None:
    public = {f"public.{name}" for name in CLIENTS}
    own = {f"public.{name}" for name in LEGACY} | {f"care.{name}" for name in WEB_PROCESS}
    assert await executable(shared, "authenticated") == public
    assert await executable(shared, "care_app") == public | own
    assert await executable(shared, "anon") == set()
    assert await executable(shared, "service_role") == set()
    assert {f.name for f in await offered(shared)} == CLIENTS | LEGACY
    # PUBLIC is grantee 0; a null list of rights would be PostgreSQL's default, which is open.
    open_to_all = await shared.owner.fetch(
        f"select f.name from ({FUNCTIONS}) f join pg_proc p on p.oid = f.oid where p.proacl is null "
        "or exists (select 1 from aclexplode(p.proacl) a where a.grantee = 0 "
        "or a.is_grantable and a.grantee <> p.proowner)"
    )
    assert [row["name"] for row in open_to_all] == []


async def test_schemas_give_no_more_than_usage(shared: Care) -> None:
    rights = await shared.owner.fetch(
        "select n.nspname, r.role from pg_namespace n cross join unnest($1::text[]) as r (role) "
        "where n.nspname in ('public', 'care') and has_schema_privilege(r.role, n.oid, 'create')",
        ROLES,
    )
    assert rights == []
    within_care = [
        role for role in ROLES if await shared.owner.fetchval("select has_schema_privilege($1, 'care', 'usage')", role)
    ]
    assert within_care == ["care_app"]


async def test_everything_belongs_to_an_owner_without_powers(shared: Care) -> None:
    owner = await shared.owner.fetchrow("select * from pg_roles where rolname = 'care_owner'")
    assert not any(
        owner[power] for power in
        ("rolsuper", "rolcreaterole", "rolcreatedb", "rolcanlogin", "rolreplication", "rolbypassrls")
    )  # fmt: skip
    for role in ROLES:
        row = await shared.owner.fetchrow("select * from pg_roles where rolname = $1", role)
        assert not any(row[power] for power in ("rolsuper", "rolcreaterole", "rolbypassrls", "rolreplication")), role
        assert not await shared.owner.fetchval("select pg_has_role($1, 'care_owner', 'member')", role)
    strangers = await shared.owner.fetch(f"select name, owner from ({FUNCTIONS}) f where owner <> 'care_owner'")
    assert strangers == []


async def test_every_function_closes_its_search_path_and_every_offered_write_its_wait(shared: Care) -> None:
    for function in await shared.owner.fetch(FUNCTIONS):
        config = function["proconfig"] or []
        assert "search_path=pg_catalog, pg_temp" in config, function["name"]
    for schema, names in (("public", CLIENTS | LEGACY), ("care", WEB_PROCESS)):
        for function in await shared.owner.fetch(FUNCTIONS):
            if function["nspname"] != schema or function["proname"] not in names:
                continue
            assert function["prosecdef"], function["name"]
            waits = "lock_timeout=2s" in function["proconfig"]
            assert waits == (function["provolatile"] == "v"), function["name"]
    # A definer function that is not offered has no reason to be one.
    assert await shared.owner.fetchval(
        f"select count(*) from ({FUNCTIONS}) f where prosecdef and not (f.proname = any ($1::text[]))",
        [*CLIENTS, *LEGACY, *WEB_PROCESS],
    ) == 0  # fmt: skip


async def test_what_the_owner_makes_later_starts_closed(scratch: Care) -> None:
    connection = await scratch.connect()
    await connection.execute("set role care_owner")
    for schema in ("public", "care"):
        await connection.execute(
            f"create table {schema}.later (id integer); create sequence {schema}.later_seq; "
            f"create function {schema}.later() returns integer language sql as 'select 1'"
        )
    await connection.execute("reset role")
    for role, schema in product(ROLES, ("public", "care")):
        assert not await connection.fetchval(
            "select has_function_privilege($1, $2, 'execute')", role, f"{schema}.later()"
        )
        for verb in VERBS:
            assert not await connection.fetchval(
                "select has_table_privilege($1, $2, $3)", role, f"{schema}.later", verb
            )
        assert not await connection.fetchval(
            "select has_sequence_privilege($1, $2, 'usage')", role, f"{schema}.later_seq"
        )
    await connection.close()


@pytest.mark.parametrize("role", ROLES)
async def test_no_role_can_make_anything_to_put_in_a_functions_way(shared: Care, role: str) -> None:
    connection = await shared.connect("care_app" if role == "care_app" else "postgres")
    await connection.execute(f"set role {role}")
    for statement in (
        "create temp table profiles (id integer)",
        "create domain pg_temp.uuid as text",
        "create function pg_temp.now() returns timestamptz language sql as 'select null::timestamptz'",
        "create table public.profiles_too (id integer)",
        "create function public.caller() returns uuid language sql as 'select null::uuid'",
        "create table care.users_too (id integer)",
        "create schema mine",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()


async def test_shadows_that_a_role_was_allowed_to_make_change_nothing(scratch: Care) -> None:
    """TEMP and CREATE given back by mistake: the functions still look nowhere but where they say."""
    here = await stage(await scratch.town())
    await scratch.owner.execute(
        f"grant temporary on database {scratch.name} to authenticated; grant create on schema public to authenticated"
    )
    connection = await scratch.connect()
    await connection.execute("set role authenticated")
    for name in ("uuid", "text", "jsonb", "integer", "timestamptz"):
        await connection.execute(f"create domain pg_temp.{name} as pg_catalog.bool check (false)")
    for name in ("profiles", "communities", "conversations_v2", "messages_v2", "threads", "help_requests"):
        await connection.execute(f"create temp table {name} (id pg_catalog.int4)")
    for function in ("now()", "clock_timestamp()", "jsonb_build_object(variadic pg_catalog.text[])"):
        for schema in ("public", "pg_temp"):
            await connection.execute(
                f"create function {schema}.{function} returns pg_catalog.bool language plpgsql as 'begin raise; end'"
            )
    await connection.execute("set search_path = pg_temp, public, pg_catalog")
    claims = json.dumps(
        {"sub": str(here.helper.user_id), "app_metadata": {"community_id": str(here.town.community_id)}}
    )
    async with connection.transaction():
        await connection.execute("select pg_catalog.set_config('request.jwt.claims', $1, true)", claims)
        answer = json.loads(
            await connection.fetchval(
                "select public.send_message_v2($1, $2, $3)", here.conversation, here.helper.user_id, "Still here"
            )
        )
    await connection.close()
    assert answer["success"] is True
    assert await here.town.count("public.messages_v2") == 1
