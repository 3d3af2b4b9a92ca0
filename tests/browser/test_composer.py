"""Writing where things go wrong: double taps, lost answers, no line, reloads, Back, an ended session. Sent once."""

import asyncio
import re
from dataclasses import dataclass

import pytest
from playwright.async_api import Locator, Page, Route, expect

from browser.conftest import Site, Visitor
from browser.looks import violations
from browser.test_pages import sign_out
from browser.test_talking import signed_in, window
from harness import Person

API = "**/api/messaging/conversations/*/messages"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"  # one sign, five code points, eight units of JavaScript
ARABIC = "\u0634\u0643\u0631\u0627 "


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation of the helper's, of which this test alone reads the messages."""

    site: Site
    helper: Person
    owner: Person
    id: str

    @property
    def path(self) -> str:
        return f"/messages/{self.id}"

    async def written(self) -> list[str]:
        """What the helper has written after the offer, in order."""
        rows = await self.site.town.care.owner.fetch(
            "select content from care.thread_messages where conversation_id::text = $1 and seq > 0 order by seq",
            self.id,
        )
        return [row["content"] for row in rows]


@pytest.fixture(scope="module")
async def people(site: Site) -> tuple[Person, Person]:
    """An owner who has raised nobody's limits, and a helper."""
    return await site.town.member("Olga"), await site.town.member("Hal")


@pytest.fixture
async def thread(site: Site, people: tuple[Person, Person]) -> Thread:
    owner, helper = people
    opened = await helper.offer_v2(await site.town.request(owner))
    return Thread(site, helper, owner, opened["conversation_id"])


def bubble(page: Page, words: str) -> Locator:
    """Every bubble of a message that is seen, in the thread and beneath."""
    return page.locator(".bubble:not([hidden])", has_text=words)


async def write(page: Page, words: str) -> None:
    """Types into the composer and sends."""
    await page.get_by_label("Your message", exact=True).fill(words)
    await page.get_by_role("button", name="Send", exact=True).click()


async def test_enter_makes_a_line_and_the_counter_counts_code_points(visit: Visitor, thread: Thread) -> None:
    page = await window(visit, thread.site, thread.helper, viewport={"width": 360, "height": 400})
    await page.goto(thread.path)
    field, counter = page.get_by_label("Your message", exact=True), page.locator(".counter")
    await field.fill("a" * 899 + " \n" * 9)
    await expect(counter).to_be_hidden()
    await field.fill(f"  {FAMILY * 200}")
    await expect(counter).to_have_text("1000 of 1000 characters")
    await expect(page.locator(".unseen[aria-live]")).to_have_text("1000 of 1000 characters")
    await field.press("End")
    await page.keyboard.type("a" * 4)
    await expect(counter).to_have_text("1004 of 1000 characters: 4 too many")
    await page.get_by_role("button", name="Send", exact=True).click()
    assert await field.evaluate("it => it.validationMessage") == "1004 of 1000 characters: 4 too many"
    await expect(field).to_be_focused()
    box = await field.bounding_box()
    assert box is not None
    assert box["height"] <= 130  # it grows, but leaves room to read
    assert await violations(page) == []
    for _ in range(4):
        await page.keyboard.press("Backspace")
    await page.keyboard.press("Enter")
    assert await thread.written() == []
    await page.keyboard.press("Control+Enter")
    await expect(field).to_have_value("")
    await expect(counter).to_be_hidden()
    await expect(bubble(page, FAMILY)).to_contain_text("Sent")
    await expect(bubble(page, FAMILY)).to_have_count(1)
    assert await thread.written() == [FAMILY * 200]


async def test_a_double_tap_and_a_lost_answer_make_one_message_each(visit: Visitor, thread: Thread) -> None:
    page = await window(visit, thread.site, thread.helper)
    await page.goto(thread.path)
    keys = []

    async def lose(route: Route) -> None:
        keys.append(await route.request.header_value("idempotency-key"))
        await route.fetch()  # it is written
        await route.abort()

    await page.get_by_label("Your message", exact=True).fill("Twice tapped.")
    await page.get_by_role("button", name="Send", exact=True).dblclick()
    await expect(page.locator("#m-1")).to_contain_text("Twice tapped.")
    await page.route(API, lose, times=1)
    await write(page, f"{ARABIC}lost on its way.")
    await write(page, "Right behind it.")
    await expect(page.get_by_label("Your message", exact=True)).to_be_focused()
    await expect(bubble(page, "Right behind it")).to_contain_text("Sent")
    for words in ("Twice tapped.", "lost on its way", "Right behind it."):
        await expect(bubble(page, words)).to_have_count(1)
    assert len(keys) == 1
    assert await thread.written() == ["Twice tapped.", f"{ARABIC}lost on its way.", "Right behind it."]
    await page.reload()
    assert await thread.written() == ["Twice tapped.", f"{ARABIC}lost on its way.", "Right behind it."]


