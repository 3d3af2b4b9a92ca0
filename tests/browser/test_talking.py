"""Asking, offering and talking as people do: two windows, with and without scripts, by keyboard, large, in the dark."""

from dataclasses import dataclass

import pytest
from playwright.async_api import Page, expect

from browser.conftest import Site, Visitor
from browser.test_pages import WINDOWS, violations
from care_collective.accounts import sessions
from harness import FIRST_WORDS, Person

LONG = "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen" * 3


@dataclass(frozen=True, slots=True)
class Talk:
    """Two people, a request with an answered offer, and one more to offer on."""

    owner: Person
    helper: Person
    free: str
    own: str
    thread: str


@pytest.fixture(scope="module")
async def talk(site: Site) -> Talk:
    """What the pages are looked at with; words too long for any line among it."""
    owner, helper = await site.town.member("Olga " + "O" * 70), await site.town.member("Hal")
    free = await site.town.request(owner, title=LONG[:100])
    own = await site.town.request(owner)
    opened = await helper.offer_v2(own, f"{FIRST_WORDS} {LONG}")
    await owner.send(opened["conversation_id"], LONG)
    await site.town.block(owner, await site.town.member(LONG[:80]))
    return Talk(owner, helper, f"/requests/{free}", f"/requests/{own}", f"/messages/{opened['conversation_id']}")


async def window(visit: Visitor, site: Site, person: Person, **options: object) -> Page:
    """A window in which a member is signed in."""
    opened = await visit(**options)
    token = await sessions.start(site.town.care.database, user_id=person.user_id, community_id=site.town.community_id)
    await opened.context.add_cookies([{"name": "care_session", "value": token or "", "url": site.url}])
    return opened.page


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
async def test_two_neighbours_ask_offer_answer_accept_and_complete(visit: Visitor, site: Site, scripts: bool) -> None:
    maria, sam = await site.town.member("Maria"), await site.town.member("Sam")
    owner = await window(visit, site, maria, java_script_enabled=scripts)
    helper = await window(visit, site, sam, java_script_enabled=scripts, viewport={"width": 360, "height": 740})
    title = f"A crutch for a week, {'with' if scripts else 'without'}"
    await owner.goto("/requests")
    await owner.get_by_role("link", name="Ask for help").first.click()
    await owner.get_by_label("What do you need?").fill(title)
    await owner.get_by_label("Kind of help").select_option(label="Health and care")
    await owner.get_by_label("A few more words").fill("Ours is being mended.\nTen days at most.")
    await owner.get_by_role("button", name="Ask my neighbours").click()
    await expect(owner.get_by_role("status")).to_contain_text("Your request is up")

    await helper.goto("/requests")
    await helper.get_by_label("Search for words").fill(title.upper())
    await helper.get_by_role("button", name="Show").click()
    await helper.get_by_role("link", name=title).click()
    await helper.get_by_label("Your first message").fill("There is a pair in my cellar.\nTonight?")
    await helper.get_by_role("button", name="Send my offer").dblclick()
    await expect(helper.get_by_role("status")).to_contain_text("Your offer is sent")
    await expect(helper.locator("#latest")).to_be_visible()
    assert await site.town.count("care.threads", f"helper_id = '{sam.user_id}'") == 1
    await helper.reload()

    await owner.get_by_role("navigation", name="Main").get_by_role("link", name="My requests").click()
    await expect(owner.get_by_role("heading", name="One neighbour has written")).to_be_visible()
    await owner.get_by_role("link", name="Sam").click()
    answer = owner.get_by_label("Your message", exact=True)
    await answer.click()
    await owner.keyboard.type("Tonight would be wonderful.")
    await owner.keyboard.press("Enter")
    await owner.keyboard.type("Second door on the left.")
    await owner.get_by_role("button", name="Send").click()
    await expect(answer).to_have_value("")
    await owner.get_by_role("button", name="Accept this offer").click()
    await expect(owner.get_by_role("status")).to_contain_text("You have accepted this offer")

    if scripts:  # it has been read already, in the page that stayed open
        await expect(helper.locator("#latest")).to_contain_text("Second door on the left.")
        await expect(owner.locator("#mark")).to_contain_text("Read")
    await helper.get_by_role("link", name="Messages").first.click()
    if not scripts:
        await expect(helper.get_by_role("link", name="Maria")).to_contain_text("1 new")
    await helper.get_by_role("link", name="Maria").click()
    await expect(helper.get_by_text("Second door on the left.").last).to_be_in_viewport()
    await expect(helper.get_by_text("You are helping").last).to_be_visible()
    await owner.locator("summary", has_text="Options").click()
    await owner.get_by_role("button", name="It is done").click()
    await expect(owner.get_by_role("status")).to_contain_text("Marked as done")


