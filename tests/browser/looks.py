"""What holds for every page however it is looked at: by axe, by a finger, at 200 % zoom, with words from anywhere."""

from axe_playwright_python.base import AXE_SCRIPT  # type: ignore[import-untyped]
from playwright.async_api import Page, ViewportSize

# axe would otherwise fetch style sheets by script to inspect them, which the CSP refuses.
AXE = {
    "preload": False,
    "resultTypes": ["violations"],
    "selectors": False,
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}
# What it found, without all that it looked at, which is most of what it would send.
RUN = """options => axe.run(options).then(found =>
    found.violations.map(one => `${one.id}: ${JSON.stringify(one.nodes.map(node => node.html))}`))"""
# A laptop's window of 1280 x 1024 at 200 % zoom.
ZOOMED: ViewportSize = {"width": 640, "height": 512}
# What a finger meets, words within a sentence apart (WCAG 2.5.8).
SMALL = """() => [...document.querySelectorAll(':is(main, header) :is(a, button, summary, select, input)')]
    .filter(e => e.offsetParent && e.type !== 'hidden' && !e.closest('.thread-title, .aside, .skip'))
    .map(e => [e.textContent.trim().slice(0, 30), (e.closest('label') ?? e).getBoundingClientRect()])
    .filter(([, box]) => box.height < 43.5 || box.width < 43.5)
    .map(([words, box]) => `${words} ${box.width}x${box.height}`)"""
TINY = """() => [...document.querySelectorAll('main *, header *')].filter(e => e.offsetParent && e.textContent.trim())
    .filter(e => parseFloat(getComputedStyle(e).fontSize) < 14).map(e => e.outerHTML.slice(0, 80))"""
# By how much a page is wider than its window, if it is.
WIDE = """() => {
    const by = (e => e.scrollWidth - e.clientWidth)(document.documentElement);
    return by > 0 ? [`${by} too wide for ${innerWidth}`] : [];
}"""
# Words and controls that lie over one another, each as far as what scrolls around it lets it be seen.
OVERLAPPING = """() => {
    const cut = (box, by) => ({
        left: Math.max(box.left, by.left), right: Math.min(box.right, by.right),
        top: Math.max(box.top, by.top), bottom: Math.min(box.bottom, by.bottom),
    });
    const seen = one => {
        let boxes = [...one.getClientRects()]; // one for each line
        for (let at = one.parentElement; at; at = at.parentElement) {
            const by = getComputedStyle(at).overflow === 'visible' ? null : at.getBoundingClientRect();
            boxes = by ? boxes.map(box => cut(box, by)) : boxes;
        }
        return boxes;
    };
    const meet = (a, b) => {
        const both = cut(a, b);
        return both.right - both.left > 3 && both.bottom - both.top > 3;
    };
    const worded = e => [...e.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    const found = [...document.body.querySelectorAll('*')]
        .filter(e => e.checkVisibility({visibilityProperty: true}) && !e.closest('.skip, .unseen, select, script'))
        .filter(e => worded(e) || e.matches('button, input, select, textarea, summary'))
        .map(e => [e, seen(e)]);
    const over = [];
    found.forEach(([one, some], at) => found.slice(at + 1).forEach(([other, more]) => {
        if (!one.contains(other) && !other.contains(one) && some.some(a => more.some(b => meet(a, b)))) {
            over.push(`${one.outerHTML.slice(0, 60)} | ${other.outerHTML.slice(0, 60)}`);
        }
    }));
    return over;
}"""


async def violations(page: Page, *rules: str) -> list[str]:
    """What axe finds wrong with a page, by all its rules or by these."""
    options = AXE | {"runOnly": list(rules)} if rules else AXE
    await page.evaluate(AXE_SCRIPT)
    return [f"{page.url}: {found}" for found in await page.evaluate(RUN, options)]


async def laid_out(page: Page) -> None:
    """A page whose window is of any size has to show everything beside or below one another, and scroll one way."""
    assert [await page.evaluate(WIDE), await page.evaluate(OVERLAPPING)] == [[], []], page.url