async def test_without_a_line_it_waits_and_a_reload_forgets_nothing(visit: Visitor, thread: Thread) -> None:
    page = await window(
        visit, thread.site, thread.helper, reduced_motion="reduce", viewport={"width": 360, "height": 400}
    )
    await page.goto(thread.path)
    await page.context.set_offline(True)
    await write(page, "From the cellar.")
    banner = page.get_by_text("No connection. What you send waits here")
    await expect(banner).to_be_visible()
    await expect(bubble(page, "From the cellar.")).to_contain_text("Waiting for a connection")
    await write(page, "Still there.")
    await expect(bubble(page, "Still there.")).to_contain_text("Waits for the message before it")
    assert await page.evaluate("document.documentElement.scrollHeight - innerHeight") <= 0
    await page.emulate_media(color_scheme="dark")
    assert await violations(page, "color-contrast") == []
    await page.context.set_offline(False)
    await expect(bubble(page, "Still there.")).to_contain_text("Sent")
    await expect(bubble(page, "From the cellar.")).to_have_count(1)
    await expect(banner).to_be_hidden()

    await page.route(API, lambda route: route.abort())
    await write(page, "Into the void.")
    await page.get_by_label("Your message", exact=True).fill("Half a")
    await expect(bubble(page, "Into the void.")).to_contain_text("Waiting for a connection")
    assert await asks(page)
    await page.reload()
    await expect(page.get_by_label("Your message", exact=True)).to_have_value("Half a")
    await expect(bubble(page, "Into the void.")).to_contain_text("Waiting for a connection")
    await page.unroute(API)
    await expect(bubble(page, "Into the void.")).to_contain_text("Sent")
    assert await thread.written() == ["From the cellar.", "Still there.", "Into the void."]


async def asks(page: Page) -> bool:
    """Whether leaving the page asks."""
    return bool(await page.evaluate("!dispatchEvent(new Event('beforeunload', { cancelable: true }))"))


async def test_a_slow_answer_and_a_reload_make_one_message(visit: Visitor, thread: Thread) -> None:
    page = await window(visit, thread.site, thread.helper)
    await page.goto(thread.path)
    stalled: asyncio.Future[Route] = asyncio.get_running_loop().create_future()
    seen = asyncio.Event()

    async def stall(route: Route) -> None:
        await seen.wait()
        await route.fetch()  # it is written
        stalled.set_result(route)

    async def lose(route: Route) -> None:
        await route.abort()

    await page.route(API, stall, times=1)
    await write(page, "Slowly.")
    await expect(bubble(page, "Slowly.")).to_contain_text("Sending …")
    seen.set()
    late = await stalled
    await page.route(API, lose)
    await page.reload()
    await late.abort()
    # It stands in the page: what still waits for its answer is not shown beside it.
    await expect(bubble(page, "Slowly.")).to_have_count(1)
    await expect(bubble(page, "Slowly.")).to_have_attribute("data-seq", "1")
    await page.unroute(API, lose)
    await page.evaluate("dispatchEvent(new Event('online'))")
    await expect(page.locator("#pending .bubble")).to_have_count(0)
    assert await thread.written() == ["Slowly."]
    assert not await asks(page)


# Keeps what waiting messages say in between.
REMEMBER = """() => {
    window.seen = [];
    const pending = document.querySelector("#pending");
    new MutationObserver(() => seen.push(pending.textContent)).observe(pending, { childList: true, subtree: true });
}"""


def refusal(status: int, code: str, reason: str | None = None, *, wait: int = 0) -> dict[str, object]:
    """An answer that refuses, as the API gives it."""
    said = {"error": "No.", "code": code, "request_id": "1"} | ({"reason": reason} if reason else {})
    return {"status": status, "json": said, "headers": {"Retry-After": str(wait)} if wait else {}}


