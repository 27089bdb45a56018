"""Which assets are out of date: what was read, the code or the settings have changed since they were made."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import dagster as dg

from resources.feeds.feed import Feed
from resources.settings import Settings
from resources.warehouse import Warehouse

__all__ = ["out_of_date"]


def out_of_date(
    assets: Iterable[dg.AssetsDefinition],
    groups: Iterable[str],
    warehouse: Warehouse,
    settings: Settings,
    feed: Feed,
) -> list[dg.AssetKey]:
    """Keys of the assets in `groups` that must be made anew, upstream first.

    An asset is current if it was made by its present code from the present content of its inputs under the
    present settings, and none of its inputs is itself out of date. A raw table's input is the feed.
    """
    wanted = set(groups)
    stale: dict[dg.AssetKey, None] = {}
    chosen = {
        key: definition
        for definition in assets
        for key in definition.keys
        if definition.group_names_by_key[key] in wanted
    }
    stored = set(warehouse.tables())
    if not stored:
        return _upstream_first(chosen)
    version = cache(warehouse.version)  # one table is the input of many
    with warehouse.read():
        for key in _upstream_first(chosen):
            definition = chosen[key]
            parents = definition.asset_deps[key]
            name = ".".join(key.path)
            tables = [".".join(parent.path) for parent in parents]
            if any(parent in stale for parent in parents) or not stored.issuperset([name, *tables]):
                stale[key] = None
                continue
            resources = definition.required_resource_keys
            inputs = (
                {"feed": feed.fingerprint()}
                if "feed" in resources
                else {table: version(table) for table in tables}
            )
            digest = settings.fingerprint() if "settings" in resources else ""
            if not warehouse.is_current(name, definition.code_versions_by_key[key] or "", inputs, digest):
                stale[key] = None
    return list(stale)


def _upstream_first(chosen: dict[dg.AssetKey, dg.AssetsDefinition]) -> list[dg.AssetKey]:
    ordered: dict[dg.AssetKey, None] = {}

    def visit(key: dg.AssetKey) -> None:
        if key in ordered or key not in chosen:
            return
        for parent in sorted(chosen[key].asset_deps[key]):
            visit(parent)
        ordered[key] = None

    for key in sorted(chosen):
        visit(key)
    return list(ordered)
