"""Rule 18: from zero and twice, never a changed text, nothing left of a failure, nothing taken that is not ours."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import pytest

from care_collective.db import migrate as runner
from care_collective.db.migrate import Migration, Plan, migrate, migrations, mismatch, plan, rooms
from care_collective.errors import SettingsError
from harness import Postgres

DEFINITIONS = (
    "select 'function', p.oid::regprocedure::text, pg_get_functiondef(p.oid) || coalesce(p.proacl::text, '') "
    "from pg_proc p where p.pronamespace in (to_regnamespace('public'), to_regnamespace('care')) and p.prokind = 'f' "
    "union all select 'view', c.relname, pg_get_viewdef(c.oid) || coalesce(c.relacl::text, '') from pg_class c "
    "where c.relkind = 'v' and c.relnamespace in (to_regnamespace('public'), to_regnamespace('care')) "
    "union all select 'constraint', conname, pg_get_constraintdef(oid) from pg_constraint "
    "where connamespace in (to_regnamespace('public'), to_regnamespace('care')) "
    "union all select 'index', indexname, indexdef from pg_indexes where schemaname in ('public', 'care') "
    "union all select 'column', table_schema || table_name || column_name, "
    "data_type || is_nullable || coalesce(column_default, '') || coalesce(collation_name, '') "
    "from information_schema.columns where table_schema in ('public', 'care') order by 1, 2"
)


pytestmark = pytest.mark.usefixtures("own_release")


@asynccontextmanager
async def empty(postgres: Postgres, options: str = "") -> AsyncIterator[Callable[..., str]]:
    """A database without anything in it; yields what makes an address of it for a user."""
    name = f"empty_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres.server.dsn())
    await admin.execute(f"create database {name} template template0 {options}")
    try:
        yield lambda user="postgres": postgres.server.dsn(user=user, database=name)
    finally:
        await admin.execute(f"drop database {name} with (force)")
        await admin.close()


@asynccontextmanager
async def migrated(postgres: Postgres) -> AsyncIterator[asyncpg.Connection]:
    """A database of this release, copied: to migrate one takes a second of two cores."""
    name = await postgres.create()
    connection = await asyncpg.connect(postgres.server.dsn(database=name))
    try:
        yield connection
    finally:
        await connection.close()
        await postgres.drop(name)


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[asyncpg.Connection]:
    """One connection."""
    connection = await asyncpg.connect(address)
    try:
        yield connection
    finally:
        await connection.close()


async def everything(connection: asyncpg.Connection) -> list[tuple[str, ...]]:
    """Every definition in our two schemas."""
    return [tuple(row) for row in await connection.fetch(DEFINITIONS)]


async def ours(connection: asyncpg.Connection) -> list[str]:
    """Every relation and function outside PostgreSQL's own schemas."""
    rows = await connection.fetch(
        "select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname !~ '^pg_|^information_schema$' "
        "union all select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace "
        "where n.nspname !~ '^pg_|^information_schema$' order by 1"
    )
    return [row["name"] for row in rows]


async def test_from_zero_and_a_second_time(postgres: Postgres) -> None:
    async with empty(postgres) as address, connected(address()) as connection:
        expected = Plan(migrations(), tuple(rooms()))
        assert await plan(connection) == expected
        assert await ours(connection) == []  # to plan changes nothing
        assert await migrate(connection) == expected
        first = await everything(connection)
        assert (await plan(connection)).empty
        assert (await migrate(connection)).empty
        assert await everything(connection) == first
        assert await connection.fetchval("select current_user") == "postgres"
        assert await connection.fetchval("show lock_timeout") == "0"
        assert "public" in await connection.fetchval("show search_path")
        # What the template of a test gets by hand, a real database gets here (rule 2).
        assert not await connection.fetchval(
            "select has_database_privilege('care_app', current_database(), 'temporary')"
        )


async def test_functions_written_again_change_no_definition(postgres: Postgres) -> None:
    async with migrated(postgres) as connection:
        first = await everything(connection)
        await connection.execute("update care.schema_functions set checksum = 'other'")
        assert (await plan(connection)).rooms == tuple(rooms())
        await migrate(connection)
        assert await everything(connection) == first


