"""The console as a person uses it: Chromium, the real API, Dagster, a warehouse and the live loop."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect

VIEWS = (
    "/",
    "/scenarios",
    "/training",
    "/parameters",
    "/performance",
    "/experiments",
    "/history",
    "/nowhere",
)
# What the page is too narrow for: itself, and frames that scroll without saying so, or not by the keyboard.
SIDEWAYS = """() => [...document.querySelectorAll("html, main *")].filter((node) => {
  if (node.scrollWidth <= node.clientWidth + 1) return false;
  const scrolls = ["auto", "scroll"].includes(getComputedStyle(node).overflowX);
  const said = node.tabIndex === 0 && node.ariaLabel?.endsWith("scrolls sideways");
  return node === document.documentElement || (scrolls && !said);
}).map((node) => node.outerHTML.slice(0, 200))"""
SYMBOL, EPISODES, NEW_BARS = "BTC/USDT", 10, 4
# How long one waits before one gives up, in milliseconds: not how long it takes.
_SOON, _LONG = 60_000.0, 240_000.0

pytestmark = pytest.mark.slow
expect.set_options(timeout=_SOON)


@pytest.fixture
def page(browser: Browser, world: Any) -> Iterator[Page]:
    """A page that must not complain of anything, least of all of its own content security policy."""
    context = browser.new_context(reduced_motion="reduce", viewport={"width": 1440, "height": 900})
    context.set_default_timeout(_SOON)
    opened = context.new_page()
    said: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # That the console cannot be reached while it is down is what the browser has to say.
        if message.type in ("error", "warning") and "net::ERR" not in message.text:
            said.append(message.text)

    opened.on("console", note)
    opened.on("pageerror", lambda error: said.append(str(error)))
    yield opened
    context.close()
    assert not said


def eventually(found: Callable[[], Any], within: float) -> Any:
    deadline = time.monotonic() + within
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.005)
    return value


def panel(page: Page, title: str) -> Locator:
    return page.get_by_role("region", name=title)


def settled(page: Page) -> None:
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_label("Reading")).to_have_count(0)
    expect(page.locator(".mantine-Skeleton-root")).to_have_count(0)


def episodes(world: Any, session: str) -> int:
    return sum("episode" in event.content for event in world.store.sessions.progress(session))


@contextmanager
def halted(world: Any) -> Iterator[None]:
    """Halt the process of the session once an episode has ended, so that one can look at it."""

    def holder() -> int | None:
        running = world.store.sessions.running()
        return running[0].holder.pid if running and episodes(world, running[0].id) else None

    pid = eventually(holder, _LONG / 1e3)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def start_from_the_recommendation(page: Page, world: Any) -> None:
    # After a session its run goes on for a while, and the tables of what it did come of it.
    status = f"{world.url}/api/rl-training/status"
    eventually(lambda: not httpx.get(status, timeout=_SOON / 1e3).json()["runs"], _LONG / 1e3)
    page.goto(world.url)
    recommended = panel(page, "Recommendation")
    expect(recommended).to_contain_text("Quick tune")
    expect(recommended).to_contain_text("decisions' confidence 0.20, wanted at least 0.55")
    recommended.get_by_role("button", name="Start Quick tune").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Shadow", exact=True).click()
    expect(dialog.get_by_label("Episodes")).to_have_value(str(EPISODES))
    dialog.get_by_label("Reason").fill("confidence is low")
    dialog.get_by_role("button", name="Start training").click()
    expect(dialog).to_contain_text("Dagster run")
    dialog.get_by_role("link", name="Watch it").click()


def confirm(page: Page, verb: str, why: str, *shown: str) -> None:
    """Say why, look at what would change, and confirm it."""
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill(why)
    dialog.get_by_role("button", name="Review").click()
    for text in shown:
        expect(dialog).to_contain_text(text)
    expect(dialog.get_by_role("timer")).to_contain_text("s to confirm")
    dialog.get_by_role("button", name=verb, exact=True).click()
    expect(dialog).to_contain_text("Done.")
    dialog.get_by_role("button", name="Close").last.click()


@pytest.mark.parametrize("killed", [False, True], ids=["undisturbed", "API killed and started again"])
def test_from_the_recommendation_to_the_rollback(page: Page, world: Any, killed: bool) -> None:
    before = world.store.in_force()
    start_from_the_recommendation(page, world)
    with halted(world):
        session = world.store.sessions.running()[0].id
        arrived = episodes(world, session)
        assert arrived < EPISODES
        if killed:
            expect(page.get_by_text(f"episode {arrived} of {EPISODES}")).to_be_visible()
            world.end(signal.SIGKILL)
            expect(page.get_by_role("main")).to_contain_text(re.compile("connection", re.IGNORECASE))
            world.serve()
        expect(page.get_by_text(f"episode {arrived} of {EPISODES}")).to_be_visible()
        expect(panel(page, "Gate")).to_contain_text("The gate judges once the search is over")
    expect(page.get_by_text(f"episode {EPISODES} of {EPISODES}").first).to_be_visible(timeout=_LONG)
    gate = panel(page, "Gate")
    expect(gate.get_by_text("promoted", exact=True)).to_be_visible(timeout=_LONG)
    expect(gate).to_contain_text("lower bound")
    expect(gate).to_contain_text("socialGo")
    eventually(lambda: not world.store.sessions.running(), _SOON / 1e3)
    assert world.store.in_force() == before, "a shadow changes nothing"

    page.get_by_role("main").get_by_role("button", name="Apply").click()
    confirm(page, "Apply", "the evidence is clear", "socialGo", "0.75")
    applied = world.store.in_force()
    assert applied.version == before.version + 1
    assert applied.parameters.social_go > before.parameters.social_go
    decided = world.live_loop(NEW_BARS)
    assert decided["version"].to_list() == [applied.version] * NEW_BARS
    assert set(decided["parameters_hash"]) == {applied.parameters.content_hash}

    page.get_by_role("link", name="History").click()
    page.get_by_role("button", name=f"Roll back to version {before.version}", exact=True).click()
    confirm(page, "Roll back", "fills got worse", "socialGo", "0.75")
    back = world.store.in_force()
    assert back.version == applied.version + 1
    assert back.parameters == before.parameters
    assert set(world.live_loop(NEW_BARS)["version"]) == {back.version}

    assert not world.store.experiments.running(), "the scope is free for the next"

    page.get_by_role("link", name="History").click()
    page.get_by_text("Audit trail", exact=True).click()
    trail = page.get_by_role("table", name="Audit trail")
    for why in (
        "confidence is low",
        "the evidence is clear",
        f"as version {applied.version}",
        "fills got worse",
    ):
        expect(trail).to_contain_text(why)
    assert world.store.verify().intact


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1440), ("dark", 390)], ids=["light-desktop", "dark-phone"]
)
def test_every_view_is_accessible_and_none_scrolls_sideways(
    page: Page, world: Any, scheme: Any, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)
    for view in VIEWS:
        page.goto(f"{world.url}{view}")
        settled(page)
        for unfold in page.locator("summary:visible").all():
            unfold.click()
        found = Axe().run(page)
        assert found.violations_count == 0, f"{view}: {found.generate_report()}"
        assert page.evaluate(SIDEWAYS) == [], view


def test_dialogs_fit_a_phone(page: Page, world: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    dialog = page.get_by_role("dialog")
    for view, button in (("scenarios", "Start Quick tune"), ("parameters", "Hold costCapBps")):
        page.goto(f"{world.url}/{view}")
        page.get_by_role("button", name=button).click()
        expect(dialog.get_by_label("Reason")).to_be_visible()
        assert page.evaluate(SIDEWAYS) == [], button
        assert dialog.evaluate("node => node.scrollWidth - node.clientWidth") <= 0
    dialog.get_by_label("Reason").fill("to see")
    dialog.get_by_role("button", name="Review").click()
    expect(dialog.get_by_role("timer")).to_be_visible()
    assert dialog.evaluate("node => node.scrollWidth - node.clientWidth") <= 0


def test_colours_are_changed_without_what_the_policy_forbids(page: Page, world: Any) -> None:
    """The page may say nothing of it; see the fixture."""
    page.goto(world.url)
    settled(page)
    page.get_by_role("button", name="Use dark colours").click()
    expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")
    page.get_by_role("button", name="Use light colours").click()
    expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "light")
