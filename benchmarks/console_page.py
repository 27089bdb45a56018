"""How much the console's page loads, and how soon it can be used.

Run from the project root: ``python -m benchmarks.console_page --url http://127.0.0.1:3001`` with the console
running, such as by ``make ui``; without an address it starts one on a small simulated market. Needs Chromium
(``ENGINE_CHROMIUM``). Each visit is one of a new browser profile, or a second one of the same. Times count
from the start of the navigation: to the first contentful paint; to the moment at which the overview shows
what is in force; and to that at which the view stands there to which a click leads that is made at that very
moment. What is loaded is counted on a visit without a click, until all of the overview is drawn.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence

from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

from benchmarks.console_world import CHROMIUM, CHROMIUM_ARGUMENTS, console

MOST_BYTES, MOST_MS = 300_000, 1_000.0
CLICK = """
const seen = (window.seen = {});
new MutationObserver(() => {
  const shown = [...document.querySelectorAll("main dt")].some((name) => name.textContent === "In force");
  if (shown && seen.figures === undefined) {
    seen.figures = performance.now();
    document.querySelector('nav a[href="/parameters"]').click();
  }
  if (seen.click === undefined && document.querySelector("h1")?.textContent === "Parameters") {
    seen.click = performance.now();
  }
}).observe(document, { childList: true, subtree: true, characterData: true });
"""
"""Clicks as soon as the figures stand there, and notes when."""
TIMES = """() => ({
  paint: performance.getEntriesByName("first-contentful-paint")[0].startTime, ...window.seen,
})"""
BYTES = """() => {
  const bytes = { page: 0, data: 0 };
  const files = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
  for (const file of files) {
    bytes[new URL(file.name).pathname.startsWith("/api/") ? "data" : "page"] += file.transferSize;
  }
  return bytes;
}"""
SHOWN = {
    "page": "page, bytes on the wire (gzip)",
    "data": "data, bytes on the wire",
    "paint": "first contentful paint, ms",
    "figures": "the overview shows its figures, ms",
    "click": "the click on the navigation was followed, ms",
}
Visit = dict[str, float]


def weight(context: BrowserContext, url: str) -> Visit:
    """Load the overview until all of it is drawn; return what came over the wire."""
    page = context.new_page()
    page.goto(url)
    expect(page.get_by_label("Reading")).to_have_count(0)
    expect(page.locator(".mantine-Skeleton-root")).to_have_count(0)
    found: Visit = page.evaluate(BYTES)
    page.close()
    return found


def times(context: BrowserContext, url: str) -> Visit:
    """Load the overview and click; return milliseconds."""
    page = context.new_page()
    page.add_init_script(CLICK)
    page.goto(url)
    expect(page.get_by_role("heading", level=1, name="Parameters")).to_be_visible()
    found: Visit = page.evaluate(TIMES)
    page.close()
    return found


def visits(browser: Browser, url: str, repeats: int) -> dict[str, list[Visit]]:
    """Visit it again and again, each time first with nothing kept and then with what the first visit left."""
    seen: dict[str, list[Visit]] = {"first visit": [], "second visit": []}
    for _ in range(repeats):
        found: list[list[Visit]] = []
        for measure in (weight, times):
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            found.append([measure(context, url) for _ in seen])
            context.close()
        for kept, heavy, quick in zip(seen.values(), *found, strict=True):
            kept.append(heavy | quick)
    return seen


def spread(values: Sequence[float]) -> str:
    """Write a median with the lowest and the highest."""
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def main() -> None:
    """Measure, and say whether it is within its budget."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="of a console that runs; by default one is started")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    expect.set_options(timeout=60_000)
    with console(options.url) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        busy = os.getloadavg()[0]
        seen = visits(browser, url, options.repeats)
        busy = max(busy, os.getloadavg()[0])
        browser.close()
    print(f"median of {options.repeats} (lowest to highest); load average up to {busy:.1f}\n")
    print(f"| | {' | '.join(seen)} |\n|---|{'---|' * len(seen)}")
    for name, title in SHOWN.items():
        cells = [spread([visit[name] for visit in each]) for each in seen.values()]
        print(f"| {title} | {' | '.join(cells)} |")
    first = seen["first visit"]
    heaviest, usable = (max(visit["page"] for visit in first), statistics.median(v["click"] for v in first))
    print(f"\n{heaviest / 1e3:.0f} kB, wanted below {MOST_BYTES / 1e3:.0f}")
    print(f"usable after {usable / 1e3:.2f} s, wanted below {MOST_MS / 1e3:g}")


if __name__ == "__main__":
    main()
