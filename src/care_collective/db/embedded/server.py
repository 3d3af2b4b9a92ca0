"""Runs the private PostgreSQL: starts it, waits until it answers, starts it again when it dies, stops it.

Nothing here listens on a network, and no process is signalled that was not seen to be a server of this data folder.
"""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

import asyncpg
import structlog

from care_collective.db.embedded.binaries import Binaries, find_binaries, reachable
from care_collective.db.embedded.cluster import initialise
from care_collective.db.embedded.place import (
    SOCKET_NAME,
    Place,
    explain,
    last_lines,
    locked,
    plainly,
    prepare,
    socket_folder,
)
from care_collective.errors import SettingsError

log = structlog.get_logger("care_collective.db")

DEFAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "max_connections": "60",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "lc_messages": "C",  # we read the log
        # What members write must not reach the log (rule 20): no statements, no parameters, no DETAIL with a row in it.
        "log_statement": "none",
        "log_min_error_statement": "panic",
        "log_parameter_max_length": "0",
        "log_parameter_max_length_on_error": "0",
        "log_error_verbosity": "terse",
    }
)
_PORT: Final = int(SOCKET_NAME.rpartition(".")[2])  # names the socket; no port is opened
_HBA: Final = "local all all trust\n"  # the way here leads through the socket's folder, which others cannot enter
_LOG_LIMIT: Final = 16 << 20  # bytes; a longer log is emptied at the start
_REMNANTS: Final = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')
# Seconds.
_POLL: Final = 0.01
_READY_WITHIN: Final = 120.0  # recovery after a crash replays up to max_wal_size
_REMNANTS_WITHIN: Final = 30.0  # a statement's time-out ends the processes of a server that was killed
_ANSWER_WITHIN: Final = 10.0
_STOP_WITHIN: Final = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
_ASK_AGAIN: Final = 0.5  # one that has only just begun misses a signal where scripts ignore it, as behind a shell's &
_EVICT_WITHIN: Final = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 10.0))
_WATCH: Final = 0.2  # between two looks at our child, which cost microseconds
_RETRY_FIRST: Final = 0.5
_RETRY_MOST: Final = 30.0


@dataclass(slots=True, eq=False)
class Server:
    """A server that accepts connections, on a Unix socket only. `version` is the major one, `pid` the postmaster's:
    another one after the server died and was started again, when nothing else changes."""

    data_dir: Path
    socket_dir: Path
    port: int
    version: int
    pid: int

    def dsn(self, *, user: str = "postgres", database: str = "postgres") -> str:
        """The connection URL for a role and a database; asyncpg and libpq both read it."""
        host = quote(str(self.socket_dir), safe="")
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?host={host}&port={self.port}"


