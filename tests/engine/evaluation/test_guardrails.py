from __future__ import annotations

import numpy as np
import pytest

from engine.evaluation.guardrails import Allowance, Guardrail, Guardrails
from engine.evaluation.metrics import performance
from engine.evaluation.paired_returns import PairedReturns

RNG = np.random.default_rng(0)
BASELINE = 0.001 + 0.01 * RNG.standard_normal(400)


def check(candidate, guardrails=None, trade_pnls=None):
    rails = (guardrails or Guardrails()).check(PairedReturns.of(BASELINE, {"c": candidate}), trade_pnls)
    return {rail.name: rail for rail in rails["c"]}


def test_figures_are_those_of_the_metrics():
    candidate = BASELINE * 1.1
    rails = check(candidate)
    for name in ("max_drawdown", "cvar_95"):
        assert rails[name].baseline == pytest.approx(performance(BASELINE)[name])
        assert rails[name].candidate == pytest.approx(performance(candidate)[name])


def test_worsening_is_allowed_up_to_the_larger_allowance():
    assert Allowance(0.25, 0.02).limit(0.40) == pytest.approx(0.50)
    assert Allowance(0.25, 0.02).limit(0.04) == pytest.approx(0.06)
    assert Allowance(0.25).limit(-0.02) == pytest.approx(-0.015)
    assert check(BASELINE * 1.2)["cvar_95"].passed
    assert not check(BASELINE * 1.3)["cvar_95"].passed


def test_one_crash_fails_drawdown():
    crashed = BASELINE.copy()
    crashed[200] = -0.5
    rails = check(crashed)
    assert not rails["max_drawdown"].passed


def test_worst_trade():
    pnls = {"baseline": np.array([5.0, -10.0]), "c": np.array([40.0, -12.0])}
    assert check(BASELINE, trade_pnls=pnls)["worst_trade"].passed
    pnls["c"] = np.array([400.0, -13.0])
    assert not check(BASELINE, trade_pnls=pnls)["worst_trade"].passed
    assert "worst_trade" not in check(BASELINE)


@pytest.mark.parametrize("missing", ["baseline", "c"])
def test_unknown_trades_do_not_pass(missing):
    pnls = {"baseline": np.array([5.0, -10.0]), "c": np.array([4.0, -2.0])}
    del pnls[missing]
    assert not check(BASELINE, trade_pnls=pnls)["worst_trade"].passed
    pnls[missing] = np.array([])
    assert not check(BASELINE, trade_pnls=pnls)["worst_trade"].passed


def test_figures_can_be_left_unguarded():
    assert check(BASELINE * 3, Guardrails(None, None, None)) == {}
    assert not Guardrail("x", 1.0, float("nan"), 2.0).passed


@pytest.mark.parametrize("bad", [(-0.1, 0.0), (0.1, -1.0), (float("nan"), 0.0)])
def test_negative_allowances_are_refused(bad):
    with pytest.raises(ValueError, match="negative"):
        Allowance(*bad)
