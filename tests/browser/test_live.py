"""Open pages in a real browser: what the other side does is there without a reload, and outages mend themselves."""

import asyncio
import re
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from browser.conftest import Site, Visit, Visitor
from browser.test_talking import window
from care_collective.db.embedded import running
from care_collective.web import streams
from harness import Person, Postgres, care, installed
from web_harness import services_for, serving


class Thread:
    """A conversation between two people, as a test opens it."""

    def __init__(self, owner: Person, helper: Person, request: str, id_: str) -> None:
        self.owner = owner
        self.helper = helper
        self.request = f"/requests/{request}"
        self.id = id_
        self.path = f"/messages/{id_}"


async def thread_of(site: Site) -> Thread:
    """Two people and an offer."""
    owner, helper = await site.town.member("Olga"), await site.town.member("Hal")
    request = await site.town.request(owner)
    opened = await helper.offer_v2(request)
    return Thread(owner, helper, str(request), str(opened["conversation_id"]))


async def write(page: Page, words: str) -> None:
    """Sends a message by the page's own form."""
    await page.get_by_label("Your message", exact=True).fill(words)
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator("#latest")).to_have_text(words)


async def decide(page: Page, summary: str, button: str) -> None:
    """Uses one of a thread's small forms."""
    await page.locator("#verbs .menu > summary").click()
    await page.locator("summary", has_text=summary).click()
    await page.get_by_role("button", name=button, exact=True).click()


async def test_words_marks_and_decisions_are_there_on_the_other_side_without_a_reload(
    visit: Visitor, site: Site
) -> None:
    talk = await thread_of(site)
    owner = await window(visit, site, talk.owner, locale="es")
    helper = await window(visit, site, talk.helper)
    await owner.goto("/messages")
    await helper.goto(talk.path)
    await expect(helper.locator("#mark")).to_have_text("· Sent")
    await write(helper, "On Monday?\n\nAt three.")
    await expect(owner.locator("#unread")).to_have_text(" 1 nuevo")
    await expect(owner.locator("#threads li").first).to_contain_text("On Monday?")
    await owner.locator("#threads a").first.click()
    await expect(helper.locator("#mark")).to_have_text("· Read")

    await helper.get_by_label("Your message", exact=True).fill("Half a sentence")
    await owner.get_by_label("Tu mensaje").fill("¡Sí!")
    await owner.get_by_role("button", name="Enviar").click()
    await expect(helper.locator("#latest")).to_have_text("¡Sí!")
    await expect(owner.locator("#mark")).to_have_text("· Leído")
    assert await helper.locator(".group").evaluate_all("all => all.map(one => one.className)") == [
        "group mine",
        "group theirs",
    ]
    assert await helper.locator(".day").count() == 1

    await owner.get_by_role("button", name="Aceptar esta oferta").click()
    await expect(helper.locator("#standing")).to_contain_text("You are helping")
    await expect(helper.get_by_label("Your message", exact=True)).to_have_value("Half a sentence")
    await decide(owner, "Terminar la conversación", "Terminarla")
    await expect(helper.locator("#composer")).to_contain_text("This conversation has ended")
    await expect(helper.locator("#kept")).to_contain_text("Half a sentence")
    await owner.get_by_role("button", name="Abrirla otra vez").click()
    await expect(helper.get_by_label("Your message", exact=True)).to_have_value("Half a sentence")
    await decide(owner, "Rechazar esta oferta", "Rechazar")
    await expect(helper.locator("#standing")).to_contain_text("Declined")
    # What the open thread shows is read: no letter is made of it.
    await expect(helper.locator("#unread-told")).to_be_empty()
    assert await site.town.count("public.notifications", f"read_at is null and user_id = '{talk.helper.user_id}'") == 0
    assert await helper.evaluate("performance.getEntriesByType('navigation').length") == 1


