"""The account pages as people use them: with and without scripts, by keyboard, on a phone, with large text."""

import pytest
from playwright.async_api import Page, expect

from browser.conftest import Site, Visitor
from browser.looks import violations
from harness import Person
from web_harness import PASSWORD, fresh_email


async def join(page: Page, email: str) -> None:
    """Joins by the form, which leads to the page that says what to wait for."""
    await page.goto("/sign-up")
    await page.get_by_label("Your name").fill("Nia")
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_label("A few words about you").fill("Olga told me.\nI live next door.")
    await page.get_by_role("button", name="Join").click()
    await page.wait_for_url("**/account")


async def sign_in(page: Page, email: str, password: str = PASSWORD) -> None:
    """Sends the sign-in form."""
    await page.goto("/sign-in")
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Password").fill(password)
    await page.locator("main").get_by_role("button", name="Sign in").click()


async def sign_out(page: Page) -> None:
    """Signs out, which stands behind the header's "More"."""
    await page.locator("header summary").click()
    await page.get_by_role("button", name="Sign out").click()


async def person_of(site: Site, email: str) -> Person:
    """The member who joined with an address."""
    user_id = await site.town.care.owner.fetchval("select id from care.users where email = $1", email)
    return Person(site.town, user_id, "Nia")


async def approve(site: Site, email: str) -> None:
    """Approves a member, as a coordinator would."""
    await site.town.care.owner.execute(
        "update public.profiles set verification_status = 'approved' where user_id = $1",
        (await person_of(site, email)).user_id,
    )


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
async def test_a_neighbour_joins_waits_is_approved_and_comes_back(visit: Visitor, site: Site, scripts: bool) -> None:
    page, email = (await visit(java_script_enabled=scripts)).page, fresh_email()
    await page.goto("/")
    await page.get_by_role("link", name="Join your neighbours").click()
    await page.wait_for_url("**/sign-up")
    await join(page, email)
    await expect(page.get_by_role("heading", name="A coordinator will look at your account")).to_be_visible()
    words = await site.town.care.owner.fetchval(
        "select application_words from public.profiles where user_id = $1", (await person_of(site, email)).user_id
    )
    assert words == "Olga told me.\nI live next door."

    await approve(site, email)
    await page.reload()
    await expect(page.get_by_role("heading", name="You are one of us")).to_be_visible()
    await sign_out(page)
    await expect(page.get_by_role("navigation").get_by_role("link", name="Sign in")).to_be_visible()
    await page.goto("/account")
    assert page.url == f"{site.url}/sign-in?next=/account"

    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Password").fill("not the password")
    await page.locator("main").get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_contain_text("The e-mail address or the password is not right.")
    await expect(page.get_by_label("E-mail")).to_have_value(email)
    await expect(page.get_by_label("Password")).to_have_value("")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.locator("main").get_by_role("button", name="Sign in").click()
    await page.wait_for_url("**/account")
    await expect(page.get_by_role("heading", name="You are one of us")).to_be_visible()


async def test_a_form_that_is_wrong_keeps_what_was_typed_and_names_each_field(visit: Visitor) -> None:
    page = (await visit(java_script_enabled=False)).page
    await page.goto("/sign-up")
    await page.locator("form.sheet").evaluate("form => form.noValidate = true")
    await page.get_by_label("Your name").fill("  ")
    await page.get_by_label("E-mail").fill("no-address")
    await page.get_by_label("Password").fill("short")
    await page.get_by_label("A few words about you").fill("Olga told me.")
    await page.get_by_role("button", name="Join").click()
    await expect(page.get_by_role("alert").get_by_role("link")).to_have_count(3)
    await expect(page.get_by_label("A few words about you")).to_have_value("Olga told me.")
    await expect(page.get_by_label("Password")).to_have_value("")
    for label in ("Your name", "E-mail", "Password"):
        wrong = page.get_by_label(label)
        await expect(wrong).to_have_attribute("aria-invalid", "true")
        described = (await wrong.get_attribute("aria-describedby") or "").split()
        await expect(page.locator(f"#{described[-1]}")).to_be_visible()


