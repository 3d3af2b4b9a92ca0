"""Rule 19: a backup made while members write is restored and equal; whatever is none is refused in words."""

import asyncio
import io
import os
import re
import subprocess
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from care_collective.db.embedded import find_binaries
from care_collective.db.migrate import migrate
from care_collective.db.rights import open_table
from care_collective.errors import CareError, SettingsError
from care_collective.operations import backup
from care_collective.operations.backup import archive, confined, programs
from care_collective.operations.backup.counts import compared
from care_collective.operations.backup.programs import Tools
from care_collective.operations.startup import silent
from database.steps import Stage, legacy_steps, stage
from database.test_migrations import DEFINITIONS
from database.test_migrations import empty as bare
from database.test_platform import manager
from harness import Postgres, care

WIDE = {"conversations_per_hour": 1_000_000, "messages_per_minute": 1_000_000}


@pytest.fixture(scope="module")
async def home(postgres: Postgres) -> AsyncIterator[Stage]:
    """A database with two members in conversation, in V1 and V2, for this module."""
    name = await postgres.create()
    async with care(postgres, name) as opened:
        here = await stage(await opened.town(limits=WIDE))
        assert (await legacy_steps(here.helper, here.open_request))["success"]
        yield here
    await postgres.drop(name)


@pytest.fixture(scope="module")
async def kept(home: Stage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound backup of it."""
    made = await backup.make(_url(home), "DATABASE_URL", tmp_path_factory.mktemp("kept"), tell=silent)
    return made.archive.path


@pytest.fixture
async def empty(postgres: Postgres) -> AsyncIterator[str]:
    """A database without anything in it, by name."""
    name = await postgres.create(template="template0")
    yield name
    await postgres.drop(name)


def _url(home: Stage) -> str:
    return home.town.care.server.dsn(database=home.town.care.name)


def _inside(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def _value(url: str, question: str, *arguments: object) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(question, *arguments)
    finally:
        await connection.close()


async def _definitions(url: str) -> list[tuple[str, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(DEFINITIONS)]
    finally:
        await connection.close()


async def _relations(url: str) -> object:
    """How much of ours a database holds."""
    return await _value(
        url,
        "select count(*) from pg_class c where c.relnamespace in (to_regnamespace('public'), to_regnamespace('care'))",
    )


# ------------------------------------------------------------------------------------------------------- the proof


async def test_a_backup_under_live_writes_holds_what_was_acknowledged_before_and_is_restored_equal(
    postgres: Postgres, home: Stage, empty: str, tmp_path: Path
) -> None:
    acknowledged: list[str] = []
    goal = 0
    reached, stopped = asyncio.Event(), asyncio.Event()

    async def write(writer: int) -> None:
        person = (home.owner, home.helper)[writer % 2]
        while not stopped.is_set():
            words = f"Message {len(acknowledged)} of writer {writer}"
            sent = await person.send(home.conversation, words)
            assert sent["success"], sent
            acknowledged.append(sent["message_id"])
            if len(acknowledged) >= goal:
                reached.set()

    async def more(number: int) -> None:
        nonlocal goal
        goal = len(acknowledged) + number
        reached.clear()
        await asyncio.wait_for(reached.wait(), 60)

    writing = [asyncio.create_task(write(writer)) for writer in range(4)]
    try:
        await more(40)
        before = set(acknowledged)
        made = await backup.make(_url(home), "DATABASE_URL", tmp_path, tell=silent)
        during = set(acknowledged) - before
        await more(4)
    finally:
        stopped.set()
        await asyncio.gather(*writing)
    assert during, "nobody wrote meanwhile"
    assert made.archive.path.parent == tmp_path
    assert made.archive.path.stat().st_mode & 0o777 == 0o600
    assert _inside(tmp_path) == [made.archive.path.name]

    checked = await backup.verify(made.archive.path, tell=silent)
    assert checked.proved, checked.differences
    assert checked.violations == 0

    url = postgres.server.dsn(database=empty)
    restored = await backup.restore(made.archive.path, url, "--into", tell=silent)
    assert (restored.proved, restored.violations) == (True, 0)
    async with care(postgres, empty) as elsewhere:
        held = {str(row[0]) for row in await elsewhere.owner.fetch("select id from public.messages_v2")}
        assert before <= held
        assert held <= set(acknowledged), "a message that nobody was told of"
        assert len(held) == made.archive.manifest.tables["public.messages_v2"].rows
        assert await elsewhere.violations() == []
        # It is a database of this release, closed to the web process, and can be worked with.
        assert await _definitions(url) == await _definitions(_url(home))
        web = await elsewhere.connect("care_app")
        assert await open_table(web) is None
        await web.close()
        sent = await elsewhere.database.call(
            "public.send_message_v2",
            home.helper.caller(),
            p_conversation_id=home.conversation,
            p_sender_id=home.helper.user_id,
            p_content="Still here, elsewhere",
        )
        assert sent.data()["success"]
        assert (await migrate_again(elsewhere.owner)) is True
        events = await elsewhere.owner.fetch("select event, file_sha256 from care.backups")
        assert [tuple(event) for event in events] == [("restored", made.archive.sha256)]


async def migrate_again(owner: asyncpg.Pool) -> bool:
    """Whether there was nothing left to migrate."""
    async with owner.acquire() as connection:
        return (await migrate(connection)).empty


HARMS = {
    "public.help_requests": "update {0} set title = title || '!' where id = (select id from {0} limit 1)",
    "public.conversation_members": "delete from {0} where ctid = (select ctid from {0} limit 1)",
    "care.users": "insert into care.users (email) values ('one-more@example.org')",
    # What a sum of the columns would not see: one row's value is now another's.
    "public.profiles": "update {} set display_name = case display_name when 'Olga' then 'Hal' else 'Olga' end",
    "public.user_blocks": "alter table public.user_blocks set schema care",
}


async def test_the_comparison_sees_each_harm_and_no_order(postgres: Postgres, kept: Path, empty: str) -> None:
    expected = archive.read(kept).manifest.tables
    url = postgres.server.dsn(database=empty)
    await backup.restore(kept, url, "--into", tell=silent)
    connection = await asyncpg.connect(url)
    await connection.execute("delete from care.backups")  # which says that it was restored
    await connection.execute("update public.profiles set display_name = display_name")  # other places, same rows
    assert await compared(connection, expected) == []
    harmed = set()
    for table, harm in HARMS.items():
        await connection.execute(harm.format(table))
        harmed.add(table)
        seen = {line.partition(":")[0] for line in await compared(connection, expected)}
        assert seen - {"care.user_blocks"} == harmed
    await connection.close()


async def test_a_restore_that_is_not_equal_is_refused_and_taken_away(
    postgres: Postgres, kept: Path, empty: str, tmp_path: Path
) -> None:
    forged = _resealed(kept, tmp_path, lambda m: msgspec.structs.replace(m, tables={**m.tables, **_one_more(m)}))
    checked = await backup.verify(forged, tell=silent)
    assert not checked.proved
    assert checked.differences[0].startswith("public.profiles: ")
    url = postgres.server.dsn(database=empty)
    with pytest.raises(CareError, match=r"is not what was backed up; it was removed again\. public\.profiles"):
        await backup.restore(forged, url, "--into", tell=silent)
    assert await _relations(url) == 0
    assert (await backup.restore(kept, url, "--into", tell=silent)).proved  # and it can be used


def _one_more(manifest: archive.Manifest) -> dict[str, archive.Contents]:
    table = manifest.tables["public.profiles"]
    return {"public.profiles": archive.Contents(table.rows + 1, table.checksum)}


def _resealed(
    kept: Path, folder: Path, change: Callable[[archive.Manifest], archive.Manifest], name: str = "forged.dump"
) -> Path:
    """The same dump under another manifest."""
    manifest = archive.read(kept).manifest
    forged = folder / name
    forged.write_bytes(kept.read_bytes()[: manifest.dump_bytes])
    archive.seal(forged, change(manifest))
    return forged


# ------------------------------------------------------------------------------------------------ somebody's SQL


def _with_sql(kept: Path, folder: Path, statement: str) -> Path:
    """The backup with another statement where a comment was, sealed anew: whoever makes a file can do this."""
    manifest = archive.read(kept).manifest
    content = kept.read_bytes()[: manifest.dump_bytes]
    # The last one with room for it: every table and function that a statement names is there by then.
    comments = re.findall(rb"COMMENT ON (?:TABLE|FUNCTION) [^;]*;\n", content)
    comment = [found for found in comments if len(statement) <= len(found)][-1]
    forged = folder / "forged.dump"
    forged.write_bytes(content.replace(comment, statement.encode().ljust(len(comment))))
    size, digest = archive.dump_digest(forged)
    archive.seal(forged, msgspec.structs.replace(manifest, dump_bytes=size, dump_sha256=digest))
    return forged


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """A folder into which any account may write."""
    with tempfile.TemporaryDirectory(prefix="care-") as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("reset role;copy (select 1) to program 'id>{0}'", "permission denied to COPY to or from an external program"),
        ("commit;reset role;copy (select 1) to '{0}'", "permission denied to COPY to a file"),
        ("commit;create view public.v as select 1;reset role;alter role postgres nologin", "permission denied"),
        (
            (
                "create function public.f(oid,regnamespace)returns bool return true;"
                "create operator public.=(leftarg=oid,rightarg=regnamespace,function=public.f)"
            ),
            "holds what no release of Care Collective makes: operator ",
        ),
        (
            (
                "drop function care.violations;create function care.violations() returns int as "
                "'reset role;copy (select 1)to program ''id>{0}'';select 1'language sql"
            ),
            "permission denied to COPY",
        ),
    ],
    ids=["program", "file", "committed", "operator", "function"],
)
async def test_what_a_file_orders_beyond_its_tables_is_not_done(
    postgres: Postgres, kept: Path, empty: str, tmp_path: Path, everybodys: Path, statement: str, words: str
) -> None:
    forged = _with_sql(kept, tmp_path, statement.format(everybodys / "x"))
    url = postgres.server.dsn(database=empty)
    if "commit" not in statement:  # what is confined, and how, is one and the same
        with pytest.raises((CareError, SettingsError), match=words):
            await backup.verify(forged, tell=silent)
    if "function care.violations" not in statement:  # which a restore writes anew before it is called
        with pytest.raises((CareError, SettingsError), match=words):
            await backup.restore(forged, url, "--into", tell=silent)
        assert await _relations(url) == 0
    assert _inside(everybodys) == []
    assert not await _value(url, "select exists (select from pg_roles where rolname ~ '^care_restore_')")


async def test_a_superuser_whose_server_lets_nobody_else_in_is_refused(
    postgres: Postgres, kept: Path, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.server.dsn(database=empty)
    monkeypatch.setattr(confined, "_as_login", lambda url, name, password: url.replace("postgres@", "absent@"))
    with pytest.raises(SettingsError, match="not restored with a superuser's rights"):
        await backup.restore(kept, url, "--into", tell=silent)
    assert not await _value(url, "select exists (select from pg_roles where rolname ~ '^care_restore_')")


async def test_an_owner_who_may_make_no_login_restores_itself(postgres: Postgres, kept: Path) -> None:
    admin = await asyncpg.connect(postgres.server.dsn())
    async with manager(postgres, "") as name:
        await admin.execute(f"grant care_owner, care_app to {name}")
        try:
            async with bare(postgres, f"owner {name}") as address:
                assert (await backup.restore(kept, address(name), "--into", tell=silent)).proved
        finally:
            await admin.execute(f"drop owned by {name}")
            await admin.execute(f"revoke care_owner, care_app from {name}")
            await admin.close()


# ------------------------------------------------------------------------------------------------- what is no backup


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a", "b")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"Usage: pg_dump [OPTION]...\n", "no backup of Care Collective, but something else"),
        (b"create table public.messages (id integer);\n" * 1000, "something else"),
        (_zip(), "something else"),
        (b"PGDMP", "is cut off, or pg_dump alone made it"),
    ],
    ids=["nothing", "usage", "sql", "zip", "head"],
)
async def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "file.dump"
    file.write_bytes(content)
    for attempt in (
        backup.verify(file, tell=silent),
        backup.restore(file, "postgresql://nobody@127.0.0.1:1/x", "x", tell=silent),
    ):
        with pytest.raises(CareError, match=words):
            await attempt


def test_a_file_that_is_absent_or_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CareError, match="cannot be read: No such file"):
        archive.read(tmp_path / "absent")
    with pytest.raises(CareError, match="cannot be read: Is a directory"):
        archive.read(tmp_path)


def test_every_cut_is_noticed(kept: Path, tmp_path: Path) -> None:
    whole = kept.read_bytes()
    cut = tmp_path / "cut.dump"
    dump = archive.read(kept).manifest.dump_bytes
    lengths = [5, 100, dump // 2, dump - 1, dump, dump + 1, *range(len(whole) - 80, len(whole))]
    for length in lengths:
        cut.write_bytes(whole[:length])
        with pytest.raises(CareError, match="is cut off"):
            archive.read(cut)
    cut.write_bytes(whole + b"\n")
    with pytest.raises(CareError, match="is cut off"):
        archive.read(cut)


def test_every_changed_byte_is_noticed(kept: Path, tmp_path: Path) -> None:
    whole = bytearray(kept.read_bytes())
    changed = tmp_path / "changed.dump"
    dump = archive.read(kept).manifest.dump_bytes
    for place in (
        6,
        dump // 2,
        dump - 1,
        dump + 20,
        len(whole) - 50,
        len(whole) - 30,
        len(whole) - 18,
        len(whole) - 17,
    ):
        whole[place] ^= 1
        changed.write_bytes(whole)
        with pytest.raises(CareError, match="is damaged"):
            archive.read(changed)
        whole[place] ^= 1
    changed.write_bytes(whole)
    archive.read(changed)


def test_a_newer_release_is_refused(kept: Path, tmp_path: Path) -> None:
    for change in (
        lambda m: msgspec.structs.replace(m, release="0.10.0"),
        lambda m: msgspec.structs.replace(m, migrations={**m.migrations, 9999: "x"}),
    ):
        with pytest.raises(CareError, match=r"newer than this one \(0\.1\.0\)\. Upgrade the software first"):
            archive.read(_resealed(kept, tmp_path, change))
    with pytest.raises(CareError, match="development version: its migration 0002_core"):
        archive.read(
            _resealed(kept, tmp_path, lambda m: msgspec.structs.replace(m, migrations={**m.migrations, 2: "x"}))
        )
    later = tmp_path / "later.dump"
    later.write_bytes(kept.read_bytes()[:-1] + b"2")
    with pytest.raises(CareError, match="newer release"):
        archive.read(later)


def test_a_backup_is_opened_by_pg_restore_alone(kept: Path) -> None:
    listed = subprocess.run([find_binaries().folder / "pg_restore", "--list", kept], capture_output=True, text=True)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "TABLE DATA public messages_v2 care_owner" in listed.stdout


# --------------------------------------------------------------------------------------------------------- targets


async def test_a_target_that_is_not_empty_is_refused_untouched(
    postgres: Postgres, home: Stage, kept: Path, empty: str
) -> None:
    url = postgres.server.dsn(database=empty)
    await _value(url, "create table public.recipes (id integer)")
    with pytest.raises(CareError, match=r"tables of other software \(public\.recipes\)"):
        await backup.restore(kept, url, "--into", tell=silent)
    assert await _relations(url) == 1
    await _value(url, "drop table public.recipes")

    connection = await asyncpg.connect(url)
    await migrate(connection)
    await connection.execute("insert into public.communities (slug, name) values ('here', 'Here')")
    before = await _definitions(url)
    with pytest.raises(CareError, match=r"is not empty: public\.communities holds rows"):
        await backup.restore(kept, url, "--into", tell=silent)
    assert await _definitions(url) == before
    # Made and migrated, and nobody in it: that is what a first start leaves, and it is empty.
    await connection.execute("delete from public.communities")
    await connection.execute("select care.probe_place()")
    beside = await asyncpg.connect(url, server_settings={"application_name": "care-collective"})
    with pytest.raises(CareError, match=r"in use\. Stop `serve`"):
        await backup.restore(kept, url, "--into", tell=silent)
    await beside.close()
    assert (await backup.restore(kept, url, "--into", tell=silent)).proved
    await connection.close()


async def test_an_owner_who_is_no_superuser_restores_and_backs_up(
    postgres: Postgres, kept: Path, tmp_path: Path
) -> None:
    admin = await asyncpg.connect(postgres.server.dsn())
    async with manager(postgres, "createrole createdb") as name:
        await admin.execute(f"grant care_owner, care_app to {name} with admin true, set false, inherit false")
        try:
            async with bare(postgres, f"owner {name}") as address:
                restored = await backup.restore(kept, address(name), "--into", tell=silent)
                assert (restored.proved, restored.violations) == (True, 0)
                made = await backup.make(address(name), "DATABASE_URL", tmp_path, tell=silent)
                assert (
                    made.archive.manifest.tables["public.profiles"]
                    == restored.archive.manifest.tables["public.profiles"]
                )
                with pytest.raises(CareError, match="is not empty"):
                    await backup.restore(kept, address(name), "--into", tell=silent)
        finally:
            await admin.execute(f"reassign owned by {name} to postgres; drop owned by {name}")
            await admin.execute(f"revoke care_owner, care_app from {name} cascade")
            await admin.close()


async def test_other_peoples_tables_are_neither_read_nor_taken_along(
    postgres: Postgres, home: Stage, empty: str, tmp_path: Path
) -> None:
    await home.town.care.owner.execute(
        'create table public."other ""s" (id integer); create view public.v as select 1; create sequence public.s; '
        "create function public.f() returns integer language sql as 'select 1'"
    )
    try:
        made = await backup.make(_url(home), "DATABASE_URL", tmp_path, tell=silent)
    finally:
        await home.town.care.owner.execute(
            'drop table public."other ""s"; drop view public.v; drop sequence public.s; drop function public.f()'
        )
    url = postgres.server.dsn(database=empty)
    await backup.restore(made.archive.path, url, "--into", tell=silent)
    assert await _definitions(url) == await _definitions(_url(home))


# ------------------------------------------------------------------------------------------- what forbids a backup


async def test_a_folder_that_is_not_there_is_named(home: Stage, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder, words in ((tmp_path / "absent", "is not there"), (tmp_path / "file", "is no folder")):
        with pytest.raises(SettingsError, match=words):
            await backup.make(_url(home), "DATABASE_URL", folder, tell=silent)


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A small volume of its own."""
    if not _did("mount", "-t", "tmpfs", "-o", "size=64k", "care-test", tmp_path):
        pytest.skip("may not mount a small volume here")
    yield tmp_path
    assert _did("umount", tmp_path)


def _did(*command: str | Path) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


async def test_a_full_or_read_only_volume_leaves_nothing(home: Stage, volume: Path) -> None:
    with pytest.raises(SettingsError, match="No space is left there"):
        await backup.make(_url(home), "DATABASE_URL", volume, tell=silent)
    assert _inside(volume) == []
    assert _did("mount", "-o", "remount,ro", volume)
    with pytest.raises(SettingsError, match=f"No backup can be written into {volume}: Read-only file system"):
        await backup.make(_url(home), "DATABASE_URL", volume, tell=silent)


async def test_a_login_without_the_owners_rights_is_told_so(home: Stage, tmp_path: Path) -> None:
    await home.town.care.owner.execute("create role reader login")
    try:
        url = home.town.care.server.dsn(user="reader", database=home.town.care.name)
        with pytest.raises(SettingsError, match="DATABASE_OWNER_URL: its user may not do what is needed"):
            await backup.make(url, "DATABASE_OWNER_URL", tmp_path, tell=silent)
    finally:
        await home.town.care.owner.execute("drop role reader")
    assert _inside(tmp_path) == []


async def test_a_database_with_nothing_of_ours(postgres: Postgres, empty: str, tmp_path: Path) -> None:
    with pytest.raises(CareError, match="there is nothing to back up"):
        await backup.make(postgres.server.dsn(database=empty), "DATABASE_URL", tmp_path, tell=silent)


@pytest.mark.parametrize("script", ["echo half >$out; echo 'pg_dump: error: the lights went out' >&2; exit 1", "wait"])
async def test_a_dump_that_fails_or_is_cancelled_leaves_nothing(
    home: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    tools, folder = tmp_path / "tools", tmp_path / "backups"
    tools.mkdir()
    folder.mkdir()
    if script == "wait":
        os.mkfifo(tools / "never")
        os.mkfifo(tools / "pid")
        script = f'echo $$ >"{tools}/pid"; read x <"{tools}/never"'
    fake = tools / "pg_dump"
    fake.write_text(f"#!/bin/sh\nfor a; do case $a in --file=*) out=${{a#--file=}} ;; esac; done\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setattr(programs, "found", lambda: [Tools(tools, 18, True)])
    started, original = asyncio.Event(), asyncio.create_subprocess_exec

    async def noted(*command: Any, **options: Any) -> asyncio.subprocess.Process:  # noqa: ANN401  its own
        process = await original(*command, **options)
        started.set()
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    making = asyncio.create_task(backup.make(_url(home), "DATABASE_URL", folder, tell=silent))
    if "never" in script:
        pid = await asyncio.to_thread((tools / "pid").read_text)  # as soon as it runs
        await started.wait()
        making.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(making, 20)
        assert making.cancelled()
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
    else:
        with pytest.raises(SettingsError, match="pg_dump gave up: the lights went out"):
            await making
    assert _inside(folder) == []
