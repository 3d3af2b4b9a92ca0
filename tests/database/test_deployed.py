"""`doctor --deployed`: it finds each fault that is planted, that one alone, and nothing in a sound database."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest

from care_collective.db.migrate import migrate
from care_collective.db.pool import make_pool
from care_collective.errors import SettingsError
from care_collective.operations.deployed import Finding, Report, examine
from database.test_migrations import connected, empty
from database.test_platform import manager
from harness import Care, Postgres

CREATE = "public.create_conversation_atomic(uuid, uuid, text)"
SEND = "public.send_message_v2(uuid, uuid, text)"
GET = "public.get_conversation_v2(uuid, uuid)"

# What is planted, and the kind, the subject and the words found of the one finding that it must be.
FAULTS = {
    "PUBLIC can execute a function": (
        f"grant execute on function {CREATE} to public",
        *("function_callers", CREATE, "PUBLIC, authenticated, care_app"),
    ),
    "anon can execute a function": (
        f"grant execute on function {SEND} to anon",
        *("function_callers", SEND, "anon, authenticated, care_app"),
    ),
    "authenticated may pass a function on": (
        f"grant execute on function {SEND} to authenticated with grant option",
        *("function_callers", SEND, "authenticated (may grant), care_app"),
    ),
    "nobody can execute a function": (
        f"revoke execute on function {SEND} from authenticated, care_app",
        *("function_callers", SEND, "none"),
    ),
    "search_path is missing": (
        f"alter function {CREATE} reset search_path",
        *("function_search_path", CREATE, "none"),
    ),
    "search_path is ''": (
        f"alter function {CREATE} set search_path = ''",
        *("function_search_path", CREATE, '""'),
    ),
    "lock_timeout is missing": (
        f"alter function {CREATE} reset lock_timeout",
        *("function_lock_timeout", CREATE, "none"),
    ),
    "a setting more": (
        f"alter function {CREATE} set work_mem = '1GB'",
        *("function_work_mem", CREATE, "1GB"),
    ),
    "a function belongs to a superuser": (
        f"alter function {GET} owner to postgres",
        *("function_owner", GET, "postgres"),
    ),
    "security invoker": (
        f"alter function {CREATE} security invoker",
        *("function_security", CREATE, "invoker"),
    ),
    "an inner function is a definer": (
        "alter function care.is_blocked(uuid, uuid, uuid) security definer",
        *("function_security", "care.is_blocked(uuid, uuid, uuid)", "definer"),
    ),
    "another volatility": (
        f"alter function {GET} immutable",
        *("function_volatility", GET, "immutable"),
    ),
    "a changed body": (
        (
            "do $do$ begin execute replace(pg_get_functiondef('care.caller()'::regprocedure), 'return null', "
            "'return p.user_id from public.profiles p limit 1'); end $do$"
        ),
        *("function_body", "care.caller()", "a text with SHA-256"),
    ),
    "a missing function": (
        "drop function care.health()",
        *("missing_function", "care.health()", "nothing"),
    ),
    "an overload": (
        (
            "create function public.create_conversation_atomic(p_help_request_id uuid, p_helper_id uuid, "
            "p_initial_message text, p_urgent boolean) returns jsonb language sql as $$ select '{}'::jsonb $$"
        ),
        *("unexpected_function", "public.create_conversation_atomic(uuid, uuid, text, boolean)"),
        "owned by postgres, invoker, callers: PUBLIC",
    ),
    "a function more in schema care": (
        "create function care.backdoor() returns void language sql security definer as ''",
        *("unexpected_function", "care.backdoor()", "owned by postgres, definer, callers: PUBLIC"),
    ),
    "a table grant": (
        "grant select, update on public.profiles to authenticated",
        *("table_grant", "public.profiles", "authenticated: select, update"),
    ),
    "a table grant to PUBLIC": (
        "grant select on public.messages_v2 to public",
        *("table_grant", "public.messages_v2", "PUBLIC: select"),
    ),
    "a table grant by way of a role": (
        "create role readers; grant readers to care_app; grant select on public.messages to readers",
        *("table_grant", "public.messages", "readers: select"),
    ),
    "a column grant": (
        "grant update (display_name) on public.profiles to authenticated",
        *("column_grant", "public.profiles.display_name", "authenticated: update"),
    ),
    "row security off": (
        "alter table public.messages disable row level security",
        *("row_security_off", "public.messages", "row security is off"),
    ),
    "row security forced": (
        "alter table public.messages force row level security",
        *("row_security_forced", "public.messages", "row security is forced"),
    ),
    "a policy": (
        "create policy everybody on public.conversations_v2 for update using (true)",
        *("policy", "public.conversations_v2", "policy everybody"),
    ),
    "a view that reads with its owner's rights": (
        "alter view care.threads reset (security_invoker)",
        *("view_without_invoker", "care.threads", "owner's rights"),
    ),
    "a view that says no to its caller's rights": (
        "alter view care.threads set (security_invoker = off)",
        *("view_without_invoker", "care.threads", "owner's rights"),
    ),
    "a changed view": (
        (
            "do $do$ begin execute 'create or replace view care.threads with (security_invoker = true) as ' "
            "|| replace(pg_get_viewdef('care.threads'::regclass), '>= 0', '>= 1'); end $do$"
        ),
        *("view_definition", "care.threads", "(c.last_seq >= 1)"),
    ),
    "a missing constraint": (
        "alter table public.conversations_v2 drop constraint conversations_v2_people_check",
        *("missing_constraint", "public.conversations_v2.conversations_v2_people_check", "nothing"),
    ),
    "a constraint that is not validated": (
        (
            "alter table public.messages_v2 drop constraint messages_v2_people_check, "
            "add constraint messages_v2_people_check check (sender_id <> recipient_id) not valid"
        ),
        *("constraint_definition", "public.messages_v2.messages_v2_people_check", "NOT VALID"),
    ),
    "a missing unique index": (
        "alter table public.conversations_v2 drop constraint conversations_v2_pair_key",
        *("missing_constraint", "public.conversations_v2.conversations_v2_pair_key", "nothing"),
    ),
    "a missing index": (
        "drop index public.conversation_members_inbox_idx",
        *("missing_index", "public.conversation_members.conversation_members_inbox_idx", "nothing"),
    ),
    "a unique index more": (
        "create unique index one_message on public.messages_v2 (community_id, id, sender_id)",
        *("unexpected_index", "public.messages_v2.one_message", "CREATE UNIQUE INDEX"),
    ),
    "a foreign key that sleeps": (
        "alter table public.messages_v2 disable trigger all",
        *("sleeping_key", "public.messages_v2", "messages_v2_conversation_fkey"),
    ),
    "a missing column": (
        "alter table public.profiles drop column locale",
        *("missing_column", "public.profiles.locale", "nothing"),
    ),
    "a column more": (
        "alter table public.profiles add column is_admin boolean",
        *("unexpected_column", "public.profiles.is_admin", "boolean"),
    ),
    "a column of another type": (
        "alter table public.communities alter column emergency_line type varchar(80)",
        *("column_type", "public.communities.emergency_line", "character varying(80)"),
    ),
    "a column that may be empty": (
        "alter table public.messages alter column content drop not null",
        *("column_required", "public.messages.content", "no"),
    ),
    "another default": (
        "alter table public.profiles alter column verification_status set default 'approved'",
        *("column_value", "public.profiles.verification_status", "'approved'::text"),
    ),
    "a missing table": (
        "drop table care.sign_in_attempts",
        *("missing_table", "care.sign_in_attempts", "nothing"),
    ),
    "a table more in schema care": (
        "create table care.copies (words text); alter table care.copies enable row level security",
        *("unexpected_table", "care.copies", "owned by postgres"),
    ),
    "a table that a crash empties": (
        "alter table care.outbox set unlogged",
        *("table_form", "care.outbox", "unlogged table"),
    ),
    "a table belongs to a superuser": (
        "alter table public.messages_v2 owner to postgres",
        *("table_owner", "public.messages_v2", "postgres"),
    ),
    "a trigger": (
        (
            "create trigger copy before insert on public.messages for each row "
            "execute function suppress_redundant_updates_trigger()"
        ),
        *("trigger", "public.messages", "trigger copy"),
    ),
    "a rule": (
        "create rule copy as on insert to public.messages do also nothing",
        *("trigger", "public.messages", "rule copy"),
    ),
    "TEMP is PUBLIC's": (
        "do $do$ begin execute format('grant temporary on database %I to public', current_database()); end $do$",
        *("temporary_right", "database", "PUBLIC: temporary"),
    ),
    "PUBLIC may create in schema public": (
        "grant create on schema public to public",
        *("schema_right", "schema public", "PUBLIC: create"),
    ),
    "authenticated may enter schema care": (
        "grant usage on schema care to authenticated",
        *("schema_right", "schema care", "authenticated: usage"),
    ),
    "care_app is a member of care_owner": (
        "grant care_owner to care_app",
        *("membership", "role care_app", "is a member of care_owner"),
    ),
    "care_app reads everything by a role": (
        "grant pg_read_all_data to care_app",
        *("membership", "role care_app", "is a member of pg_read_all_data"),
    ),
    "care_owner is a superuser": (
        "alter role care_owner superuser",
        *("role_power", "role care_owner", "superuser"),
    ),
    "care_app passes by row security": (
        "alter role care_app bypassrls",
        *("role_power", "role care_app", "bypassrls"),
    ),
    "care_app's statements never end": (
        "alter role care_app reset statement_timeout",
        *("missing_role", "role care_app", "statement_timeout"),
    ),
    "default privileges are reopened": (
        "alter default privileges for role care_owner grant execute on functions to public",
        *("default_right", "default privileges of care_owner", "PUBLIC: execute on functions"),
    ),
    "default privileges are reopened in one schema": (
        "alter default privileges for role care_owner in schema public grant select on tables to anon",
        *("default_right", "default privileges of care_owner", "in schema public: anon: select on tables"),
    ),
}  # fmt: skip
ONLY_18 = {
    "a not null that holds for new rows only": (
        (
            "alter table public.messages alter column content drop not null, "
            "add constraint content_not_null not null content not valid"
        ),
        *("column_required", "public.messages.content", "no"),
    ),
    "a constraint that is not enforced": (
        "alter table public.messages_v2 alter constraint messages_v2_conversation_fkey not enforced",
        *("constraint_definition", "public.messages_v2.messages_v2_conversation_fkey", "NOT ENFORCED"),
    ),
}  # fmt: skip


@asynccontextmanager
async def planted(care: Care, fault: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that sees a fault in the database, as nobody else does and as nothing of it stays."""
    connection = await asyncpg.connect(care.server.dsn(database=care.name), statement_cache_size=0)
    transaction = connection.transaction()
    try:
        await transaction.start()
        await connection.execute("set local lock_timeout = '5s'")
        await connection.execute(fault)
        yield connection
        await connection.execute("select 1")  # the examination has not aborted the transaction
        await transaction.rollback()
    finally:
        await connection.close()