@asynccontextmanager
async def running(
    state_dir: Path, *, binaries: Binaries | None = None, options: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[Server]:
    """A server of the data in `state_dir` for as long as the block runs; afterwards it is stopped, even if cancelled.

    Arguments: `state_dir` is made where missing, with a new cluster (UTF-8, C.UTF-8, superuser `postgres`) in it;
    `binaries` default to `find_binaries()`; `options` are PostgreSQL settings over DEFAULTS, such as
    `{"fsync": "off"}` for tests. Settings of socket, network and authentication cannot be changed.
    A server that was left behind by a killed process is stopped first. As root it runs as the owner of the data,
    else as user `postgres` or `nobody`.
    A server that dies while the block runs, killed or out of memory, is started again at the same address, and the
    log tells: `embedded.restarted`, and `embedded.restart_failed` for a try that failed. It is tried until the block
    ends; whoever asks the database meanwhile has to ask again.
    Errors: SettingsError, in plain words, for all that forbids a start: another process runs it, no space, no rights,
    data of another major version, or whatever the server itself says.
    """
    found = binaries or find_binaries()
    place = prepare(state_dir)
    with locked(place):
        with plainly(place.folder):
            usable = reachable(found, place)
            await initialise(place, usable, durable=options.get("fsync") != "off")
            kept = _Kept(place, usable, options, *await _start(place, usable, options))
        try:
            yield kept.server
        finally:
            await kept.stop()


async def _within(seconds: float, done: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL)
    return True


# --- A server that dies


class _Kept:
    """A running server that is started again whenever it ends before `stop`."""

    def __init__(
        self,
        place: Place,
        binaries: Binaries,
        options: Mapping[str, str],
        process: subprocess.Popen[bytes],
        server: Server,
    ) -> None:
        self.server = server
        self._place = place
        self._binaries = binaries
        self._options = options
        self._process = process
        self._watch = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Stop watching and then the server. A cancelled caller waits all the same, within the limits of `_stop`."""
        cancelled: asyncio.CancelledError | None = None
        while not self._watch.done():
            self._watch.cancel()  # a restart under way stops what it has started; again, should a library swallow it
            try:
                await asyncio.wait([self._watch], timeout=1)
            except asyncio.CancelledError as error:
                cancelled = error
        await _stop(self._process)
        if cancelled is not None:
            raise cancelled

    async def _keep(self) -> None:
        while True:
            if self._process.poll() is not None:
                await self._restart(self._process.returncode)
            await asyncio.sleep(_WATCH)

    async def _restart(self, code: int) -> None:
        """Start it again, however often that takes. Never with a new cluster: data that is gone is a failure."""
        began = time.monotonic()
        died = f"PostgreSQL died ({f'signal {-code}' if code < 0 else f'exit code {code}'})"
        wait = _RETRY_FIRST
        for tries in count(1):
            try:
                with plainly(self._place.folder):
                    self._process, fresh = await _start(self._place, self._binaries, self._options)
            except Exception as error:  # whatever it is: giving up would leave us without a database
                known = isinstance(error, SettingsError)
                log.error(
                    "embedded.restart_failed",
                    words=f"{died} and could not be started again. {error if known else repr(error)}",
                    tries=tries,
                    next_try_seconds=wait,
                    exc_info=not known,
                )
                await asyncio.sleep(wait)
                wait = min(2 * wait, _RETRY_MOST)
            else:
                self.server.pid = fresh.pid
                seconds = round(time.monotonic() - began, 2)
                log.warning("embedded.restarted", words=f"{died} and runs again.", seconds=seconds, tries=tries)
                return


# --- A server left behind


async def _evict(place: Place) -> None:
    """Stop a server of this data folder whose owner was killed, and remove what would keep ours from starting.

    We hold the lock, so that it has no owner any more. Its pid file is not trusted: the pid in it may be another
    process's by now, and it may be empty. Processes are looked at instead.
    """
    if not _can_look():
        return  # where we cannot look, PostgreSQL judges the pid file, and may refuse
    pids = list(_servers(place))
    for number, seconds in _EVICT_WITHIN:
        for pid in pids:
            if _serves(pid, place):  # anew, right before the signal: pids are used again
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        if await _within(seconds, lambda: not any(_serves(pid, place) for pid in pids)):
            break
    else:
        raise SettingsError(f"An earlier server of {place.data} does not stop. End process {pids[0]} and start again.")
    # Had we overlooked a server, PostgreSQL still finds it by its shared memory and refuses.
    with plainly(place.folder):
        (place.data / "postmaster.pid").unlink(missing_ok=True)
        (socket_folder(place) / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)


def _can_look() -> bool:
    return Path("/proc/self/cmdline").exists()


def _servers(place: Place) -> Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdecimal() and _serves(int(entry), place))  # noqa: PTH208


def _serves(pid: int, place: Place) -> bool:
    """Whether a live process is a postmaster that was started for this data folder, by its owner and command line."""
    process = Path("/proc") / str(pid)
    try:
        if process.stat().st_uid != place.account.uid:
            return False
        match (process / "cmdline").read_bytes().split(b"\0"):
            case [program, b"-D", data, *_] if os.path.basename(program) == b"postgres":  # noqa: PTH119  bytes
                return os.path.samefile(data, place.data)  # noqa: PTH121  bytes
    except OSError:
        pass  # it has ended, or is none of ours to read
    return False


# --- Start and stop


class _Log:
    """The server's log file, and what was written to it since this start."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.fchmod(self.handle, 0o600)
        if os.fstat(self.handle).st_size > _LOG_LIMIT:
            os.ftruncate(self.handle, 0)
        self._start = os.fstat(self.handle).st_size

    def tail(self) -> str:
        """The last lines since the start."""
        with self._path.open("rb") as file:
            file.seek(self._start)
            return last_lines(file.read())

    def close(self) -> None:
        """Close our end; the server keeps its own."""
        os.close(self.handle)


async def _start(
    place: Place, binaries: Binaries, options: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], Server]:
    """Start a server and wait until it answers.

    Processes of a server that was killed hold its shared memory until they notice, and a server whose owner was
    killed may just be writing its pid file. PostgreSQL refuses meanwhile, and it is tried again.
    """
    command, socket_dir = _command(place, binaries, options)
    deadline = time.monotonic() + _REMNANTS_WITHIN
    while True:
        await _evict(place)
        file = _Log(place.folder / "postgres.log")
        process = place.account.spawn(command, file.handle)
        try:
            if await _ready(process, place):
                server = Server(place.data, socket_dir, _PORT, binaries.version, process.pid)
                await _greet(server)
                return process, server
            words = file.tail()
        except BaseException:
            await _stop(process)
            raise
        finally:
            file.close()
        if not any(remnant in words for remnant in _REMNANTS) or time.monotonic() > deadline:
            raise explain(f"PostgreSQL did not start in {place.folder}.", words, place.folder)
        await asyncio.sleep(10 * _POLL)


