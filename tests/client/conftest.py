"""The application on a real socket, in each engine, and clients that call it."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
import structlog

from care_collective.accounts import tokens
from care_collective.client import CareClient
from care_collective.web.services import Services, utc_now
from harness import Care, Person, Town
from web_harness import SETTINGS, services_for, serving

Connect = Callable[..., CareClient]


@pytest.fixture(params=["v1", "v2"])
def engine(request: pytest.FixtureRequest) -> str:
    """The engine that opens conversations, for tests that concern both."""
    return str(request.param)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """A line a request is too much for thousands of requests."""
    structlog.configure(processors=[_drop])
    yield
    structlog.reset_defaults()


def _drop(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    raise structlog.DropEvent


@pytest.fixture
async def services(shared: Care, engine: str) -> AsyncIterator[Services]:
    """One node whose flag is off or on."""
    made = services_for(shared, messaging_v2_rollout="on" if engine == "v2" else "off")
    yield made
    await made.close()


@pytest.fixture
async def port(services: Services) -> AsyncIterator[int]:
    """Where the node listens."""
    async with serving(services) as listening:
        yield listening


def token(person: Person) -> str:
    """A member's bearer token."""
    return tokens.issue(
        SETTINGS.jwt_secret or "", user_id=person.user_id, community_id=person.town.community_id, now=utc_now()
    )


async def at_once(_: float) -> None:
    """A sleep that tests need not wait for."""


@pytest.fixture
async def connect(town: Town) -> AsyncIterator[Connect]:
    """Makes clients of a port at the town's host name, for a member or for nobody; options are the client's own."""
    async with AsyncExitStack() as stack:

        def make(port: int, person: Person | None = None, **options: Any) -> CareClient:  # noqa: ANN401
            http = httpx.AsyncClient(headers={"Host": town.host}, timeout=options.pop("timeout", 30))
            stack.push_async_callback(http.aclose)
            given = {"token": token(person)} if person is not None else {}
            return CareClient(f"http://127.0.0.1:{port}", http=http, **{"sleep": at_once, **given, **options})

        yield make
