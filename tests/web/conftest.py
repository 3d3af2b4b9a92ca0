"""A served application on the shared database, and browsers and programs that call it."""

from collections.abc import AsyncIterator

import httpx
import pytest

from care_collective.web.services import Services
from harness import Care, Person, Town
from web_harness import ADDRESS, Client, MakeClient, application_of, bearer, services_for


@pytest.fixture(params=["v1", "v2"])
def engine(request: pytest.FixtureRequest) -> str:
    """The engine that opens conversations, for tests that concern both."""
    return str(request.param)


@pytest.fixture
async def services(shared: Care, engine: str) -> AsyncIterator[Services]:
    """One node whose flag is off or on."""
    made = services_for(shared, messaging_v2_rollout="on" if engine == "v2" else "off")
    yield made
    await made.close()


@pytest.fixture
async def client(services: Services, town: Town) -> AsyncIterator[MakeClient]:
    """Makes clients of the town's host: a member's with a bearer token, or nobody's."""
    transport = httpx.ASGITransport(application_of(services), client=ADDRESS)
    opened: list[Client] = []

    def make(person: Person | None = None) -> Client:
        headers = bearer(person) if person is not None else {}
        made = httpx.AsyncClient(transport=transport, base_url=f"http://{town.host}", headers=headers)
        opened.append(made)
        return made

    yield make
    for one in opened:
        await one.aclose()
