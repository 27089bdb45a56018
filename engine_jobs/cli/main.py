"""``engine``: the command line of the system."""

from __future__ import annotations

import click

from engine_jobs.cli.tune import tune

__all__ = ["main"]


@click.group()
def main() -> None:
    """Engine: data and training for systematic crypto trading."""


main.add_command(tune)
