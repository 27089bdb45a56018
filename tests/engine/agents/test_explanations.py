from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from engine.agents.explanations import ExplanationConfig, explain, top_features
from engine.agents.policy import Decision, Evaluation, Policy
from engine.agents.policy_outputs import chosen_log_probability, input_names
from engine.errors import NotEnoughDataError

FEW = ExplanationConfig(samples=50, most_background=25)


def rows(n, width=6, seed=0, dtype=torch.float64):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def small_network(width=6, outputs=3, seed=1):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(width, 16), nn.Tanh(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, outputs)
    )


def crossed(width=2):
    """A background with means and covariances of exactly zero."""
    signs = torch.tensor([[a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)], dtype=torch.float64)
    return torch.cat([signs, 2.0 * signs, 0.5 * signs])


def test_linear_functions_are_exact():
    weights = torch.linspace(-1, 2, 6, dtype=torch.float64)
    x, background = rows(40), rows(25, seed=5) + 0.3
    found = explain(lambda z: z @ weights + 3.0, x, background, config=FEW)
    np.testing.assert_allclose(found.values, (x - background.mean(0)) * weights, atol=1e-6)
    np.testing.assert_allclose(found.base, background.mean(0) @ weights + 3.0, atol=1e-9)
    np.testing.assert_allclose(found.completeness_error, 0.0, atol=1e-6)


def test_a_product_is_shared_in_halves():
    x = rows(40, 2)
    config = ExplanationConfig(samples=24, least_background=1)
    found = explain(lambda z: z[:, 0] * z[:, 1], x, crossed(), config=config)
    np.testing.assert_allclose(found.values, (x[:, :1] * x[:, 1:] / 2).expand(-1, 2), atol=1e-6)
    np.testing.assert_allclose(found.completeness_error, 0.0, atol=1e-6)


def test_gradient_at_the_decision_alone_misses_the_product():
    """Deliberately wrong: input times gradient, without a background and without a path."""
    x = rows(40, 2).requires_grad_()
    (gradient,) = torch.autograd.grad((x[:, 0] * x[:, 1]).sum(), x)
    wrong = (gradient * x).detach()
    halves = (x[:, :1] * x[:, 1:] / 2).expand(-1, 2).detach()
    assert (wrong - halves).abs().mean() > 0.1


def test_values_add_up_within_the_sampling_error():
    network, x, background = small_network().double(), rows(60), rows(100, seed=2)
    errors = {}
    for samples in (50, 200, 3200):
        found = explain(network, x, background, column=1, config=ExplanationConfig(samples=samples))
        spread = np.std(found.output - found.base)
        errors[samples] = np.sqrt(np.mean(found.completeness_error**2)) / spread
    assert errors[200] < 0.1
    assert errors[3200] < errors[50] / 4


def test_chosen_columns_are_those_of_single_explanations():
    network, x, background = small_network().double(), rows(30), rows(25, seed=2)
    chosen = torch.arange(30) % 3
    mixed = explain(network, x, background, column=chosen, config=FEW)
    for column in range(3):
        single = explain(network, x, background, column=column, config=FEW)
        np.testing.assert_allclose(mixed.values[column::3], single.values[column::3], atol=1e-12)
        np.testing.assert_allclose(mixed.base[column::3], single.base[column::3], atol=1e-12)
        np.testing.assert_allclose(
            mixed.output[column::3], network(x)[column::3, column].detach(), atol=1e-12
        )


def test_an_argmax_cannot_be_explained():
    network = small_network().double()
    with pytest.raises(RuntimeError, match="grad"):
        explain(lambda z: network(z).argmax(1), rows(5), rows(25), config=FEW)


def test_batches_of_one_give_the_same_up_to_sampling():
    """Exactly the same where the estimate is exact, and within its error elsewhere."""
    background = rows(25, seed=2)
    network, x = small_network().double(), rows(12)
    alone = ExplanationConfig(samples=2000, most_background=25, points_at_once=1)
    together = ExplanationConfig(samples=2000, most_background=25, points_at_once=1_000_000)
    one, many = (explain(network, x, background, column=0, config=c).values for c in (alone, together))
    np.testing.assert_allclose(one, many, atol=0.02 * np.abs(many).max())
    weights = torch.linspace(-1, 2, 6, dtype=torch.float64)
    one, many = (explain(lambda z: z @ weights, x, background, config=c).values for c in (alone, together))
    np.testing.assert_allclose(one, many, atol=1e-12)


