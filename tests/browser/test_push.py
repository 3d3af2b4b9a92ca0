"""Notices on a device in a real Chromium: turned on, shown, turned off, and ended by signing out.

What has no window shows no notifications, and a real `pushManager` would call its maker's service: these two are stood
in for, at the browser's own interfaces. The worker, its registration and its events are the browser's.
"""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import expect

from browser.conftest import Site, Visitor
from browser.looks import violations
from browser.test_pages import sign_out
from browser.test_talking import signed_in, window
from push_harness import Browser
from web_harness import services_for, serving

ENDPOINT = "https://push.example/this-browser"
KEYS = Browser(ENDPOINT).keys
STAND_IN = f"""
const made = () => ({{
  endpoint: {json.dumps(ENDPOINT)},
  options: {{}},
  toJSON: () => ({{ keys: {json.dumps(KEYS)} }}),
  unsubscribe: async () => (localStorage.removeItem("stand-in"), true),
}});
Object.defineProperty(Notification, "permission", {{ get: () => localStorage.getItem("may") ?? "default" }});
Notification.requestPermission = async () => (localStorage.setItem("may", "granted"), "granted");
PushManager.prototype.subscribe = async ({{ userVisibleOnly, applicationServerKey }}) => {{
  if (!userVisibleOnly || applicationServerKey.length !== 65) throw new Error("not so");
  localStorage.setItem("stand-in", "on");
  return made();
}};
PushManager.prototype.getSubscription = async () => (localStorage.getItem("stand-in") ? made() : null);
"""


@pytest.fixture
async def offering(site: Site) -> AsyncIterator[str]:
    """The same town, served by a node that offers web push."""
    services = services_for(site.town.care, base_url="http://127.0.0.1")
    async with serving(services) as port:
        yield f"http://127.0.0.1:{port}"


# In the worker: what it shows is kept, and so is where a click leads.
WORKER = """async ([notice, paths]) => {
  const shown = [], opened = [], waits = [];
  self.registration.showNotification = async (title, options) => shown.push({ title, ...options });
  ExtendableEvent.prototype.waitUntil = (promise) => waits.push(promise);
  Clients.prototype.openWindow = async (url) => opened.push(url);
  for (const text of [JSON.stringify(notice), "not JSON"]) {
    self.dispatchEvent(new PushEvent("push", { data: text }));
  }
  for (const path of paths) {
    const event = new ExtendableEvent("notificationclick");
    event.notification = { close: () => {}, data: { path } };
    self.dispatchEvent(event);
  }
  await Promise.all(waits);
  return { shown, opened: opened.map((url) => url.replace(self.location.origin, "")) };
}"""


# Resolves once the browser is told nothing more.
ENDED = """new Promise((done) => {
  const told = () => ["stand-in", "care-push"].some((name) => localStorage.getItem(name));
  const look = () => (told() ? setTimeout(look, 20) : done());
  look();
})"""


# In the worker: the browser's address is another one, once for each pair of the old one and what is told of the new.
MOVED = f"""async (moves) => {{
  const made = (endpoint) => ({{ endpoint, toJSON: () => ({{ keys: {json.dumps(KEYS)} }}) }});
  PushManager.prototype.subscribe = async ({{ applicationServerKey: key }}) => made(`{ENDPOINT}/${{key.length}}`);
  for (const [old, given] of moves) {{
    const waits = [];
    ExtendableEvent.prototype.waitUntil = (promise) => waits.push(promise);
    const event = new ExtendableEvent("pushsubscriptionchange");
    self.dispatchEvent(
      Object.assign(event, {{ oldSubscription: old && made(old), newSubscription: given && made(given) }}),
    );
    await Promise.all(waits);
  }}
}}"""


async def test_notices_are_turned_on_shown_turned_off_and_end_with_signing_out(
    site: Site, visit: Visitor, offering: str
) -> None:
    page = await window(visit, site, await site.town.member("Ann"))
    await page.context.add_init_script(STAND_IN)
    await page.goto(f"{offering}/settings")
    section = page.get_by_role("region", name="On this device")
    await expect(section).to_contain_text("Notices are off on this device.")
    assert await violations(page) == []
    await section.get_by_role("button", name="Turn on").click()
    await expect(section).to_contain_text("Notices are on")
    assert await site.town.count("care.push_subscriptions", f"endpoint = '{ENDPOINT}'") == 1

    notice = {"title": "Linden Row", "body": "Bob wrote.", "path": "/messages", "tag": "/messages", "lang": "en"}
    paths = ["/messages/one", "//evil.example/", "https://evil.example/", "javascript:alert(1)"]
    if not page.context.service_workers:
        await page.context.wait_for_event("serviceworker")
    (worker,) = page.context.service_workers
    assert worker.url == f"{offering}/push-worker.js"
    told = await worker.evaluate(WORKER, [notice, paths])
    assert [one["title"] for one in told["shown"]] == ["Linden Row", "127.0.0.1"]
    assert told["shown"][0].items() >= {"body": "Bob wrote.", "tag": "/messages", "data": {"path": "/messages"}}.items()
    assert told["opened"] == ["/messages/one", "/", "/", "/"]

    # It goes where the browser has moved to, and only for whose browser it was.
    await worker.evaluate(MOVED, [["https://push.example/another", "https://push.example/not-ours"]])
    await worker.evaluate(MOVED, [[ENDPOINT, "https://push.example/moved"], [None, None]])
    rows = await site.town.care.owner.fetch("select endpoint from care.push_subscriptions order by created_at")
    assert [row["endpoint"] for row in rows] == [ENDPOINT, "https://push.example/moved", f"{ENDPOINT}/87"]
    await site.town.care.owner.execute("delete from care.push_subscriptions where endpoint <> $1", ENDPOINT)

    await page.reload()
    await section.get_by_role("button", name="Turn off").click()
    await expect(section).to_contain_text("Notices are off on this device.")
    await expect(section.get_by_role("button", name="Turn on")).to_be_visible()
    await section.get_by_role("button", name="Turn on").click()
    await expect(section).to_contain_text("Notices are on")

    # A session that runs out ends nothing, on a phone that only they hold. Somebody else who signs in there does.
    await page.context.clear_cookies()
    await page.goto(offering)
    assert await page.evaluate("localStorage.getItem('stand-in')") == "on"
    await signed_in(page, site, await site.town.member("Bob"))
    await page.goto(f"{offering}/settings")
    async with asyncio.timeout(10):
        await page.evaluate(ENDED)
    await expect(section).to_contain_text("Notices are off on this device.")
    await section.get_by_role("button", name="Turn on").click()
    await expect(section).to_contain_text("Notices are on")
    await sign_out(page)
    await expect(page.get_by_role("link", name="Sign in", exact=True)).to_be_visible()
    assert await site.town.count("care.push_subscriptions") == 0
    assert await page.evaluate("localStorage.getItem('stand-in')") is None


async def test_a_browser_that_refuses_says_so_and_without_scripts_there_is_no_section(
    site: Site, visit: Visitor, offering: str
) -> None:
    bob = await site.town.member("Bob")
    page = await window(visit, site, bob)  # without a window of its own it refuses notifications to everybody
    await page.goto(f"{offering}/settings")
    section = page.get_by_role("region", name="On this device")
    await expect(section).to_contain_text("Your browser does not let this site show notices.")
    await expect(section.get_by_role("button")).to_have_count(0)
    plain = await window(visit, site, bob, java_script_enabled=False)
    await plain.goto(f"{offering}/settings")
    await expect(plain.get_by_role("heading", name="Settings")).to_be_visible()
    await expect(plain.get_by_text("On this device")).to_be_hidden()
