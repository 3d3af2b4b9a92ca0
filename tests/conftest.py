"""Fixtures of every test. Those in database/ and engines/ run on PostgreSQL 15 and 18, the others on the embedded.

What is marked `alike` is our own doing, and plpgsql_check reads every statement of it on 15
(database/test_lints.py). It runs on 15 where CARE_TEST_ROUNDS is above 1.
"""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import cache
from pathlib import Path

import httpx
import pytest

from care_collective.db import migrate
from care_collective.db.embedded import running
from engines.stage import SCALE
from harness import Care, Postgres, Town, care, in_memory, installed

_DISK = Path(tempfile.gettempdir())
BOTH = ("database", "engines")
# What takes long for its few tests, longest first. A file is one worker's: begun last, it would leave the others idle.
LONG = (
    "test_every_page.py",
    "test_bench.py",
    "test_embedded_killed.py",
    "test_crashes.py",
    "test_composer.py",
    "test_generated.py",
    "test_deployed.py",
    "test_live.py",
    "test_backup.py",
    "test_storm.py",
    "test_embedded.py",
    "test_pages.py",
    "test_walk.py",
    "test_rollout.py",
    "test_races.py",
    "test_serving.py",
    "test_rehearsal.py",
    "test_backups.py",
    "test_killed_site.py",
    "test_switch.py",
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "postgres" in metafunc.fixturenames:
        alike = metafunc.definition.get_closest_marker("alike") is not None and SCALE <= 1
        versions = (18, 15) if metafunc.definition.path.parent.name in BOTH and not alike else (18,)
        metafunc.parametrize("postgres", versions, indirect=True, scope="session", ids=lambda v: f"pg{v}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the long files; scripts/test has them handed out in this order."""
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONG)))


@pytest.fixture(scope="session", autouse=True)
def certificates() -> Iterator[None]:
    """Every client of httpx would read this machine's hundred certificates anew, which takes longer than most tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("httpx._transports.default.create_ssl_context", cache(httpx.create_ssl_context))
        yield


@contextmanager
def _open_folder(parent: Path | None) -> Iterator[Path]:
    """A folder that an ordinary user can reach, unlike pytest's own when root runs it."""
    folder = Path(tempfile.mkdtemp(prefix="care-test-", dir=parent))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def disk_folder() -> Iterator[Path]:
    """Where a commit takes as long as a disk does."""
    with _open_folder(_DISK) as folder:
        yield folder


@pytest.fixture(scope="session")
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where clusters lie, and temporary files, of which the product makes scratch clusters."""
    tmp_path_factory.getbasetemp()  # made before, so that it outlives the run for who looks into a failure
    with _open_folder(in_memory()) as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


@pytest.fixture
def own_release() -> Iterator[None]:
    """For tests that stand in for another release: what a process remembers of its release ends with the test."""
    migrate._checksums.cache_clear()
    yield
    migrate._checksums.cache_clear()


class Servers:
    """The servers of one test process, each started at its first use and kept to the end: parallel runs come and go."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._running: dict[int, Postgres] = {}
        self._shared: dict[Postgres, Care] = {}

    async def get(self, version: int) -> Postgres:
        """A running server of a major version, with a migrated template."""
        if version not in self._running:
            binaries = installed(version)
            if binaries is None:
                pytest.skip(f"PostgreSQL {version} is not installed here; CI runs this")
            # Databases that tests share for a whole run keep what their pools once opened: 28 each, and 72 in a storm.
            options = {"fsync": "off", "max_connections": "400"}
            folder = self._folder / str(version)
            server = await self._stack.enter_async_context(running(folder, binaries=binaries, options=options))
            self._running[version] = Postgres(server)
            await self._running[version].make_template()
        return self._running[version]

    async def shared(self, postgres: Postgres) -> Care:
        """The one database of a server that tests share."""
        if postgres not in self._shared:
            made = care(postgres, await postgres.create())
            self._shared[postgres] = await self._stack.enter_async_context(made)
        return self._shared[postgres]


@pytest.fixture(scope="session")
async def servers(state_folder: Path) -> AsyncIterator[Servers]:
    """The servers that tests run on."""
    async with AsyncExitStack() as stack:
        yield Servers(state_folder, stack)


@pytest.fixture(scope="session")
async def postgres(request: pytest.FixtureRequest, servers: Servers) -> Postgres:
    """A running server of the version that the test is for, with a migrated template."""
    return await servers.get(request.param)


@pytest.fixture(scope="session")
async def shared(postgres: Postgres, servers: Servers) -> Care:
    """One database for all tests that keep to a community of their own."""
    return await servers.shared(postgres)


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
