"""The feed that the settings name, and the symbols it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resources.settings import Settings

if TYPE_CHECKING:
    from resources.feeds.feed import Feed

__all__ = ["open_feed", "universe"]


def universe(settings: Settings) -> tuple[str, ...]:
    """Symbols of the run: those asked for, else all that the files hold, else the profile's."""
    if settings.universe is not None:
        return settings.universe
    if settings.source == "files":
        from resources.feeds.files import spot_symbols

        return spot_symbols(settings.files.root, settings.bar_duration)
    return settings.work.symbols


def open_feed(settings: Settings) -> Feed:
    """Build the feed of ``settings.source``; nothing is read yet."""
    bar = settings.bar_duration
    if settings.source == "simulated":
        from resources.feeds.simulated import SimulatedFeed

        end = settings.last_moment
        assert end is not None  # noqa: S101  the simulated source always has an end
        symbols, start = universe(settings), settings.first_moment
        return SimulatedFeed(symbols, bar, settings.seed, start, end, settings.mode)
    if settings.source == "files":
        from resources.feeds.files import FilesFeed

        return FilesFeed(settings.files.root, universe(settings), bar, settings.files.zones)
    from resources.feeds.exchange import ExchangeFeed

    return ExchangeFeed(settings.exchange.venue, bar)
