"""Opening a deployment: on a server's database and on the embedded one, and every refusal in words."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from care_collective.db.embedded.attach import held, running_server
from care_collective.errors import SettingsError
from care_collective.operations.startup import as_owner, bring_up, embedded_folder, find_plan, opened, owner_of
from care_collective.settings import Settings, load
from harness import Postgres

NEWER = (
    "insert into care.schema_migrations (version, name, checksum, incompatible, release) "
    "values (9999, 'later', 'unknown', $1, '99.0')"
)


def _on(url: str, owner: str | None = None) -> Settings:
    return load({"HOME": "/", "DATABASE_URL": url, **({} if owner is None else {"DATABASE_OWNER_URL": owner})})


@pytest.fixture
async def empty(postgres: Postgres) -> AsyncIterator[str]:
    """A database that nobody has migrated, by name."""
    name = await postgres.create(template="template1")
    yield name
    await postgres.drop(name)


@pytest.fixture
async def migrated(postgres: Postgres) -> AsyncIterator[str]:
    """A database of this release, by name."""
    name = await postgres.create()
    yield name
    await postgres.drop(name)


async def _run(url: str, statement: str, *arguments: object) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()


async def _refusal(settings: Settings) -> str:
    with pytest.raises(SettingsError) as refused:
        async with opened(settings):
            pass
    return str(refused.value)


@contextmanager
def _asking_for_passwords(postgres: Postgres, database: str) -> Iterator[None]:
    """Lets the server ask care_app for a password in one database, once the server has read its file anew."""
    file = postgres.server.data_dir.parent / "pg_hba.conf"
    before = file.read_text()
    file.write_text(f"local {database} care_app scram-sha-256\n{before}")
    try:
        yield
    finally:
        file.write_text(before)


async def test_an_empty_database_is_migrated_and_the_pool_becomes_care_app(postgres: Postgres, empty: str) -> None:
    told: list[str] = []
    async with opened(_on(postgres.server.dsn(database=empty)), tell=told.append) as deployment:
        assert await deployment.database.pool.fetchval("select current_user::text") == "care_app"
        assert (await deployment.database.call("care.health")).text
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await deployment.database.pool.fetchval("select count(*) from care.users")
        async with owner_of(deployment) as owner:
            assert await owner.value("care.list_communities") == "[]"
    assert told == ["Bringing the database up to this release"]


async def test_a_database_with_a_login_for_the_pool_and_one_for_the_owner(postgres: Postgres, migrated: str) -> None:
    settings = _on(postgres.server.dsn(user="care_app", database=migrated), postgres.server.dsn(database=migrated))
    async with opened(settings) as deployment:
        assert await deployment.database.pool.fetchval("select session_user::text") == "care_app"


async def test_a_pool_that_could_read_tables_is_refused(postgres: Postgres, migrated: str) -> None:
    url = postgres.server.dsn(database=migrated)
    words = await _refusal(_on(url, f"{url}&application_name=owner"))
    assert "postgres may read or write the table" in words
    assert "Let it be care_app" in words


async def test_a_pool_with_a_password(postgres: Postgres, migrated: str) -> None:
    owner = postgres.server.dsn(database=migrated)
    with _asking_for_passwords(postgres, migrated):
        await _run(owner, "select pg_reload_conf()")
        try:
            bare = postgres.server.dsn(user="care_app", database=migrated)
            secret = bare.replace("care_app@", "care_app:hunter2@")
            words = await _refusal(_on(secret, owner))
            assert "password authentication failed" in words
            assert "alter role care_app password" in words
            assert "hunter2" not in words
            await _run(owner, "alter role care_app password 'hunter2'")
            async with opened(_on(secret, owner)) as deployment:
                assert await deployment.database.pool.fetchval("select session_user::text") == "care_app"
        finally:
            await _run(owner, "alter role care_app password null")
    await _run(owner, "select pg_reload_conf()")


@pytest.mark.parametrize(
    ("user", "database", "words"),
    [("nobody_here", "care_template", "nobody_here"), ("postgres", "no_such_database", "Create it with encoding UTF8")],
)
async def test_a_missing_role_or_database(postgres: Postgres, user: str, database: str, words: str) -> None:
    refusal = await _refusal(_on(postgres.server.dsn(user=user, database=database)))
    assert refusal.startswith("DATABASE_URL: ")
    assert words in refusal


async def test_a_server_that_is_not_there() -> None:
    words = await _refusal(_on("postgresql://care:hunter2@127.0.0.1:1/care"))
    assert words.startswith("DATABASE_URL: the server cannot be reached")
    assert "hunter2" not in words


async def test_an_owner_who_may_not_make_roles(postgres: Postgres, empty: str) -> None:
    owner = postgres.server.dsn(database=empty)
    await _run(owner, "create role plain_login login")
    try:
        words = await _refusal(_on(postgres.server.dsn(user="plain_login", database=empty)))
    finally:
        await _run(owner, "drop role plain_login")
    assert "DATABASE_URL: its user may not do what is needed" in words


async def test_another_programs_database_is_refused_untouched(postgres: Postgres, empty: str) -> None:
    url = postgres.server.dsn(database=empty)
    await _run(url, "create table public.messages (id integer)")
    assert "public.messages" in await _refusal(_on(url))
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("select to_regnamespace('care')::text") is None
    await connection.close()


async def test_a_database_behind_this_release_is_refused_until_it_is_migrated(
    postgres: Postgres, migrated: str
) -> None:
    url = postgres.server.dsn(database=migrated)
    await _run(url, "update care.schema_functions set checksum = 'older' where room = 'inbox'")
    assert "Run `care-collective migrate` first" in await _refusal(_on(url))
    assert (await find_plan(_on(url))).rooms == ("inbox",)
    assert (await bring_up(_on(url))).rooms == ("inbox",)
    async with opened(_on(url)):
        pass


async def test_a_newer_database_is_served_and_not_written_over(postgres: Postgres, migrated: str) -> None:
    url = postgres.server.dsn(database=migrated)
    await _run(url, NEWER, False)
    await _run(
        url,
        "update care.schema_functions set checksum = 'newer', release = '99.0', applied_at = now() "
        "where room = 'inbox'",
    )
    async with opened(_on(url)):
        pass
    assert (await bring_up(_on(url))).empty


async def test_a_newer_database_that_forbids_this_release(postgres: Postgres, migrated: str) -> None:
    url = postgres.server.dsn(database=migrated)
    await _run(url, NEWER, True)
    assert "incompatible" in await _refusal(_on(url))
    with pytest.raises(SettingsError, match="incompatible"):
        await bring_up(_on(url))


async def test_a_command_does_not_make_a_servers_database(postgres: Postgres, empty: str) -> None:
    with pytest.raises(SettingsError, match=r"empty\. Run `care-collective migrate`"):
        async with as_owner(_on(postgres.server.dsn(database=empty))):
            pass


@pytest.fixture(scope="module")
def embedded(state_folder: Path) -> Settings:
    """Settings of an embedded deployment in a folder of this module's."""
    return load({"CARE_DATA_DIR": str(state_folder / "embedded deployment")})


async def test_the_embedded_database_starts_from_nothing_and_is_used_beside(embedded: Settings) -> None:
    folder = embedded_folder(embedded)
    assert not held(folder)
    async with opened(embedded) as deployment:
        assert deployment.settings.secret_key is not None
        assert await deployment.database.pool.fetchval("select session_user::text") == "care_app"
        server = running_server(folder)
        assert server is not None
        assert server.dsn(database="care") == deployment.owner_url
        told: list[str] = []
        async with as_owner(embedded, tell=told.append) as owner:
            assert await owner.pool.fetchval("select current_user::text") == "care_owner"
        assert told == []  # it started nothing
        assert "already" in await _refusal(embedded)
    assert running_server(folder) is None
    assert not held(folder)


async def test_the_embedded_database_keeps_its_secrets_and_is_migrated_by_itself(embedded: Settings) -> None:
    async with opened(embedded) as first:
        await _run(first.owner_url, "update care.schema_functions set checksum = 'older' where room = 'inbox'")
        with pytest.raises(SettingsError, match="migrate"):  # `serve` runs on it: nobody else changes it by the way
            async with as_owner(embedded):
                pass
    async with opened(embedded) as second:
        assert second.settings.secret_key == first.settings.secret_key


async def test_a_pid_file_without_a_holder_of_the_lock_is_no_running_server(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("18\n")
    (tmp_path / "data" / "postmaster.pid").write_text("1\n/d\n0\n5432\n/run\n\n0\nready   \n")
    assert running_server(tmp_path) is None
    (tmp_path / "lock").write_text("1")
    assert running_server(tmp_path) is None
