"""The asset graph, one module per group: reads, calls engine, returns."""

import warnings

from dagster import BetaWarning

# Whoever starts a run would read six times that a parameter may change in a later version; ours is pinned.
warnings.filterwarnings("ignore", "Parameter `backfill_policy`", BetaWarning)
