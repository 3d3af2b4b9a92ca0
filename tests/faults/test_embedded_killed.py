"""The private PostgreSQL under kills: of it, of its owner, while it starts; and stale files."""

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import asyncpg
import pytest
from structlog.testing import capture_logs

from care_collective.db.embedded import Binaries, Server, running
from care_collective.db.embedded.place import prepare
from care_collective.errors import SettingsError
from faults.own_server import FAST, alive, eventually, ours, owner, processes_of, says, shell, value

log = logging.getLogger(__name__)


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
    # As behind a shell's &: what has only just begun misses the first word.
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN) if moment == "starting" else None
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
        finally:
            if heard is not None:
                signal.signal(signal.SIGINT, heard)
            task.cancel()  # only after a failure
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