def test_same_seed_same_values_bit_for_bit():
    network, x, background = small_network().double(), rows(12), rows(60, seed=2)
    first, again = (explain(network, x, background, column=0, config=FEW).values for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = ExplanationConfig(samples=50, most_background=25, seed=8)
    assert not np.array_equal(first, explain(network, x, background, column=0, config=other).values)


@pytest.mark.filterwarnings("ignore")
def test_agrees_with_the_gradient_explainer_within_the_sampling_error():
    shap = pytest.importorskip("shap")
    network = small_network().eval()
    x, background = rows(4, dtype=torch.float32), rows(50, seed=2, dtype=torch.float32)
    samples = 400
    theirs, variances = shap.GradientExplainer(network, background).shap_values(
        x, nsamples=samples, rseed=0, return_variances=True
    )
    # What it calls a variance of the mean is the samples' variance over the root of their number.
    error = np.sqrt(np.stack(variances, -1) / np.sqrt(samples))
    for column in range(3):
        ours = explain(
            network,
            x,
            background,
            column=column,
            config=ExplanationConfig(samples=samples, most_background=50),
        )
        z = (ours.values - theirs[..., column]) / np.maximum(error[..., column], 1e-9)
        assert np.sqrt(np.mean(z**2)) < 1.3
        assert np.abs(z).max() < 4.5
        their_error = ours.output - ours.base - theirs[..., column].sum(1)
        assert np.abs(ours.completeness_error).max() < np.abs(their_error).max()


def test_each_regime_has_its_own_background():
    background = torch.cat([rows(30, 3, seed=3) + 5.0, rows(40, 3, seed=4)])
    regime_of_background = np.repeat(np.array([2, 0], np.int8), [30, 40])
    x, regime = rows(9, 3), np.array([0, 2, -1] * 3, np.int8)
    weights = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    config = ExplanationConfig(samples=140, most_background=70)

    def explained(**regimes):
        return explain(lambda z: z @ weights, x, background, config=config, **regimes)

    found = explained(regime=regime, background_regime=regime_of_background)
    means = {0: background[30:].mean(0), 2: background[:30].mean(0), -1: background.mean(0)}
    for row, code in enumerate(regime):
        np.testing.assert_allclose(found.base[row], means[int(code)] @ weights, atol=1e-9)
    pooled = explained()
    assert np.abs(pooled.base[1] - found.base[1]) > 10.0
    np.testing.assert_allclose(pooled.base[2], found.base[2], atol=1e-9)


def test_a_regime_with_too_little_background_takes_all_of_it():
    background, x = rows(45, 3, seed=3), rows(4, 3)
    few = np.array([2] * 5 + [0] * 40, np.int8)
    found = explain(
        lambda z: z.sum(1), x, background, regime=np.full(4, 2, np.int8), background_regime=few,
        config=ExplanationConfig(samples=90),
    )  # fmt: skip
    np.testing.assert_allclose(found.base, float(background.mean(0).sum()), atol=1e-9)


def test_windows_are_summed_over_time():
    x, background = rows(7 * 5, 3).view(7, 5, 3), rows(20 * 5, 3, seed=3).view(20, 5, 3)
    weights = rows(5, 3, seed=4)
    found = explain(lambda z: (z * weights).sum((1, 2)), x, background, config=ExplanationConfig(samples=40))
    expected = ((x - background.mean(0)) * weights).sum(1)
    np.testing.assert_allclose(found.values, expected, atol=1e-9)


class TinyPolicy(Policy):
    """Preferences that are linear in everything, with a memory that is added."""

    memory_size = 1

    def __init__(self, features: int, levels: int) -> None:
        super().__init__(features, levels)
        self.market = nn.Linear(features + 3, 8).double()
        self.preference = nn.Linear(8 + 3, levels).double()

    def encode(self, bars, p_regime):
        return torch.tanh(self.market(torch.cat([bars, p_regime], 1)))

    def decide(self, embedding, own, memory, *, greedy=False, generator=None) -> Decision:
        raise NotImplementedError

    def evaluate(self, embedding, own, memory, action) -> Evaluation:
        log = (self.preference(torch.cat([embedding, own], 1)) + memory).log_softmax(1)
        chosen = log.gather(1, action[:, :1])[:, 0]
        return Evaluation(
            chosen, -(log.exp() * log).sum(1), self.values(embedding, own, memory), log.new_zeros(())
        )

    def values(self, embedding, own, memory):
        return embedding.sum(1) + own[:, 0] * memory[:, 0]

    def level_law(self, embedding, own):
        raise NotImplementedError

    def level_layers(self):
        raise NotImplementedError


def test_policies_are_explained_with_their_actions_and_memories():
    torch.manual_seed(0)
    policy = TinyPolicy(4, 5)
    x, background = rows(20, 10), rows(30, 10, seed=2)
    action, memory = torch.arange(20).view(20, 1) % 5, torch.arange(20).view(20, 1) % 3
    config = ExplanationConfig(samples=600)
    found = explain(chosen_log_probability(policy), x, background, context=(action, memory), config=config)
    embedding = policy.encode(x[:, :4], x[:, 4:7])
    known = policy.evaluate(embedding, x[:, 7:], memory, action).log_prob.detach()
    np.testing.assert_allclose(found.output, known, atol=1e-12)
    assert np.abs(found.completeness_error).max() < 0.05 * np.std(found.output - found.base)
    assert input_names(["a", "b", "c", "d"])[4:] == (
        "p_trend",
        "p_range",
        "p_panic",
        "position",
        "age",
        "unrealised",
    )


def test_parameters_keep_their_gradients_to_themselves():
    network = small_network().double()
    explain(network, rows(3), rows(25), column=0, config=FEW)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())