async def as_deployed(url: str) -> Report:
    """The examination as the command makes it: as care_owner, on the owner's connection."""
    pool = await make_pool(url, become="care_owner", size=1)
    try:
        async with pool.acquire() as connection:
            return await examine(connection)
    finally:
        await pool.close()


async def test_nothing_is_found_in_a_sound_database(shared: Care) -> None:
    report = await as_deployed(shared.server.dsn(database=shared.name))
    assert report.findings == []
    assert report.things > 400
    assert report.rules >= 14
    assert report.calls == 27  # three functions, three roles, three kinds of wrong people


@pytest.mark.alike
@pytest.mark.parametrize("fault", [*FAULTS, *ONLY_18])
async def test_a_planted_fault_is_the_one_finding(shared: Care, fault: str) -> None:
    if fault in ONLY_18 and shared.server.version < 18:
        return  # PostgreSQL knows no such fault before
    statement, kind, subject, words = {**FAULTS, **ONLY_18}[fault]
    async with planted(shared, statement) as connection:
        report = await examine(connection)
    assert len(report.findings) == 1, report.findings
    (finding,) = report.findings
    assert finding.kind == kind
    assert finding.subject.startswith(subject)
    assert words in finding.found
    assert finding.expected != finding.found
    assert (report.calls == 0) == ("function" in kind)