async def test_a_new_offer_is_told_on_its_owners_pages(visit: Visitor, site: Site) -> None:
    owner = await site.town.member("Olga")
    request = await site.town.request(owner)
    mine = await window(visit, site, owner)
    one, two = await mine.context.new_page(), await mine.context.new_page()
    await mine.goto("/requests/mine")
    await one.goto(f"/requests/{request}")
    await two.goto("/messages")
    await expect(two.locator("#nothing")).to_be_visible()
    helper = await window(visit, site, await site.town.member("Hal"))
    await helper.goto(f"/requests/{request}")
    await helper.get_by_label("Your first message").fill("I could come on Friday.")
    await helper.get_by_role("button", name="Send my offer").click()
    for page in (mine, one, two):
        await expect(page.locator("#told")).to_contain_text("A new offer has come: Groceries on Friday")
        await expect(page.locator("#unread")).to_have_text(" 1 new")
        await expect(page.locator("#unread-told")).to_have_text(" 1 new")
        await expect(page.locator("main")).to_contain_text("I could come on Friday.")
    await expect(mine.get_by_role("heading", name="One neighbour has written")).to_be_visible()
    await expect(two.locator("#nothing")).to_have_count(0)
    await one.locator("#told a").click()
    await expect(one.locator("#latest")).to_have_text("I could come on Friday.")


async def test_a_reader_who_looks_back_is_not_moved_and_has_not_read(visit: Visitor, site: Site) -> None:
    talk = await thread_of(site)
    await site.town.fill(talk.id, talk.helper, talk.owner, 40)
    owner, helper = await window(visit, site, talk.owner), await window(visit, site, talk.helper)
    await owner.goto(talk.path + "#latest")
    await helper.goto(talk.path + "#latest")
    await owner.locator(".log").evaluate("log => { log.scrollTop = 30 }")
    await write(helper, "Are you still there?")
    button = owner.get_by_role("button", name="New message")
    await expect(button).to_be_visible()
    assert await owner.locator(".log").evaluate("log => log.scrollTop") == 30
    await expect(owner.locator("#unread")).to_have_text(" 1 new")
    await expect(helper.locator("#mark")).to_have_text("· Sent")
    await button.click()
    await expect(owner.locator("#latest")).to_be_in_viewport()
    await expect(button).to_be_hidden()
    await expect(helper.locator("#mark")).to_have_text("· Read")
    await expect(owner.locator("#unread")).to_be_empty()
    # Another day has begun, and the page is behind others.
    await owner.evaluate("document.querySelector('.day').dataset.day = '2020-01-01'")
    await owner.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    await write(helper, "Good.")
    await expect(owner.locator("#latest")).to_have_text("Good.")
    await expect(owner.locator("#latest")).to_be_in_viewport()
    await expect(button).to_be_hidden()
    await owner.set_viewport_size({"width": 1280, "height": 600})  # a phone's keyboard takes its place
    await expect(owner.locator("#latest")).to_be_in_viewport()
    headings = await owner.locator(".day h2").all_inner_texts()
    assert (len(headings), headings[-1]) == (2, "Today")
    assert re.fullmatch(r"\w+, \d+ \w+ \d{4}|\w+ \d+ \w+ \d{4}", headings[0]), headings
    await expect(owner.locator("#unread")).to_have_text(" 1 new")
    await owner.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    await expect(helper.locator("#mark")).to_have_text("· Read")


# What a browser itself, and htmx, say of a line that is lost.
LOST = re.compile("net::ERR_|Failed to fetch|network error|status of 503")
# The pauses of pages, five times shorter.
HASTE = "(real => { window.setTimeout = (act, ms = 0, ...rest) => real(act, ms / 5, ...rest) })(setTimeout)"


async def bubbles(page: Page) -> list[str]:
    """What was written, as a page shows it."""
    return await page.locator(".bubble > p:first-child").all_inner_texts()


async def test_pages_come_back_by_themselves_after_the_server_and_after_the_database(
    state_folder: Path, chromium: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_PAUSE", (0.1, 0.2))
    binaries = installed(18)
    assert binaries is not None
    database = partial(running, state_folder / "live", binaries=binaries, options={"fsync": "off"})
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        postgres = Postgres(await first.enter_async_context(database()))
        await postgres.make_template()
        opened = await stack.enter_async_context(care(postgres, "care_template"))
        town = await opened.town()
        await opened.owner.execute("update public.communities set hosts = '{127.0.0.1}' where slug <> 'elsewhere'")
        serving_first = await stack.enter_async_context(AsyncExitStack())
        services = services_for(opened)
        port = await serving_first.enter_async_context(serving(services))
        site = Site(town, f"http://127.0.0.1:{port}", services)
        visits: list[Visit] = []

        async def visit(**options: Any) -> Visit:  # noqa: ANN401
            context = await stack.enter_async_context(await chromium.new_context(base_url=site.url, **options))
            await context.add_init_script(HASTE)
            visits.append(Visit(await context.new_page(), context))
            made = visits[-1]
            made.page.on("console", lambda message: made.listen(message))
            return made

        talk = await thread_of(site)
        owner, helper = await window(visit, site, talk.owner), await window(visit, site, talk.helper)
        for page in (owner, helper):
            await page.goto(talk.path)
        await write(owner, "Before")
        await expect(helper.locator("#latest")).to_have_text("Before")

        await serving_first.aclose()
        await expect(helper.get_by_text("Reconnecting")).to_be_visible()
        await talk.owner.send(talk.id, "While the server was away")
        await stack.enter_async_context(serving(services_for(opened), port))
        for page in (owner, helper):
            await expect(page.locator("#latest")).to_have_text("While the server was away")
            await expect(page.get_by_text("Reconnecting")).to_have_count(0)

        await first.aclose()
        await stack.enter_async_context(database())
        await talk.owner.send(talk.id, "While the database was away")
        for page in (owner, helper):
            await expect(page.locator("#latest")).to_have_text("While the database was away")
        written = ["Before", "While the server was away", "While the database was away"]
        assert (await bubbles(owner))[1:] == (await bubbles(helper))[1:] == written
        said = [one for visit in visits for one in visit.complaints if not LOST.search(one)]
        assert said == []


async def streams_of(site: Site, person: Person, count: int) -> None:
    """Waits until a member has so many open streams."""
    async with asyncio.timeout(30):
        while len([one for one in site.services.live.streams() if one.user_id == person.user_id]) != count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_page_has_one_stream_none_while_it_is_left_and_never_again_once_signed_out(
    visit: Visitor, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "KEEP_ALIVE_SECONDS", 0.2)
    talk = await thread_of(site)
    page = await window(visit, site, talk.helper)
    await page.add_init_script(HASTE)
    await page.goto(talk.path)
    await streams_of(site, talk.helper, 1)
    for moment in ("pagehide", "pageshow"):
        await page.evaluate("name => dispatchEvent(new PageTransitionEvent(name, { persisted: true }))", moment)
        await streams_of(site, talk.helper, 0 if moment == "pagehide" else 1)
        await talk.owner.send(talk.id, f"At {moment}")
    await expect(page.locator("#latest")).to_have_text("At pageshow")
    for _ in range(3):
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange')); dispatchEvent(new Event('online'))")
    await talk.owner.send(talk.id, "Still there")
    await expect(page.locator("#latest")).to_have_text("Still there")
    await streams_of(site, talk.helper, 1)
    assert (await bubbles(page))[1:] == ["At pagehide", "At pageshow", "Still there"]

    await site.town.care.owner.execute("delete from care.sessions where user_id = $1", talk.helper.user_id)
    await expect(page.get_by_role("link", name="Please sign in again")).to_be_visible()
    await page.evaluate("dispatchEvent(new Event('online'))")
    await expect(page.get_by_text("Reconnecting")).to_have_count(0)
    await streams_of(site, talk.helper, 0)


async def test_a_page_weighs_little_over_the_wire_the_first_a_live_one_and_the_next(visit: Visitor, site: Site) -> None:
    talk = await thread_of(site)
    weighed, asked = {}, {}
    reader = await window(visit, site, talk.helper)
    for path in ("/", "/sign-up", talk.path, "/notifications"):
        page = (await visit()).page if path in ("/", "/sign-up") else reader
        wire = await page.context.new_cdp_session(page)
        carried: list[float] = []
        wire.on("Network.loadingFinished", lambda event, carried=carried: carried.append(event["encodedDataLength"]))
        await wire.send("Network.enable")
        await page.goto(path, wait_until="load")
        await wire.detach()
        weighed[path], asked[path] = sum(carried), len([size for size in carried if size > 0])
        live = await page.locator("script[src*=alive]").count()
        assert live == (path == talk.path)
    # goals.md allows 60 KB for the first page. A thread is never that, and what it asks for is kept for all others.
    assert max(weighed["/"], weighed["/sign-up"]) <= 28 * 1024, weighed
    assert weighed[talk.path] <= 66 * 1024, weighed
    assert weighed["/notifications"] <= 12 * 1024, weighed
    assert (asked["/"] <= 8, asked[talk.path] <= 14, asked["/notifications"] <= 3) == (True, True, True), asked
