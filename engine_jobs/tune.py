"""Train the parameters of the live algorithm: ``python -m engine_jobs.tune start quick_tune``."""

from __future__ import annotations

from engine_jobs.cli.tune import tune

if __name__ == "__main__":
    tune(prog_name="python -m engine_jobs.tune")