async def test_what_only_a_call_can_show_is_found_by_calling(shared: Care) -> None:
    """The owner has lost a right on its own table: catalogue and rules are as they must be, and every call fails."""
    async with planted(shared, "revoke select on public.profiles from care_owner") as connection:
        report = await examine(connection)
    assert {(finding.kind, finding.expected) for finding in report.findings} == {
        ("call", "permission_denied, identity")
    }
    assert "server_error" in {finding.found for finding in report.findings}
    assert {finding.subject.rpartition(",")[2] for finding in report.findings} == {" a stranger"}


async def test_two_faults_are_two_findings_with_expected_and_found(shared: Care) -> None:
    faults = f"grant execute on function {SEND} to public; drop table care.sign_in_attempts"
    async with planted(shared, faults) as connection:
        report = await examine(connection)
    assert report.findings == [
        Finding("function_callers", SEND, "authenticated, care_app", "PUBLIC, authenticated, care_app"),
        Finding("missing_table", "care.sign_in_attempts", "owned by care_owner", "nothing"),
    ]


async def test_an_operators_own_index_role_and_table_are_theirs(shared: Care) -> None:
    theirs = (
        "create index towns on public.profiles (community_id, town); create role reporting; "
        "grant select on public.profiles to reporting; create table public.notes (id integer); "
        "grant select on public.notes to anon; create function public.note() returns void language sql as ''"
    )
    async with planted(shared, theirs) as connection:
        assert (await examine(connection)).findings == []


