import numpy as np
import pytest

from engine.evaluation.attempts import Trials
from engine.evaluation.overfitting import deflated_sharpe_of, expected_maximum_sharpe
from engine.evaluation.overfitting_report import overfitting_report

NOISE = np.random.default_rng(3).normal(0.0, 0.01, (400, 8))


def lines(**changes: object) -> dict[str, tuple[float | None, str]]:
    given = {"in_force": NOISE[:, 0], "returns": NOISE, "trials": Trials(24, 0.004)} | changes
    report = overfitting_report(**given)  # type: ignore[arg-type]
    assert report["position"].to_list() == list(range(report.height))
    return {measure: (value, reading) for _, measure, value, reading in report.iter_rows()}


def test_it_states_what_the_statistics_say() -> None:
    said = lines()
    assert said["candidates searched"][0] == 24
    luck = expected_maximum_sharpe(24, 0.004) * np.sqrt(365.0)
    assert said["Sharpe ratio that luck explains"][0] == pytest.approx(luck)
    assert said["deflated Sharpe ratio"][0] == deflated_sharpe_of(NOISE[:, 0], 24, 0.004)
    assert 0.0 <= said["PBO"][0] <= 1.0  # type: ignore[operator]


def test_a_choice_that_holds_is_told_from_one_that_does_not() -> None:
    good = NOISE.copy()
    good[:, 0] += 0.01
    assert lines(returns=good)["PBO"][0] == 0.0
    assert lines()["PBO"][0] > 0.2  # type: ignore[operator]


def test_ways_that_never_traded_are_no_alternatives() -> None:
    idle = np.column_stack([NOISE, np.zeros((400, 30))])
    assert lines(returns=idle)["PBO"] == lines()["PBO"]


def test_what_cannot_be_computed_says_why() -> None:
    assert set(lines(in_force=NOISE[:0, 0])) == {"candidates searched"}
    assert "deflated Sharpe ratio" not in lines(trials=Trials(24, float("nan")))
    assert "deflated Sharpe ratio" not in lines(in_force=np.zeros(400))
    value, reason = lines(returns=NOISE[:, :1])["PBO"]
    assert value is None
    assert reason
