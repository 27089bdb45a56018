"""The routes of the API, by subject."""

from __future__ import annotations

from console.api.routes import (
    changes,
    experiments,
    history,
    parameters,
    performance,
    scenarios,
    status,
    stream,
    training,
)

__all__ = ["ROUTERS"]

# The fixed paths under /scenarios come before those with a name in them.
ROUTERS = (
    status.router,
    training.router,
    scenarios.router,
    parameters.router,
    changes.router,
    performance.router,
    experiments.router,
    history.router,
    stream.router,
)