async def test_a_refusal_is_said_and_what_can_be_done(visit: Visitor, thread: Thread) -> None:
    page = await window(visit, thread.site, thread.helper, reduced_motion="reduce")
    await page.goto(thread.path)
    field = page.get_by_label("Your message", exact=True)
    answers: list[dict[str, object]] = []
    keys: list[str | None] = []

    async def refuse(route: Route) -> None:
        keys.append(await route.request.header_value("idempotency-key"))
        await (route.fulfill(**answers.pop(0)) if answers else route.continue_())  # type: ignore[arg-type]

    await page.route(API, refuse)
    answers += [refusal(429, "rate_limited", wait=60)]
    await write(page, "Too fast.")
    await expect(bubble(page, "Too fast.")).to_contain_text(re.compile(r"You can try again at \d+:\d\d"))
    assert await violations(page) == []
    await page.emulate_media(color_scheme="dark")
    assert await violations(page, "color-contrast") == []
    again = page.get_by_role("button", name="Try again")
    box = await again.bounding_box()
    assert box is not None
    assert box["height"] >= 44
    await again.focus()
    await page.keyboard.press("Enter")
    await expect(field).to_be_focused()
    await expect(bubble(page, "Too fast.")).to_contain_text("Sent")
    assert keys[0] == keys[1]

    answers += [refusal(503, "unavailable", wait=1)]
    await page.evaluate(REMEMBER)
    await write(page, "Not quite ready.")
    await expect(bubble(page, "Not quite ready.")).to_contain_text("Sent")
    assert "We try again in a moment" in await page.evaluate("seen.join()")  # for a second, which a look can miss
    assert keys[2] == keys[3] != keys[1]

    answers += [refusal(422, "idempotency_mismatch")]
    await write(page, "Used before.")
    await expect(bubble(page, "Used before.")).to_contain_text("Sent")
    assert keys[4] != keys[5]

    answers += [refusal(400, "validation_error")]
    await write(page, "Wrng.")
    await expect(bubble(page, "Wrng.")).to_contain_text("Please check what you wrote.")
    await field.fill("P.S.")
    await page.get_by_role("button", name="Change the text").click()
    await expect(field).to_be_focused()
    await expect(field).to_have_value("Wrng.\nP.S.")
    await write(page, "Right.")
    await expect(bubble(page, "Right.")).to_contain_text("Sent")
    assert keys[6] != keys[7]
    assert await thread.written() == ["Too fast.", "Not quite ready.", "Used before.", "Right."]


async def test_a_conversation_that_ended_meanwhile_keeps_the_words(visit: Visitor, thread: Thread) -> None:
    page = await window(visit, thread.site, thread.helper, locale="es")
    await page.route("**/messages/stream*", lambda route: route.fulfill(status=503))  # it is not told
    await page.goto(thread.path)
    await thread.owner.call("close_conversation", conversation_id=thread.id)
    await page.get_by_label("Tu mensaje").fill("I have the bag already.")
    await page.get_by_role("button", name="Enviar", exact=True).click()
    await expect(bubble(page, "I have the bag")).to_contain_text("No se ha enviado.")
    await page.reload()
    await expect(bubble(page, "I have the bag")).to_be_visible()
    assert await violations(page) == []
    await page.get_by_role("button", name="Quitar").click()
    await expect(bubble(page, "I have the bag")).to_have_count(0)
    await page.reload()
    await expect(bubble(page, "I have the bag")).to_have_count(0)
    assert await thread.written() == []


async def test_a_session_that_ended_sends_nothing_and_nobody_elses_words(
    visit: Visitor, site: Site, thread: Thread
) -> None:
    page = await window(visit, site, thread.helper)
    await page.goto(thread.path)
    # Signed in again in another tab: the page goes on.
    await signed_in(page, site, thread.helper)
    await write(page, "With a new session.")
    await expect(bubble(page, "With a new session.")).to_contain_text("Sent")
    await page.context.clear_cookies()
    await write(page, "With none.")
    await expect(bubble(page, "With none.")).to_contain_text("Please sign in again. Your text is kept.")
    await page.get_by_role("link", name="Sign in", exact=True).last.click()
    await page.wait_for_url(f"**/sign-in?next={thread.path}")
    # The neighbour signs in on this phone, and is in this very conversation.
    await signed_in(page, site, thread.owner)
    await page.goto(thread.path)
    await expect(page.get_by_label("Your message", exact=True)).to_have_value("")
    await expect(bubble(page, "With none.")).to_have_count(0)
    await signed_in(page, site, thread.helper)
    await page.goto(thread.path)
    await expect(bubble(page, "With none.")).to_contain_text("Sent")
    await signed_in(page, site, thread.owner)
    await write(page, "Not hers.")
    await expect(bubble(page, "Not hers.")).to_contain_text("Somebody else has signed in here")
    await signed_in(page, site, thread.helper)
    await page.reload()
    await expect(bubble(page, "Not hers.")).to_contain_text("Sent")
    assert await thread.written() == ["With a new session.", "With none.", "Not hers."]


