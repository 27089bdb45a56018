"""Pictures of every view of the console, light and dark, on a desktop and on a phone.

Run from the project root, with the console running, such as by ``make ui``, and data in its warehouse::

    python -m benchmarks.console_screenshots --url http://127.0.0.1:3001 --whole --out docs/console

Without an address it starts one on a small simulated market. Needs Chromium (``ENGINE_CHROMIUM``). The
pictures have few colours, so that they stay small.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from benchmarks.console_world import CHROMIUM, CHROMIUM_ARGUMENTS, console

VIEWS = ("overview", "scenarios", "training", "parameters", "performance", "experiments", "history")
SCREENS: dict[str, ViewportSize] = {
    "desktop": {"width": 1440, "height": 900},
    "phone": {"width": 390, "height": 844},
}
SCHEMES = ("light", "dark")
START = "start"
"""The dialog in which a training is asked for, over the scenarios."""
_COLOURS, _PATIENCE_MS = 256, 60_000


def settled(page: Page) -> None:
    """Wait until everything was read."""
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_label("Reading")).to_have_count(0)
    # Charts come in a file of their own; until then there is a bare skeleton.
    expect(page.locator(".mantine-Skeleton-root")).to_have_count(0)


def keep(png: bytes, path: Path) -> None:
    """Write a picture with a palette."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    few = picture.quantize(_COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def shoot(browser: Browser, url: str, folder: Path, *, whole: bool) -> None:
    """Take all pictures."""
    for screen, size in SCREENS.items():
        for scheme in SCHEMES:
            context = browser.new_context(
                viewport=size, color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce"
            )
            context.set_default_timeout(_PATIENCE_MS)
            page = context.new_page()
            for view in VIEWS:
                page.goto(f"{url}/{'' if view == 'overview' else view}")
                settled(page)
                keep(page.screenshot(full_page=whole), folder / f"{view}-{screen}-{scheme}.png")
                if view == "scenarios":
                    page.get_by_role("button", name="Start Quick tune").click()
                    expect(page.get_by_role("dialog").get_by_label("Reason")).to_be_visible()
                    keep(page.screenshot(), folder / f"{START}-{screen}-{scheme}.png")
            context.close()


def main() -> None:
    """Take them, and say how large they are."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="of a console that runs; by default one is started")
    parser.add_argument("--out", type=Path, default=Path("data/console_screenshots"), help="folder")
    parser.add_argument("--whole", action="store_true", help="whole pages instead of what a screen shows")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=_PATIENCE_MS)
    with console(options.url) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        shoot(browser, url, options.out, whole=options.whole)
        browser.close()
    sizes = [file.stat().st_size for file in sorted(options.out.glob("*.png"))]
    print(f"{len(sizes)} pictures in {options.out}, {sum(sizes) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