async def test_nothing_is_changed_and_no_row_is_locked(shared: Care) -> None:
    counts = "select sum(n_tup_ins + n_tup_upd + n_tup_del) from pg_stat_xact_user_tables"
    connection = await shared.connect()
    async with connection.transaction():
        await examine(connection)
        assert await connection.fetchval(counts) == 0
        assert await connection.fetchval(
            "select count(*) from pg_locks where pid = pg_backend_pid() and relation is not null "
            "and mode not in ('AccessShareLock', 'RowShareLock')"
        ) == 0  # fmt: skip
        assert await connection.fetchval("select current_user") == "postgres"
    await connection.close()


async def test_a_database_of_another_release_is_refused_in_words(shared: Care) -> None:
    newer = "update care.schema_functions set checksum = 'other', release = '99.0' where room = 'atomic'"
    async with planted(shared, newer) as connection:
        with pytest.raises(SettingsError, match=r"another release \(it names .*99\.0\)"):
            await examine(connection)


# --- A platform

PLATFORM = """
create schema auth;
create schema extensions;
create table auth.users (id uuid primary key, email text);
create function auth.uid() returns uuid language sql stable as
  $$ select coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''),
     nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid $$;
grant usage on schema auth, extensions, public to anon, authenticated, service_role;
alter default privileges in schema public grant all on functions to anon, authenticated, service_role;
alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges in schema public grant all on sequences to anon, authenticated, service_role;
create table public.todos (id bigint generated always as identity, words text);
create policy mine on public.todos using (auth.uid() is not null);
create view public.open_todos as select id from public.todos;
create function public.hello() returns text language sql security definer as $$ select 'hello' $$;
"""


@asynccontextmanager
async def platform(postgres: Postgres, holds: str = "member") -> AsyncIterator[Callable[..., str]]:
    """A database as Supabase hands it out: its owner is no superuser, what is made in public is open to anon, and
    service_role passes by row security.

    `holds`: what the owner is to the API roles: `member`, as there, `giver`, who may only grant them, or `stranger`.
    """
    admin = await asyncpg.connect(postgres.server.dsn())
    # From 16 on CREATEROLE alone gives no hold on a role that another made.
    newer = postgres.server.version >= 16
    async with manager(postgres, "" if holds == "stranger" else "createrole createdb") as name:
        await admin.execute(f"grant care_owner, care_app to {name} with admin option")
        if holds == "member" or (holds == "giver" and newer):
            only = " with admin true, set false, inherit false" if holds == "giver" else ""
            await admin.execute(f"grant anon, authenticated, service_role to {name}{only}")
        await admin.execute("alter role service_role bypassrls")
        try:
            async with empty(postgres, f"owner {name}") as address:
                async with connected(address(name)) as connection:
                    await connection.execute(PLATFORM)
                    await migrate(connection)
                yield lambda user=name: address(user)
        finally:
            await admin.execute("alter role service_role nobypassrls")
            await admin.execute(f"reassign owned by {name} to postgres; drop owned by {name}")
            await admin.execute(f"revoke care_owner, care_app, anon, authenticated, service_role from {name} cascade")
            await admin.close()


@pytest.mark.parametrize("holds", ["member", "giver"])
async def test_nothing_is_found_on_a_platform_with_open_defaults(postgres: Postgres, holds: str) -> None:
    async with platform(postgres, holds) as address:
        assert (await as_deployed(address())).findings == []
        assert (await as_deployed(address("postgres"))).findings == []
        async with connected(address()) as connection:
            # The platform's defaults hold for what its own role makes, an overload of ours too.
            await connection.execute(
                "create function public.send_message_v2(p_conversation_id uuid, p_content text) "
                "returns jsonb language sql as $$ select '{}'::jsonb $$"
            )
        (finding,) = (await as_deployed(address())).findings
        assert (finding.kind, finding.subject) == ("unexpected_function", "public.send_message_v2(uuid, text)")
        assert "callers: PUBLIC, anon, authenticated, service_role" in finding.found


async def test_an_owner_who_cannot_become_a_role_is_told_what_was_not_tried(postgres: Postgres) -> None:
    async with platform(postgres, "stranger") as address:
        findings = (await as_deployed(address())).findings
        assert [(finding.kind, finding.subject) for finding in findings] == [
            ("call", "as authenticated"),
            ("call", "as anon"),
        ]
        assert "grant authenticated to manager_" in findings[0].found