def _command(place: Place, binaries: Binaries, options: Mapping[str, str]) -> tuple[list[str | Path], Path]:
    """The server's command line, and the folder of its socket. Settings stand here and not in a file, where an older
    start or a hand could have left others."""
    socket_dir = socket_folder(place)
    hba = place.folder / "pg_hba.conf"
    hba.write_text(_HBA)
    hba.chmod(0o644)
    fixed = {
        "listen_addresses": "",
        "unix_socket_directories": f'"{socket_dir}"',
        "unix_socket_permissions": "0700",
        "port": str(_PORT),
        "hba_file": str(hba),
        "logging_collector": "off",
    }
    settings = {**DEFAULTS, **options, **fixed}
    command: list[str | Path] = [binaries.folder / "postgres", "-D", place.data]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    return command, socket_dir


async def _ready(process: subprocess.Popen[bytes], place: Place) -> bool:
    """Wait until our own child says that it accepts connections; False if it ended instead."""

    def settled() -> bool:
        return process.poll() is not None or _says_ready(process.pid, place)

    if not await _within(_READY_WITHIN, settled):
        raise SettingsError(f"PostgreSQL in {place.folder} was not ready in {_READY_WITHIN:.0f} s. Read its log there.")
    return process.poll() is None


def _says_ready(pid: int, place: Place) -> bool:
    # Line 1 is the pid, line 8 the state (PostgreSQL's miscadmin.h). A file left behind has another pid.
    try:
        lines = (place.data / "postmaster.pid").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


async def _greet(server: Server) -> None:
    try:
        connection = await asyncpg.connect(server.dsn(), timeout=_ANSWER_WITHIN)
        await connection.close(timeout=_ANSWER_WITHIN)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise SettingsError(f"PostgreSQL started in {server.data_dir} but does not answer: {error!r}") from error


async def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the server: fast, then at once, then by force. A cancelled caller waits all the same, within the limits."""
    cancelled: asyncio.CancelledError | None = None
    for number, seconds in _STOP_WITHIN:
        next_asking = time.monotonic()
        deadline = next_asking + seconds
        while process.poll() is None and time.monotonic() < deadline:
            if time.monotonic() >= next_asking:
                process.send_signal(number)
                next_asking += _ASK_AGAIN
            try:
                await asyncio.sleep(_POLL)
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled
