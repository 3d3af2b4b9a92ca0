"""Asking, offering and talking as people do: two windows, with and without scripts, by keyboard, large, in the dark."""

import re
from dataclasses import dataclass

import pytest
from playwright.async_api import Page, expect

from browser.conftest import Site, Visitor
from care_collective.accounts import sessions
from harness import FIRST_WORDS, Person

LONG = "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen" * 3


@dataclass(frozen=True, slots=True)
class Talk:
    """Who asked, and the thread with whoever offered."""

    owner: Person
    thread: str


@pytest.fixture(scope="module")
async def talk(site: Site) -> Talk:
    """What the pages are looked at with; words too long for any line among it."""
    owner, helper = await site.town.member("Olga " + "O" * 70), await site.town.member("Hal")
    own = await site.town.request(owner)
    opened = await helper.offer_v2(own, f"{FIRST_WORDS} {LONG}")
    await owner.send(opened["conversation_id"], LONG)
    return Talk(owner, f"/messages/{opened['conversation_id']}")


async def signed_in(page: Page, site: Site, person: Person) -> None:
    """Signs a member in, in a window where somebody else may be."""
    token = await sessions.start(site.town.care.database, user_id=person.user_id, community_id=site.town.community_id)
    await page.context.add_cookies([{"name": "care_session", "value": token or "", "url": site.url}])


async def window(visit: Visitor, site: Site, person: Person, **options: object) -> Page:
    """A window in which a member is signed in."""
    opened = await visit(**options)
    await signed_in(opened.page, site, person)
    return opened.page


FOCUSED = """() => {
    const it = document.activeElement;
    const labels = [...(it.labels ?? [])].map(label => label.textContent);
    return it.matches('body, main') ? '' : [it.textContent, ...labels].join(' ');
}"""


RING = "getComputedStyle(document.activeElement).outline"


async def tab_to(page: Page, words: str) -> None:
    """Presses Tab until what says these words has the focus, and shows that it has."""
    for _ in range(40):
        await page.keyboard.press("Tab")
        if words in await page.evaluate(FOCUSED):
            assert re.match(r"rgb\(.* solid 3px", await page.evaluate(RING)), words
            return
    raise AssertionError(f"Tab never reached {words}")


async def test_the_keyboard_alone_is_enough_to_ask_offer_write_accept_and_complete(visit: Visitor, site: Site) -> None:
    owner = await window(visit, site, await site.town.member("Olga"))
    page = await window(visit, site, await site.town.member("Kim"))

    async def presses(by: Page, *steps: str) -> None:
        for step in steps:
            await tab_to(by, step)
            await by.keyboard.press("Enter")

    await owner.goto("/requests/new")
    await tab_to(owner, "What do you need?")
    await owner.keyboard.type("A lamp that flickers")
    await tab_to(owner, "Kind of help")
    await owner.keyboard.type("Something else")
    await presses(owner, "Ask my neighbours")
    await owner.wait_for_url("**?done=asked")

    await page.goto(owner.url.partition("?")[0])
    await tab_to(page, "Your first message")
    await page.keyboard.type("I mend lamps.")
    await presses(page, "Send my offer")
    await page.wait_for_url("**/messages/**")
    await presses(page, "Options", "End the conversation")
    # Esc closes what was opened, one after the other, and the focus is where it was.
    for closed in (".confirm[open]", ".menu[open]"):
        assert await page.locator(closed).count() == 1
        await page.keyboard.press("Escape")
        assert await page.locator(closed).count() == 0
        await expect(page.locator(":focus")).to_have_text(
            "End the conversation …" if "confirm" in closed else "Options"
        )
    await tab_to(page, "Your message")
    await page.keyboard.type("On Friday,")
    await page.keyboard.press("Enter")
    await page.keyboard.type("if you like.")
    await presses(page, "Send")
    await expect(page.locator("#latest")).to_contain_text("On Friday,\nif you like.")

    await owner.goto(page.url.partition("?")[0])
    await presses(owner, "Accept this offer")
    await owner.wait_for_url("**?done=accepted*")
    await presses(owner, "Options", "It is done")
    await expect(owner.get_by_role("status")).to_contain_text("Marked as done")


async def test_only_the_thread_scrolls_and_the_composer_stays_in_sight(visit: Visitor, site: Site, talk: Talk) -> None:
    page = await window(visit, site, talk.owner)
    for width, height in ((360, 400), (1280, 800)):
        await page.set_viewport_size({"width": width, "height": height})
        await page.goto(f"{talk.thread}?width={width}#latest")
        assert await page.evaluate("document.documentElement.scrollHeight - innerHeight") <= 0, (width, height)
        await expect(page.get_by_label("Your message", exact=True)).to_be_in_viewport(ratio=1)
        await expect(page.get_by_role("button", name="Send")).to_be_in_viewport(ratio=1)
        await expect(page.locator("#latest")).to_be_in_viewport()
        beside = page.get_by_role("heading", name="Messages")
        await (expect(beside).to_be_visible() if width >= 768 else expect(beside).to_be_hidden())