async def test_drafts_are_one_tabs_own_until_they_are_sent_or_one_signs_out(
    visit: Visitor, site: Site, thread: Thread
) -> None:
    request = await site.town.request(thread.owner, title="A ride to the doctor")
    page = await window(visit, site, thread.helper)
    await page.goto(thread.path)
    await page.get_by_label("Your message", exact=True).fill("Half of it")
    await page.goto(f"/requests/{request}")
    words = page.get_by_label("Your first message")
    await words.fill("I can drive on Tuesday.")
    other = await page.context.new_page()
    await other.goto(f"/requests/{request}")
    await expect(other.get_by_label("Your first message")).to_have_value("")
    await page.goto("/requests/new")
    await page.get_by_label("What do you need?").fill("A ladder")
    await page.get_by_label("Kind of help").select_option(index=1)
    await page.reload()
    await expect(page.get_by_label("What do you need?")).to_have_value("A ladder")
    await page.get_by_role("button", name="Ask my neighbours").dblclick()
    await expect(page).to_have_url(re.compile("done=asked"))  # the second tap ends the first one's way
    assert await site.town.count("public.help_requests", "title = 'A ladder'") == 1
    await page.goto("/requests/new")
    await expect(page.get_by_label("What do you need?")).to_have_value("")
    await page.goto(f"/requests/{request}")
    await expect(words).to_have_value("I can drive on Tuesday.")
    await page.get_by_role("button", name="Send my offer").dblclick()
    await expect(page).to_have_url(re.compile("/messages/"))
    await expect(bubble(page, "I can drive on Tuesday.")).to_have_count(1)

    # The second tab's words come too late to open a conversation, and are not lost.
    await other.get_by_label("Your first message").fill("On Wednesday too, if need be.")
    await other.get_by_role("button", name="Send my offer").click()
    await other.get_by_role("button", name="Send it now").click()
    await expect(bubble(other, "On Wednesday too")).to_have_count(1)
    await expect(other.get_by_label("Your message", exact=True)).to_have_value("")

    await page.goto(thread.path)
    await expect(page.get_by_label("Your message", exact=True)).to_have_value("Half of it")
    await sign_out(page)
    await page.wait_for_url(f"{site.url}/")
    assert await page.evaluate("sessionStorage.length") == 0
    # So does who has deleted their account.
    await page.evaluate("sessionStorage.setItem('care:somebody/requests/new', '{}')")
    await page.goto("/settings/data/gone")
    await page.wait_for_function("sessionStorage.length === 0")


async def test_without_scripts_back_and_reload_lose_and_double_nothing(
    visit: Visitor, site: Site, thread: Thread
) -> None:
    page = await window(visit, site, thread.helper, java_script_enabled=False)
    await page.goto(thread.path)
    stale = await page.context.new_page()
    await stale.goto(thread.path)
    await page.get_by_label("Your message", exact=True).fill("One.")
    await page.get_by_role("button", name="Send", exact=True).dblclick()
    await expect(page.locator("#latest")).to_contain_text("One.")
    await page.reload()
    assert await thread.written() == ["One."]
    await page.go_back()
    await expect(page.get_by_label("Your message", exact=True)).to_have_value(
        ""
    )  # it is sent: once more would be twice
    await page.get_by_label("Your message", exact=True).fill("Half of")
    await page.goto("/messages")
    await page.go_back()
    await expect(page.get_by_label("Your message", exact=True)).to_have_value("Half of")
    await write(page, "Two.")
    await expect(page.locator("#latest")).to_contain_text("Two.")
    assert await thread.written() == ["One.", "Two."]
    # A page with the used key, as a browser brings it back: other words take one more tap.
    key = await page.locator(".composer [name=key]").input_value()
    await write(page, "Three.")
    await stale.locator(".composer [name=key]").evaluate("(it, key) => { it.value = key }", key)
    await write(stale, "Three.")
    assert await thread.written() == ["One.", "Two.", "Three."]
    await stale.locator(".composer [name=key]").evaluate("(it, key) => { it.value = key }", key)
    await write(stale, "Four.")
    await expect(stale.get_by_label("Your message", exact=True)).to_have_value("Four.")
    await stale.reload()
    await stale.get_by_role("button", name="Send", exact=True).click()
    await expect(stale.locator("#latest")).to_contain_text("Four.")
    assert await thread.written() == ["One.", "Two.", "Three.", "Four."]