FOCUSED = """() => {
    const it = document.activeElement;
    return [it.textContent, ...[...(it.labels ?? [])].map(label => label.textContent)].join(' ');
}"""


async def test_the_keyboard_alone_is_enough_to_offer_and_to_write(visit: Visitor, site: Site) -> None:
    request = await site.town.request(await site.town.member("Olga"), title="A lamp that flickers")
    page = await window(visit, site, await site.town.member("Kim"))
    await page.goto(f"/requests/{request}")

    async def tab_to(words: str) -> None:
        for _ in range(40):
            await page.keyboard.press("Tab")
            focused = await page.evaluate(FOCUSED)
            if words in focused:
                return
        raise AssertionError(f"Tab never reached {words}")

    await tab_to("Your first message")
    await page.keyboard.type("I mend lamps.")
    await tab_to("Send my offer")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/messages/**")
    await tab_to("Options")
    await page.keyboard.press("Enter")
    await tab_to("End the conversation")
    await tab_to("Your message")
    await page.keyboard.type("On Friday,")
    await page.keyboard.press("Enter")
    await page.keyboard.type("if you like.")
    await tab_to("Send")
    ring = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert ring == "solid"
    await page.keyboard.press("Enter")
    await expect(page.locator("#latest")).to_contain_text("On Friday,\nif you like.")


def pages_of(talk: Talk) -> list[tuple[str, list[str]]]:
    """Whose window shows which pages."""
    return [
        (
            "owner",
            [
                "/",
                "/requests",
                "/requests/new",
                "/requests/mine",
                talk.own,
                "/messages",
                talk.thread,
                "/notifications",
                "/settings/blocks",
            ],
        ),
        ("helper", [talk.free, talk.thread, "/requests?search=nothing-like-it", "/messages?search=nothing-like-it"]),
    ]


async def test_axe_finds_nothing_in_either_language_or_theme(visit: Visitor, site: Site, talk: Talk) -> None:
    found = []
    for who, paths in pages_of(talk):
        page = await window(
            visit, site, getattr(talk, who), locale="es" if who == "owner" else "en", reduced_motion="reduce"
        )
        for path in paths:
            await page.goto(path)
            await expect(page.locator("html")).to_have_attribute("lang", "es" if who == "owner" else "en")
            await page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")
            if path == talk.free:
                await page.locator("textarea").fill("Hi")
                await page.locator("#offer button").click()
                await expect(page.get_by_role("alert")).to_be_visible()
            found += await violations(page)
            # Of what axe looks at only colours differ in the dark.
            await page.emulate_media(color_scheme="dark")
            found += await violations(page, "color-contrast")
            await page.emulate_media(color_scheme="light")
    assert found == []


# What a finger meets, words within a sentence apart (WCAG 2.5.8).
SMALL = """() => [...document.querySelectorAll('main a, main button, main summary, main select, main input, header a')]
    .filter(e => e.offsetParent && e.type !== 'hidden' && !e.closest('.thread-title, .aside, .skip'))
    .map(e => [e.textContent.trim().slice(0, 30), e.getBoundingClientRect()])
    .filter(([, box]) => box.height < 43.5 || box.width < 43.5)
    .map(([words, box]) => `${words} ${box.width}x${box.height}`)"""
TINY = """() => [...document.querySelectorAll('main *, header *')].filter(e => e.offsetParent && e.textContent.trim())
    .filter(e => parseFloat(getComputedStyle(e).fontSize) < 14).map(e => e.outerHTML.slice(0, 80))"""


async def test_nothing_scrolls_sideways_and_everything_can_be_touched_and_read(
    visit: Visitor, site: Site, talk: Talk
) -> None:
    wide, small = [], []
    for who, paths in pages_of(talk):
        page = await window(visit, site, getattr(talk, who), viewport={"width": 360, "height": 740})
        for path in paths:
            await page.goto(path)
            await page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")
            small += [(path, one) for one in await page.evaluate(SMALL) + await page.evaluate(TINY)]
            assert await page.evaluate("parseFloat(getComputedStyle(document.querySelector('main p')).fontSize)") >= 17
            for width, text in WINDOWS[1:4]:  # a small phone, 200 % zoom, and large text on a phone
                await page.set_viewport_size({"width": width, "height": 740})
                await page.evaluate("size => { document.documentElement.style.fontSize = size }", text)
                over = await page.evaluate("(e => e.scrollWidth - e.clientWidth)(document.documentElement)")
                wide += [(path, width, text, over)] if over > 0 else []
    assert (wide, small) == ([], [])


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
