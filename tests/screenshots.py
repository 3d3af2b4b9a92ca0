"""Takes pictures of the sample community's pages in a real Chromium: those of the README, or all of them to look at.

.venv-dev/bin/python tests/screenshots.py                 the README's, into docs/images
.venv-dev/bin/python tests/screenshots.py FOLDER [WORD …]  every page, size and theme, or those whose name has a word;
                                          narrow, forced, print, large and spanish where a word is one of these
"""

import asyncio
import os
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from itertools import product
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, Page, async_playwright

ROOT: Final = Path(__file__).parents[1]
CHROMIUM: Final = (Path("/usr/bin/chromium-headless-shell"), Path("/usr/bin/chromium"))
PASSWORD: Final = "kindness-next-door"
SIZES: Final = {"phone": (360, 740), "tablet": (768, 1024), "desk": (1280, 800), "narrow": (320, 568)}
LOOKS: Final[dict[str, dict[str, Any]]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "forced": {"forced_colors": "active"},
    "print": {},
    "large": {"device_scale_factor": 2},  # everything at 200 %, in half of the window
    "spanish": {"locale": "es-ES"},
}
ASKED_FOR: Final = {"narrow", "forced", "print", "large", "spanish"}
# Who looks at what. A path that ends in * is that of the first link which begins so on the page before.
PAGES: Final = {
    "nobody": ["/", "/sign-in", "/sign-up", "/password/forgotten", "/password/new", "/unsubscribe"],
    "kofi": ["/", "/account", "/requests", "/nowhere"],  # waits
    "victor": ["/"],  # was not approved
    "petra": ["/", "/requests", "/requests/new", "/requests/*", "/messages", "/settings"],  # may read, not write
    "maria": [
        "/", "/requests", "/requests/new", "/requests/mine", "/requests/*", "/messages", "/messages/*",
        "/messages?search=zzz", "/messages?filter=archived", "/requests?search=zzz", "/notifications", "/settings",
        "/settings/data", "/settings/blocks", "/settings/password", "/account", "/nowhere",
    ],
    "samuel": ["/requests", "/requests/*", "/messages/*"],
    "ruth": ["/coordinator/approvals"],
    "tomas": ["/operator/rollout"],
}  # fmt: skip
README: Final = (
    ("maria", "/messages/*", "desk", "light", "thread"),
    ("samuel", "/requests", "phone", "light", "requests"),
    ("maria", "/messages/*", "phone", "dark", "thread-dark"),
)


async def served(folder: str) -> tuple[Process, str]:
    """A demo of its own, and its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "care_collective", "demo", "--port", "0", cwd=folder, stdout=PIPE, stderr=DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "CARE_DATA_DIR": folder},
    )  # fmt: skip
    assert process.stdout is not None
    async for line in process.stdout:
        if b"ready at" in line:
            return process, line.decode().split("ready at ")[1].split()[0].rstrip(".,")
    raise SystemExit("The demo did not start.")


async def window(browser: Browser, site: str, who: str, size: str, look: str) -> Page:
    """A window of somebody who has signed in, or of nobody."""
    width, height = (side // 2 if look == "large" else side for side in SIZES[size])
    context = await browser.new_context(
        base_url=site,
        viewport={"width": width, "height": height},
        reduced_motion="reduce",
        timezone_id="Europe/London",
        **LOOKS[look],
    )
    page = await context.new_page()
    if look == "print":
        await page.emulate_media(media="print")
    if who != "nobody":
        await page.goto("/sign-in")
        await page.locator("input[name=email]").fill(f"{who}@linden-row.example")
        await page.locator("input[name=password]").fill(PASSWORD)
        await page.locator("main form button").click()
        await page.wait_for_load_state()
    return page


async def opened(page: Page, path: str) -> None:
    """Goes to a page; to the first one that is linked to from its list where the path ends in a star."""
    if path.endswith("*"):
        room = path.rstrip("/*")
        await page.goto("/requests/mine" if room == "/requests" else room)
        found = page.locator(f"main a[href^='{room}/']:not([href$='/new'], [href$='/mine'])").first
        path = await found.get_attribute("href") or room
    await page.goto(path)
    await page.wait_for_timeout(300)  # fonts and the stream's first turn


def plan(words: list[str]) -> list[tuple[str, str, str, str, str]]:
    """Every page in every size and look, whose name has one of the words, as far as it is not to be asked for."""
    wished = set(words) & ASKED_FOR
    named = [
        (who, path, size, look, f"{who}{path.replace('/', '-').replace('*', 'one')}.{size}.{look}")
        for (who, paths), size, look in product(PAGES.items(), SIZES, LOOKS)
        for path in paths
        if {size, look} & ASKED_FOR == wished
    ]
    chosen = [word for word in words if word not in ASKED_FOR]
    return [one for one in named if not chosen or any(word in one[-1] for word in chosen)]


async def take(wanted: list[tuple[str, str, str, str, str]], folder: Path, state: str, *, whole: bool) -> None:
    """Serves a demo with its data in `state` and takes the pictures, of whole pages or of what a window shows."""
    program = next(found for found in CHROMIUM if found.exists())
    process, site = await served(state)
    try:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=program, args=["--headless", "--no-sandbox"])
            windows: dict[tuple[str, str, str], Page] = {}
            for who, path, size, look, name in wanted:
                key = (who, size, look)
                if key not in windows:
                    windows[key] = await window(browser, site, *key)
                await opened(windows[key], path)
                await windows[key].screenshot(path=folder / f"{name}.png", full_page=whole)
            await browser.close()
    finally:
        process.terminate()
        await process.wait()


def main(arguments: list[str]) -> None:
    """Takes the pictures that the arguments name."""
    folder = Path(arguments[0]) if arguments else ROOT / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = plan(arguments[1:]) if arguments else list(README)
    with tempfile.TemporaryDirectory(prefix="care-pictures-") as state:
        Path(state).chmod(0o711)  # PostgreSQL does not run as root, and has to pass
        asyncio.run(take(wanted, folder, state, whole=bool(arguments)))


if __name__ == "__main__":
    main(sys.argv[1:])
