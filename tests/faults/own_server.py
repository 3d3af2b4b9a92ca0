"""What tests of the private PostgreSQL do with one: own it, strike it, ask it."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from care_collective.db.embedded import Binaries
from engines.stage import SCALE
from harness import in_memory

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
