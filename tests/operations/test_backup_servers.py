"""Which pg_dump and pg_restore fit which server: of versions 15 and 18, over TLS, and with a password."""

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
import uvloop

from care_collective.db.embedded import running
from care_collective.db.embedded.place import prepare
from care_collective.db.migrate import migrate
from care_collective.errors import CareError, SettingsError
from care_collective.operations import backup
from care_collective.operations.backup import programs
from care_collective.operations.backup.programs import Target, Tools
from care_collective.operations.startup import silent
from harness import Postgres, free_port, installed

SECRET = "hunter 2%/@"
ESCAPED = "hunter%202%25%2F%40"


@pytest.fixture(scope="module")
async def older(state_folder: Path) -> AsyncIterator[Postgres]:
    """A server of PostgreSQL 15 with a migrated template."""
    binaries = installed(15)
    if binaries is None:
        pytest.skip("PostgreSQL 15 is not installed here; CI runs this")
    async with running(state_folder / f"backup-{uuid4().hex}", binaries=binaries, options={"fsync": "off"}) as server:
        made = Postgres(server)
        await made.make_template()
        yield made


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def only(monkeypatch: pytest.MonkeyPatch, *versions: int) -> None:
    """Leaves only the programs of these versions on the machine."""
    here = [tools for tools in programs.found() if tools.version in versions]
    monkeypatch.setattr(programs, "found", lambda: here)


async def test_a_backup_of_15_goes_into_15_and_18_and_one_of_18_not_into_15(
    postgres: Postgres, older: Postgres, tmp_path: Path
) -> None:
    source = older.server.dsn(database=await older.create())
    connection = await asyncpg.connect(source)
    await connection.execute("insert into public.communities (slug, name) values ('here', 'Here')")
    await connection.close()
    made = await backup.make(source, "DATABASE_URL", tmp_path, tell=silent)
    assert (made.archive.manifest.server, made.archive.manifest.tool, made.note) == (15, 15, None)
    for server in (postgres, older):
        target = server.server.dsn(database=await server.create())  # migrated, and nobody in it
        restored = await backup.restore(made.archive.path, target, "--into", tell=silent)
        assert (restored.proved, restored.violations) == (True, 0)
    newer = await backup.make(target_of(postgres), "DATABASE_URL", tmp_path, tell=silent)
    with pytest.raises(CareError, match=r"was made on PostgreSQL 18; this server is 15, .* Restore into PostgreSQL 18"):
        await backup.restore(newer.archive.path, older.server.dsn(), "--into", tell=silent)


def target_of(postgres: Postgres) -> str:
    """The template, which has no rows of people and will do for a backup."""
    return postgres.server.dsn(database="care_template")