async def test_a_function_changed_or_opened_by_hand_is_put_right(postgres: Postgres) -> None:
    async with migrated(postgres) as connection:
        first = await everything(connection)
        await connection.execute(
            "grant execute on all functions in schema public to public, anon, service_role;"
            "grant all on all tables in schema public to anon, authenticated, care_app;"
            "alter function public.send_message_v2(uuid, uuid, text) security invoker reset search_path;"
            "update care.schema_functions set checksum = 'other' where room = 'threads'"
        )
        assert await everything(connection) != first
        assert (await migrate(connection)).rooms == ("threads",)
        assert await everything(connection) == first
        assert await connection.fetch(
            "select 1 from information_schema.role_table_grants where grantee in ('anon', 'authenticated', 'care_app') "
            "and table_schema in ('public', 'care')"
        ) == []  # fmt: skip


@pytest.mark.alike
async def test_a_changed_migration_is_refused(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    async with migrated(postgres) as connection:
        first = await everything(connection)
        original = runner._read

        def changed(folder: str) -> dict[str, str]:
            return {
                name: f"{text}-- and more\n" if name == "0001_text" else text for name, text in original(folder).items()
            }

        monkeypatch.setattr(runner, "_read", changed)
        for attempt in (plan, migrate):
            with pytest.raises(SettingsError, match="0001_text was changed"):
                await attempt(connection)
        assert await everything(connection) == first


@pytest.mark.alike
@pytest.mark.parametrize(
    ("planted", "named"),
    [
        ("create table public.messages (id integer)", "public.messages"),
        ("create table public.profiles (id uuid primary key, email text)", "public.profiles"),
        ("create view public.help_requests as select 1 as id", "public.help_requests"),
        ("create schema care; create table care.anything (id integer)", "care"),
        ("create schema care; create function care.caller() returns integer language sql as 'select 1'", "care"),
    ],
)
async def test_a_strangers_database_is_refused_and_left_alone(postgres: Postgres, planted: str, named: str) -> None:
    async with empty(postgres) as address, connected(address()) as connection:
        await connection.execute(planted)
        before = await ours(connection), await everything(connection)
        for attempt in (plan, migrate):
            with pytest.raises(SettingsError, match=named):
                await attempt(connection)
        assert (await ours(connection), await everything(connection)) == before
        assert await connection.fetchval("select has_database_privilege('care_app', current_database(), 'temporary')")


@pytest.mark.alike
@pytest.mark.alike
@pytest.mark.parametrize("broken", ["migration", "room"])
async def test_a_failing_file_leaves_nothing_of_itself(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    original = runner._read
    bad = "create table care.half (id integer);\nselect 1 / 0;"

    def with_bad(folder: str) -> dict[str, str]:
        if folder == ("migrations" if broken == "migration" else "functions"):
            return {**original(folder), "9999_bad": bad}
        return original(folder)

    async with empty(postgres) as address, connected(address()) as connection:
        with monkeypatch.context() as patched:
            patched.setattr(runner, "_read", with_bad)
            with pytest.raises(asyncpg.DivisionByZeroError):
                await migrate(connection)
        assert "half" not in await ours(connection)
        assert await connection.fetchval("select count(*) from care.schema_functions") == 0
        versions = [row["version"] for row in await connection.fetch("select version from care.schema_migrations")]
        assert versions == [m.version for m in migrations()]
        assert await connection.fetchval("select current_user") == "postgres"
        # The next one goes on where it stopped, and the lock is free.
        assert (await migrate(connection)).rooms == tuple(rooms())


async def test_a_migration_that_cannot_be_recorded_leaves_nothing(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with empty(postgres) as address, connected(address()) as connection:
        with monkeypatch.context() as patched:
            patched.setattr(runner, "__version__", "\0")  # no text of PostgreSQL's
            with pytest.raises(asyncpg.CharacterNotInRepertoireError):
                await migrate(connection)
        assert "trim_text" not in await ours(connection)
        assert not (await migrate(connection)).empty


@pytest.mark.alike
async def test_two_migrators_of_one_database_take_turns(postgres: Postgres) -> None:
    async with (
        empty(postgres) as address,
        connected(address()) as one,
        connected(address()) as other,
        asyncio.timeout(30),
    ):
        done = await asyncio.gather(migrate(one), migrate(other))
        assert sorted(d.empty for d in done) == [False, True]
        # Beyond the lock time-out of the statements, the second still waits.
        await one.execute("select pg_advisory_lock($1)", runner.LOCK)
        await other.execute("set lock_timeout = 0")
        waiting = asyncio.create_task(migrate(other))
        while not await one.fetchval("select count(*) from pg_locks where locktype = 'advisory' and not granted"):
            pass
        assert await one.fetchval(
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%lock_timeout%'"
        ) == 0  # fmt: skip
        assert not waiting.done()
        await one.execute("select pg_advisory_unlock($1)", runner.LOCK)
        assert (await waiting).empty


@pytest.mark.alike
async def test_two_databases_of_one_server_are_migrated_at_once(postgres: Postgres) -> None:
    for _ in range(3):
        async with empty(postgres) as address, connected(address()) as admin:
            await admin.execute("alter role care_app reset all")  # what only a server's first migration has to set
        async with (
            empty(postgres) as first, empty(postgres) as second, connected(first()) as one, connected(second()) as other
        ):  # fmt: skip
            done = await asyncio.gather(migrate(one), migrate(other))
            assert [d.empty for d in done] == [False, False]


@pytest.mark.alike
async def test_a_newer_database_is_accepted_unless_it_says_otherwise(postgres: Postgres) -> None:
    async with migrated(postgres) as connection:
        first = await everything(connection)
        await connection.execute(
            "insert into care.schema_migrations (version, name, checksum, incompatible, release) "
            "values (9000, '9000_later', 'x', false, '99.0'); "
            "update care.schema_functions set checksum = 'newer', release = '99.0', applied_at = now() "
            "where room = 'threads'"
        )

        async def complaint() -> str | None:
            ledger = await connection.fetch("select version, checksum, incompatible from care.schema_migrations")
            applied = {row["version"]: (row["checksum"], row["incompatible"]) for row in ledger}
            written = dict(await connection.fetch("select room, checksum from care.schema_functions"))
            release = await connection.fetchval("select care.health() ->> 'release'")
            return mismatch(applied, written, release)

        assert await complaint() is None
        # An older release writes nothing over a newer one's functions.
        assert (await migrate(connection)).empty
        assert await everything(connection) == first
        assert await connection.fetchval("select checksum from care.schema_functions where room = 'threads'") == "newer"

        await connection.execute("update care.schema_migrations set incompatible = true where version = 9000")
        refused = await complaint()
        assert refused is not None
        assert "incompatible" in refused
        with pytest.raises(SettingsError, match="incompatible"):
            await migrate(connection)


def test_a_database_that_is_behind_or_different_is_refused() -> None:
    applied = {m.version: (m.checksum, False) for m in migrations()}
    written = {room: runner._checksum(text) for room, text in rooms().items()}
    assert mismatch(applied, written, "0.1.0", own="0.1.0") is None
    last = max(applied)
    without = {version: row for version, row in applied.items() if version != last}
    assert "lacks migration" in str(mismatch(without, written, "0.1.0", own="0.1.0"))
    assert "another text" in str(mismatch({**applied, last: ("x", False)}, written, "0.1.0", own="0.1.0"))
    stale = {**written, "threads": "x"}
    assert "functions (threads)" in str(mismatch(applied, stale, "0.1.0", own="0.1.0"))
    # 0.10 is newer than 0.9: a number, not a text.
    assert mismatch(applied, stale, "0.10.0", own="0.9.0") is None
    assert mismatch(applied, stale, "0.9.0", own="0.10.0") is not None


def test_the_mark_of_an_incompatible_migration_is_read_from_its_text() -> None:
    assert Migration(1, "0001_x", "select 1;\n-- incompatible with earlier releases\n").incompatible
    assert not any(m.incompatible for m in migrations())


def test_migrations_are_numbered_without_gaps_or_doubles() -> None:
    versions = [m.version for m in migrations()]
    assert versions == list(range(1, len(versions) + 1))
    assert len(versions) == len(runner._read("migrations")), "a file that is no NNNN_name.sql would be passed over"


async def test_another_encoding_is_refused(postgres: Postgres) -> None:
    async with (
        empty(postgres, "encoding 'SQL_ASCII' locale_provider libc locale 'C'") as address,
        connected(address()) as connection,
    ):
        with pytest.raises(SettingsError, match="UTF8"):
            await migrate(connection)
        assert await ours(connection) == []