async def test_the_keyboard_alone_is_enough(visit: Visitor, site: Site) -> None:
    email = fresh_email()
    await join((await visit()).page, email)
    page = (await visit()).page
    await page.goto("/sign-in")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the main part")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await expect(page.get_by_label("E-mail")).to_be_focused()
    await page.keyboard.type(email)
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"{site.url}/")
    for word in ("More", "Sign out"):
        for _ in range(10):
            await page.keyboard.press("Tab")
            if await page.evaluate("word => document.activeElement.textContent.trim() == word", word):
                break
        await page.keyboard.press("Enter")
    await expect(page.get_by_role("navigation").get_by_role("link", name="Sign in")).to_be_visible()


async def test_settings_are_changed_by_keyboard_alone_and_without_scripts(visit: Visitor, site: Site) -> None:
    page, email = (await visit(java_script_enabled=False)).page, fresh_email()
    await join(page, email)
    await page.goto("/settings")
    for key in ("Tab", "Enter", "Tab", "Tab"):  # past the header, to the first choice
        await page.keyboard.press(key)
    await expect(page.get_by_label("How often do we write to you?")).to_be_focused()
    await page.keyboard.type("Once")
    while not await page.get_by_label("Language").evaluate("e => e == document.activeElement"):
        await page.keyboard.press("Tab")
    await page.keyboard.type("Esp")
    for key in ("Tab", "Tab", "Enter"):
        await page.keyboard.press(key)
    await expect(page.get_by_role("status")).to_have_text("Tus ajustes están guardados.")
    await expect(page.locator("#field-email")).to_have_value("daily")


RESTRICTED = {
    "limited": "Some things are paused for now",
    "suspended": "You can read, but not write, for now",
    "banned": "You can no longer take part here",
}


async def test_who_is_restricted_reads_why_and_until_when(visit: Visitor, site: Site) -> None:
    page, email = (await visit()).page, fresh_email()
    await join(page, email)
    await approve(site, email)
    person, owner = await person_of(site, email), site.town.care.owner
    for kind, heading in RESTRICTED.items():
        await owner.execute("delete from public.user_restrictions where user_id = $1", person.user_id)
        await site.town.restrict(person, kind, until="2 days", why="Sent adverts <b>twice</b>")
        until = await owner.fetchval(
            "select to_char(until, 'FMDD FMMonth YYYY') from public.user_restrictions where user_id = $1",
            person.user_id,
        )
        await sign_out(page)
        await sign_in(page, email)
        await page.wait_for_url(f"{site.url}/")
        await expect(page.get_by_role("heading", name=heading)).to_be_visible()
        await expect(page.get_by_role("blockquote")).to_have_text("Sent adverts <b>twice</b>")
        await expect(page.locator("time")).to_contain_text(until)
        assert await violations(page) == []


async def test_a_page_that_is_not_there_says_so_and_gives_a_reference(visit: Visitor) -> None:
    page = (await visit()).page
    answer = await page.goto("/nothing-here")
    assert answer is not None
    assert answer.status == 404
    await expect(page.get_by_role("heading", name="We cannot find that page")).to_be_visible()
    await expect(page.locator("code")).to_have_text((await answer.all_headers())["x-request-id"])
    await page.get_by_role("link", name="Go to the home page").click()
    await expect(page.get_by_role("heading", name="Neighbours helping neighbours")).to_be_visible()


async def test_the_policy_runs_no_script_and_no_style_that_was_smuggled_in(visit: Visitor) -> None:
    opened = await visit()
    page = opened.page
    await page.goto("/")
    ran = await page.evaluate(
        """() => {
            const script = document.createElement('script');
            script.textContent = 'window.smuggled = true';
            document.body.append(script);
            const image = document.createElement('img');
            image.src = 'http://127.0.0.1:9/pixel.png';
            document.body.append(image);
            return window.smuggled === true;
        }"""
    )
    assert ran is False
    await page.reload()
    assert len([complaint for complaint in opened.complaints if "Content Security Policy" in complaint]) == 2
    opened.complaints.clear()
