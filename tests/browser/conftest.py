"""A real Chromium against the application on a socket of this machine, in a town of its own."""

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright, expect

from care_collective.web.services import Services
from harness import Postgres, Town, care
from web_harness import services_for, serving

# The shell has no window and none of what is around one: it takes half the CPU for the same pages.
CHROMIUM = (Path("/usr/bin/chromium-headless-shell"), Path("/usr/bin/chromium"))
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--in-process-gpu",
    "--disable-background-networking",
    "--disable-component-update",
]


# How long what has to come may take: a machine with three workers on two cores, or a slower one, has pauses of seconds.
PATIENCE = 30_000  # milliseconds
expect.set_options(timeout=PATIENCE)

# Chromium reports these as well.
_ASKED_FOR = re.compile(
    r"responded with a status of (4\d\d|503)|net::ERR_(FAILED|INTERNET_DISCONNECTED)$"
    r"|^htmx: htmx:error: Failed to fetch"
)


@dataclass(frozen=True, slots=True)
class Site:
    """A town and the address at which it is served, by which node."""

    town: Town
    url: str
    services: Services


@dataclass(slots=True)
class Visit:
    """A browser's window, and what its console complained of."""

    page: Page
    context: BrowserContext
    complaints: list[str] = field(default_factory=list)

    def listen(self, message: ConsoleMessage) -> None:
        """Keeps complaints. That a page answered 4xx, or that a line was cut, is what some tests ask for."""
        if message.type in {"error", "warning"} and not _ASKED_FOR.search(message.text):
            self.complaints.append(message.text)


Visitor = Callable[..., Awaitable[Visit]]


@pytest.fixture(scope="session")
def program() -> Path:
    """Debian's Chromium. Tests are skipped where it is not installed, but not in CI."""
    for found in CHROMIUM:
        if found.exists():
            return found
    if os.environ.get("CI"):
        pytest.fail(f"{CHROMIUM[0]} is missing, and CI tests pages in it")
    pytest.skip("Chromium is not installed here (Debian: apt install chromium-headless-shell); CI runs this")


@pytest.fixture(scope="session")
async def chromium(program: Path) -> AsyncIterator[Browser]:
    """One browser for all tests."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
async def site(postgres: Postgres) -> AsyncIterator[Site]:
    """The application on a database of its own, with one town at this machine's address."""
    name = await postgres.create()
    async with care(postgres, name) as opened:
        # All tests join and sign in from one address.
        town = await opened.town(limits={"sign_ins_per_quarter_hour": 1000})
        await opened.owner.execute(
            "update public.communities set hosts = '{127.0.0.1}', name = 'Linden Row', emergency_line = '112' "
            "where id = $1",
            town.community_id,
        )
        services = services_for(opened)
        async with serving(services) as port:
            yield Site(town, f"http://127.0.0.1:{port}", services)


@pytest.fixture
async def visit(chromium: Browser, site: Site) -> AsyncIterator[Visitor]:
    """Opens windows as asked; at the end nothing may have been complained of, the strict CSP's refusals included."""
    opened: list[Visit] = []

    async def make(**options: Any) -> Visit:  # noqa: ANN401
        context = await chromium.new_context(base_url=site.url, **options)
        context.set_default_timeout(PATIENCE)
        made = Visit(await context.new_page(), context)
        made.page.on("console", lambda message: made.listen(message))
        made.page.on("pageerror", lambda error: made.complaints.append(str(error)))
        opened.append(made)
        return made

    yield make
    complaints = [complaint for one in opened for complaint in one.complaints]
    for one in opened:
        await one.context.close()
    assert complaints == []