async def test_with_a_newer_pg_dump_alone_it_says_where_the_backup_can_go(
    postgres: Postgres, older: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        only(patched, 18)
        made = await backup.make(target_of(older), "DATABASE_URL", tmp_path, tell=silent)
        assert made.note is not None
        assert "restored into PostgreSQL 18 and newer" in made.note
    words = r"pg_dump of version 18 wrote this backup, .* into PostgreSQL 15\. Restore into PostgreSQL 18 or newer"
    with pytest.raises(SettingsError, match=words):
        await backup.restore(made.archive.path, older.server.dsn(), "--into", tell=silent)
    target = postgres.server.dsn(database=await postgres.create())
    assert (await backup.restore(made.archive.path, target, "--into", tell=silent)).proved


async def test_without_a_fitting_program_it_says_what_to_install(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for versions, found in (((), "none"), ((15,), "version 15 in /usr/lib/postgresql/15/bin")):
        with monkeypatch.context() as patched:
            only(patched, *versions)
            with pytest.raises(SettingsError) as refused:
                await backup.make(target_of(postgres), "DATABASE_URL", tmp_path, tell=silent)
        assert "PostgreSQL 18 needs a pg_dump of version 18 or newer" in str(refused.value)
        assert "apt install postgresql-client-18" in str(refused.value)
        assert not versions or installed(15) is None or f"Found: {found}." in str(refused.value)
    assert _inside(tmp_path) == []


def _certify(key: Path, certificate: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-new", "-x509", "-days", "2", "-nodes", "-subj", "/CN=localhost", "-out", certificate,
         "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", key],
        check=True, capture_output=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
async def encrypted(state_folder: Path) -> AsyncIterator[str]:
    """The URL of a migrated database on a server that takes TLS with a password and nothing else."""
    binaries = installed(15)
    if binaries is None:
        pytest.skip("PostgreSQL 15 is not installed here; CI runs this")
    folder = state_folder / f"backup-{uuid4().hex}"
    async with running(folder, binaries=binaries, options={"fsync": "off"}) as server:
        connection = await asyncpg.connect(server.dsn())
        await connection.execute("create role boss superuser login")
        await connection.execute(f"alter role boss password '{SECRET}'")
        await connection.execute("create database care")
        await connection.close()
        connection = await asyncpg.connect(server.dsn(user="boss", database="care"))
        await migrate(connection)
        await connection.close()
    place = prepare(folder)
    key, certificate, hba = (place.data / name for name in ("server.key", "server.crt", "tls_hba.conf"))
    _certify(key, certificate)
    hba.write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
    for path in (key, certificate, hba):
        path.chmod(0o600)
        if place.account.switch:
            os.chown(path, place.account.uid, place.account.gid)
    port = free_port()
    settings = {
        "listen_addresses": "127.0.0.1", "port": port, "ssl": "on", "fsync": "off", "unix_socket_directories": "",
        "hba_file": hba,
    }  # fmt: skip
    command: list[str | Path] = [binaries.folder / "postgres", "-D", place.data]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    process = place.account.spawn(command, subprocess.DEVNULL)
    url = f"postgresql://boss:{ESCAPED}@127.0.0.1:{port}/care"
    try:
        async with asyncio.timeout(60):
            while True:
                try:
                    await (await asyncpg.connect(f"{url}?sslmode=require")).close()
                except (OSError, asyncpg.CannotConnectNowError):
                    await asyncio.sleep(0.02)
                else:
                    break
        yield url
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


@pytest.mark.parametrize("given", ["?sslmode=require", "?sslmode=prefer", "", "?application_name=care&sslmode=prefer"])
async def test_a_server_over_tls_with_a_password(
    encrypted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    made = await backup.make(encrypted + given, "DATABASE_URL", tmp_path, tell=silent)
    assert made.archive.manifest.tool == 15
    with monkeypatch.context() as patched:
        only(patched, 18)  # the wheel's, which would speak plain text or nothing
        with pytest.raises(
            SettingsError, match=r"over TLS needs a pg_dump .* that speaks TLS\. .*postgresql-client-15"
        ):
            await backup.make(encrypted + given, "DATABASE_URL", tmp_path, tell=silent)


async def test_a_restore_over_tls_has_a_login_and_a_password_of_its_own(encrypted: str, tmp_path: Path) -> None:
    made = await backup.make(encrypted, "DATABASE_URL", tmp_path, tell=silent)
    assert (await backup.restore(made.archive.path, encrypted, "--into", tell=silent)).proved
    connection = await asyncpg.connect(f"{encrypted}?sslmode=require")
    assert await connection.fetchval("select count(*) from pg_roles where rolname ~ '^care_restore_'") == 0
    await connection.close()


async def test_a_certificate_that_does_not_fit_is_refused(encrypted: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^DATABASE_URL: "):
        await backup.make(f"{encrypted}?sslmode=verify-full", "DATABASE_URL", tmp_path, tell=silent)
    assert _inside(tmp_path) == []


async def test_a_password_is_on_no_command_line(tmp_path: Path) -> None:
    fake = tmp_path / "pg_dump"
    fake.write_text('#!/bin/sh\necho "arguments: $*"\nenv\n')
    fake.chmod(0o755)
    tools = Tools(tmp_path, 18, True)
    said = await programs.run(tools, "pg_dump", "--x", server=Target("postgresql://boss@h/care", SECRET, True, 18))
    arguments = re.findall("^arguments: (.*)$", said, flags=re.MULTILINE)
    assert arguments == ["--x --dbname=postgresql://boss@h/care --no-password"]
    assert f"PGPASSWORD={SECRET}\n" in said
    assert "CARE_" not in said


def test_the_programs_run_under_the_loop_that_serves_and_their_files_are_this_users_alone() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        said = runner.run(programs.run(Tools(Path("/bin"), 18, False), "sh", "-c", "umask; echo $#", "sh", "a b"))

    assert said.split() == ["0077", "1"]


@pytest.mark.parametrize(
    ("given", "clean", "password"),
    [
        (f"postgresql://boss:{ESCAPED}@h:5/care?sslmode=require", "postgresql://boss@h:5/care?sslmode=require", SECRET),
        (f"postgresql://boss@h/care?password={ESCAPED}", "postgresql://boss@h/care?", SECRET),
        ("postgresql:///care?host=%2Frun%2Fa&user=x&search_path=y", "postgresql:///care?host=%2Frun%2Fa&user=x", None),
        (f"postgres://a:{ESCAPED}@h1:1,h2:2/care?statement_timeout=5s", "postgres://a@h1:1,h2:2/care?", SECRET),
    ],
)
async def test_what_the_programs_get_of_a_url(postgres: Postgres, given: str, clean: str, password: str | None) -> None:
    connection = await asyncpg.connect(postgres.server.dsn())
    found = await programs.target(given, connection)
    await connection.close()
    assert (found.url, found.password, found.version) == (clean, password, 18)
