"""Fixtures of every test. Those in database/ and engines/ run on PostgreSQL 15 and 18, the others on the embedded."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from care_collective.db.embedded import running
from harness import Care, Postgres, Town, care, installed

BOTH = ("database", "engines")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "postgres" in metafunc.fixturenames:
        versions = (18, 15) if metafunc.definition.path.parent.name in BOTH else (18,)
        metafunc.parametrize("postgres", versions, indirect=True, scope="session", ids=lambda v: f"pg{v}")


@pytest.fixture(scope="session")
def state_folder() -> Iterator[Path]:
    """A folder that an ordinary user can reach, unlike pytest's own when root runs it."""
    folder = Path(tempfile.mkdtemp(prefix="care-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
async def postgres(request: pytest.FixtureRequest, state_folder: Path) -> AsyncIterator[Postgres]:
    """A running server of the version that the test is for, with a migrated template."""
    binaries = installed(request.param)
    if binaries is None:
        pytest.skip(f"PostgreSQL {request.param} is not installed here; CI runs this")
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    folder = state_folder / f"{worker}-{request.param}"
    async with running(folder, binaries=binaries, options={"fsync": "off", "max_connections": "120"}) as server:
        made = Postgres(server)
        await made.make_template()
        yield made


@pytest.fixture(scope="session")
async def shared(postgres: Postgres) -> AsyncIterator[Care]:
    """One database for all tests that keep to a community of their own."""
    async with care(postgres, await postgres.create()) as opened:
        yield opened


@pytest.fixture
async def scratch(postgres: Postgres) -> AsyncIterator[Care]:
    """A database for one test alone."""
    name = await postgres.create()
    async with care(postgres, name) as opened:
        yield opened
    await postgres.drop(name)


@pytest.fixture
async def town(shared: Care) -> Town:
    """A community of the test's own in the shared database."""
    return await shared.town()
