"""The operators' page in a real browser: the switch with and without scripts, numbers that change by themselves."""

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import uuid4

import pytest
from playwright.async_api import Locator, Page, expect

from browser.conftest import PATIENCE, Site, Visitor
from browser.looks import WIDE, violations
from browser.test_talking import window
from database.test_outcomes import Node
from harness import Person
from web.test_rollout import operator_of

PAGE = "/operator/rollout"
# In milliseconds: longer than the script waits after an answer that took a second or two.
MINUTE = 60_000


async def _change(site: Site, action: str, **arguments: str) -> None:
    pairs = ", ".join(f"'{name}', '{value}'" for name, value in {"reason": "A test.", **arguments}.items())
    made = await site.town.care.owner.fetchval(
        f"select care.change_rollout('{action}', jsonb_build_object({pairs}), 'olga@example.org', null) ->> 'success'"
    )
    assert made == "true", (action, arguments)


@pytest.fixture
async def operator(site: Site) -> AsyncIterator[Person]:
    """An operator, while everybody has V2; afterwards all is as other tests found it."""
    await _change(site, "set", stage="on")
    yield await operator_of(site.town)
    if await site.town.care.owner.fetchval("select stopped from care.rollout_flags"):
        await _change(site, "resume", stage="off")
    else:
        await _change(site, "set", stage="off")


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
async def test_an_operator_stops_v2_on_second_thoughts_and_lets_it_go_on(
    visit: Visitor, site: Site, operator: Person, scripts: bool
) -> None:
    page = await window(visit, site, operator, java_script_enabled=scripts, viewport={"width": 360, "height": 740})
    await page.goto("/")
    await page.locator("header summary").click()
    await page.get_by_role("navigation", name="More").get_by_role("link", name="Rollout").click()
    await expect(page.get_by_role("heading", name="New conversations open in V2 for everybody.")).to_be_visible()
    for button in ("No, change nothing", "Yes, stop V2 now"):
        await page.get_by_label("What is wrong?").select_option(label="Members complain")
        await page.get_by_label("What have you seen?").fill("Two members cannot open a thread.")
        await page.get_by_role("button", name="Stop V2").click()
        await expect(page.get_by_role("heading", name="Stop V2 now?")).to_be_visible()
        assert await page.evaluate(WIDE) == []
        assert await site.town.care.owner.fetchval("select stopped from care.rollout_flags") is None
        await page.get_by_text(button).click()
    await expect(page.get_by_role("heading", name="V2 is stopped.")).to_be_visible()
    await expect(page.get_by_role("blockquote")).to_have_text("Two members cannot open a thread.")

    await page.get_by_label("What was the cause").fill("A cable.")
    await page.get_by_role("button", name="Go on").click()
    await page.get_by_role("button", name="Yes, go on").click()
    await expect(page.get_by_role("heading", name="for coordinators and operators.")).to_be_visible()


async def later(page: Page, wanted: Locator) -> None:
    """Lets a page's time pass until it shows this. What passes while an answer is on its way is taken for the answer's
    own, after which the script waits twenty times as long."""
    for longer in (1, 25, 625):
        await page.clock.fast_forward(longer * MINUTE)
        with suppress(AssertionError):
            await expect(wanted).to_be_visible(timeout=PATIENCE / 3)
            return
    await expect(wanted).to_be_visible()


async def test_the_numbers_change_by_themselves_and_what_is_typed_and_open_stays(
    visit: Visitor, site: Site, operator: Person
) -> None:
    page = await window(visit, site, operator)
    await page.clock.install()
    await page.goto(PAGE)
    await page.get_by_label("What have you seen?").fill("Half a sent")
    await page.get_by_text("Days as a table").click()
    numbers = page.get_by_role("region", name="Both engines side by side")
    counter = Node(site.town.care)
    await site.town.care.owner.execute("update care.rollout_flags set stage_since = now() - interval '1 hour'")
    pairs = [(uuid4(), uuid4()) for _ in range(7)]
    await counter.record([counter.event(pair, 120, "success", version="v2") for pair in pairs])
    await later(page, numbers.get_by_role("row", name=re.compile("^Attempts 7 ")))
    await expect(page.get_by_role("region", name="Days as a table")).to_be_visible()
    await expect(page.get_by_text("Days as a table")).to_be_focused()

    # Somebody else stops it: it is said, and nothing that was typed is taken away.
    await _change(site, "kill", why="errors")
    await later(page, page.get_by_role("heading", name="V2 is stopped."))
    await expect(page.get_by_text("It was changed since you opened this page.")).to_be_visible()
    await expect(page.get_by_label("What have you seen?")).to_have_value("Half a sent")
    await page.get_by_label("What have you seen?").fill("")
    # With nothing typed the form that goes with the state comes.
    await later(page, page.get_by_role("button", name="Go on"))
    # A session that has ended is said, too.
    await page.context.clear_cookies()
    await later(page, page.get_by_text("These numbers are old"))


async def test_axe_finds_nothing_in_either_theme_while_v2_is_on_and_stopped(
    visit: Visitor, site: Site, operator: Person
) -> None:
    page = await window(visit, site, operator, reduced_motion="reduce")
    found = []
    for stopped in (False, True):
        if stopped:
            await _change(site, "kill", why="errors")
        await page.goto(PAGE)
        await page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
        found += await violations(page, *([] if stopped else ["color-contrast"]))
        await page.emulate_media(color_scheme="dark")
        found += await violations(page, "color-contrast")
        await page.emulate_media(color_scheme="light")
    assert found == []
