"""The code location: everything that Dagster is told, assembled in one place."""

from __future__ import annotations

import dagster as dg

from engine_assets.graph import build_assets, build_checks
from engine_assets.partitions import monthly
from engine_jobs.jobs import build_jobs
from engine_jobs.schedules import build_schedules
from engine_jobs.sensors import build_sensors
from engine_jobs.tuning_sensors import build_tuning_schedule, build_tuning_sensors
from resources.feeds.feed import Feed
from resources.feeds.open_feed import open_feed
from resources.settings import Settings, load_settings
from resources.warehouse import Warehouse

__all__ = ["build_defs", "defs"]


def build_defs(settings: Settings | None = None, feed: Feed | None = None) -> dg.Definitions:
    """Assemble the definitions; tests and scripts hand in their own settings and feed."""
    settings = settings or load_settings()
    feed = feed or open_feed(settings)
    months = monthly(settings.first_day, settings.last_moment)
    return dg.Definitions(
        assets=build_assets(months),
        asset_checks=build_checks(),
        jobs=build_jobs(),
        schedules=[*build_schedules(months), build_tuning_schedule(settings)],
        sensors=[*build_sensors(settings, feed, months), *build_tuning_sensors(settings)],
        resources={
            "warehouse": Warehouse(address=settings.warehouse),
            "settings": settings,
            "feed": feed,
        },
        executor=dg.multi_or_in_process_executor,
    )


defs = build_defs()
