"""Fixtures of the private PostgreSQL's tests: its programs, and a cluster to be copied."""

import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from care_collective.db.embedded import Binaries, find_binaries, running
from faults.own_server import FAST, execute, new_folder, processes_of, shell

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")


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