def test_top_features_by_size_with_their_sign():
    weights = torch.tensor([0.1, -3.0, 2.0, 0.0], dtype=torch.float64)
    x, background = torch.ones(2, 4, dtype=torch.float64), torch.zeros(25, 4, dtype=torch.float64)
    found = explain(lambda z: z @ weights, x, background, config=FEW)
    table = top_features(found, ["a", "b", "c", "d"], 2)
    assert table.rows()[:2] == [
        (0, 1, "b", pytest.approx(-3.0), pytest.approx(3 / 5.1)),
        (0, 2, "c", pytest.approx(2.0), pytest.approx(2 / 5.1)),
    ]
    assert table.height == 4
    assert top_features(found, ["a", "b", "c", "d"], 9).height == 8
    with pytest.raises(ValueError, match="3 names"):
        top_features(found, ["a", "b", "c"])


def test_what_cannot_be_explained_is_refused():
    network, x = small_network().double(), rows(4)
    with pytest.raises(NotEnoughDataError, match="background"):
        explain(network, x, rows(0), column=0)
    with pytest.raises(ValueError, match="same inputs"):
        explain(network, x, rows(5, 7), column=0)
    with pytest.raises(ValueError, match="need a column"):
        explain(network, x, rows(5))
    with pytest.raises(ValueError, match="together"):
        explain(network, x, rows(5), column=0, regime=np.zeros(4, np.int8))
    with pytest.raises(ValueError, match="regimes"):
        explain(
            network, x, rows(5), column=0, regime=np.zeros(4, np.int8), background_regime=np.zeros(4, np.int8)
        )
    with pytest.raises(ValueError, match="even"):
        ExplanationConfig(samples=51)
    with pytest.raises(ValueError, match="at least 1"):
        ExplanationConfig(points_at_once=0)


def test_no_decisions_give_no_rows():
    found = explain(small_network().double(), rows(0), rows(25), column=0, config=FEW)
    assert found.values.shape == (0, 6)
    assert top_features(found, list("abcdef")).height == 0
