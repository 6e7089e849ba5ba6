"""Attention over pairs: planted heads, waves of known frequency, and the softmax made linear."""

import math
import statistics

import numpy as np
import pytest
import torch
from torch import Tensor

import grokinterp as gi
from grokinterp.attention import linear_pattern


def wave(p: int, k: int, phase: float, amplitude: float) -> Tensor:
    x = (2 * math.pi * k * torch.arange(p, dtype=torch.float64) / p + phase).cos()
    return 0.5 + amplitude * (x[:, None] - x[None, :])


def attending(to_a: list[Tensor]) -> gi.Snapshot:
    """A snapshot whose heads attend to a, and with the rest to b, as is given."""
    p = len(to_a[0])
    snapshot = gi.testing.planted_snapshot(p, (1,))
    heads = torch.stack(to_a, dim=-1)
    snapshot.__dict__["attention"] = torch.stack([heads, 1 - heads, torch.zeros_like(heads)], dim=-1)
    return snapshot


def random_snapshot(*, operation: str = "addition", p: int = 11, **settings: object) -> gi.Snapshot:
    config = gi.TransformerConfig(d_model=16, n_heads=2, d_head=8, d_mlp=32, **settings)
    task = gi.TaskConfig(operation=operation, p=p).build()
    params = {name: 4 * x.double() for name, x in config.initial_params(task, seed=3).items()}
    return gi.Snapshot(params=params, config=config, task=task)


def test_planted_heads_attend_to_one_input_each() -> None:
    pattern = gi.attention.pattern(gi.testing.planted_snapshot(7, (1, 3)))
    assert pattern.dims == ("head", "a", "b")
    assert pattern.sel(head=0).min().item() == pytest.approx(1.0)
    assert pattern.sel(head=1).max().item() == pytest.approx(0.0, abs=1e-12)
    assert pattern.sel(head=2).values.flatten().tolist() == pytest.approx([1 / 3] * 49)


def test_attention_to_equals_is_what_the_inputs_leave() -> None:
    to_equals = gi.attention.to_equals(gi.testing.planted_snapshot(7, (1, 3)))
    assert to_equals.values.tolist() == pytest.approx([0, 0, 1 / 3, 1 / 3], abs=1e-12)


@pytest.mark.parametrize(("sequence", "place"), [("a b =", 2), ("a op b =", 3)])
@pytest.mark.parametrize("n_layers", [1, 2])
def test_attention_to_a_token_is_read_at_its_position(sequence: str, place: int, n_layers: int) -> None:
    snapshot = random_snapshot(sequence=sequence, n_layers=n_layers)
    pattern = snapshot.config.activations(snapshot.params, *gi.tasks.all_pairs(snapshot.task))[
        f"blocks.{n_layers - 1}.attn.hook_pattern"
    ]
    expected = pattern[:, :, -1, place].mean(dim=0)
    assert gi.attention.to_equals(snapshot).values == pytest.approx(expected.numpy(), abs=1e-12)
    assert gi.attention.mean(snapshot).sel(layer=n_layers - 1, key="=").values == pytest.approx(expected.numpy())
    to_a = pattern[:, :, -1, 0].unflatten(0, (11, 11)).permute(2, 0, 1)
    assert gi.attention.pattern(snapshot).values == pytest.approx(to_a.numpy())


def test_without_equals_there_is_no_attention_to_it() -> None:
    with pytest.raises(ValueError, match=r"^attention to '=' requires a model that reads '=', got sequence 'a b'\.$"):
        gi.attention.to_equals(random_snapshot(sequence="a b"))
    assert gi.attention.pattern(random_snapshot(sequence="a b")).attrs["long_name"] == "attention from b to a"


@pytest.mark.parametrize("n_positions", [2, 4])
def test_the_linear_pattern_is_of_three_positions(n_positions: int) -> None:
    with pytest.raises(ValueError, match=rf"three positions 'a b =', got {n_positions} positions\.$"):
        linear_pattern(torch.full((1, n_positions), 1 / n_positions))


@pytest.mark.parametrize("p", [11, 12])
def test_a_wave_of_each_input_is_found_with_its_phase_and_amplitude(p: int) -> None:
    """The highest frequency is among them: 5 for p = 11, and 6, which has no sin, for p = 12."""
    known = [(1, 0.3, 0.2), (3, -2.0, 0.05), (p // 2, 0.0, 0.15)]
    snapshot = attending([wave(p, *of_head) for of_head in known])
    found = gi.attention.fit(snapshot)
    assert found.frequency.tolist() == [k for k, _, _ in known]
    assert found.phase.tolist() == pytest.approx([phase for _, phase, _ in known], abs=1e-9)
    assert found.amplitude.tolist() == pytest.approx([amplitude for _, _, amplitude in known])
    assert found.fve.tolist() == pytest.approx([1.0] * 3)
    assert gi.attention.fitted(snapshot).values == pytest.approx(gi.attention.pattern(snapshot).values)


def test_the_fit_is_that_of_least_squares() -> None:
    """Against `lstsq` over every frequency, on attention with two waves, a product of both inputs and a mean."""
    x = wave(11, 2, 0.3, 0.1) + 0.4 * (wave(11, 5, 1.0, 0.1) - 0.5)
    x = x + 0.05 * torch.randn(11, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.01
    best = (-1.0, 0)
    for k in range(1, 6):
        angles = 2 * math.pi * k * torch.arange(11, dtype=torch.float64) / 11
        columns = [(f(angles)[:, None] - f(angles)[None, :]).flatten() for f in (torch.cos, torch.sin)]
        design = torch.stack(columns, dim=1)
        solution = torch.linalg.lstsq(design, (x - 0.5).flatten()[:, None]).solution
        residual = ((x - 0.5).flatten() - (design @ solution)[:, 0]).square().sum()
        best = max(best, (1 - (residual / (x - x.mean()).square().sum()).item(), k))
    found = gi.attention.fit(attending([x]))
    assert (found.fve.item(), found.frequency.item()) == (pytest.approx(best[0]), best[1])
    assert gi.attention.fve(attending([x])).item() == found.fve.item()
    assert gi.attention.frequency(attending([x])).item() == 2


def test_attention_that_both_inputs_share_is_no_wave_of_their_difference() -> None:
    sum_of_waves = wave(11, 2, 0.3, 0.1) + 2 * (wave(11, 2, 0.3, 0.1).diagonal()[:, None] - 0.5)
    x = (2 * math.pi * 2 * torch.arange(11, dtype=torch.float64) / 11).cos()
    symmetric = 0.5 + 0.1 * (x[:, None] + x[None, :])
    assert gi.attention.fit(attending([sum_of_waves])).fve.item() == pytest.approx(1.0)
    assert gi.attention.fit(attending([symmetric])).fve.item() == pytest.approx(0.0, abs=1e-9)


def test_a_task_without_waves_of_its_inputs_is_refused() -> None:
    with pytest.raises(ValueError, match="requires a cyclic group that contains all tokens"):
        gi.attention.fit(random_snapshot(operation="multiplication"))


@pytest.mark.parametrize("biases", ["none", "all"])
def test_scores_of_tokens_are_those_that_make_the_pattern(biases: str, random_params) -> None:
    """log attention to a less that to b is the difference of their scores, up to what their positions add."""
    config = gi.TransformerConfig(d_model=16, n_heads=2, d_head=8, d_mlp=32, biases=biases)
    task = gi.TaskConfig(p=11).build()
    params = random_params(config, task, dtype=torch.float64)
    snapshot = gi.Snapshot(params=params, config=config, task=task)
    scores = torch.from_numpy(gi.attention.score_components(snapshot).values) @ snapshot.basis.matrix
    log = snapshot.attention.log()
    difference = (log[..., 0] - log[..., 1]).permute(2, 0, 1)
    of_positions = difference[:, :1, :1]
    expected = (scores[:, :, None] - scores[:, None, :]) - (scores[:, :1, None] - scores[:, None, :1])
    torch.testing.assert_close(difference - of_positions, expected)


def test_the_spectrum_of_scores_is_their_share_in_each_frequency() -> None:
    snapshot = random_snapshot()
    components = gi.attention.score_components(snapshot)
    squared = components.sel(component=["cos 4", "sin 4"]).values ** 2
    everything = (components.drop_sel(component="const").values ** 2).sum(axis=1)
    shares = gi.attention.score_spectrum(snapshot)
    assert shares.sel(frequency=4).values == pytest.approx(squared.sum(axis=1) / everything)
    assert shares.sum("frequency").values == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("settings", [{"n_layers": 2}, {"normalization": "LN"}])
def test_scores_that_depend_on_more_than_the_token_are_refused(settings: dict) -> None:
    with pytest.raises(ValueError, match="token scores require a 1-layer model without LayerNorm"):
        gi.attention.score_components(random_snapshot(**settings))


def test_the_linear_pattern_has_the_tangent_of_the_sigmoid() -> None:
    scores = torch.tensor([[0.3, -0.1, -2.0], [2.5, -1.5, 0.0], [0.0, 0.0, 9.0]], dtype=torch.float64)
    pattern = scores.softmax(dim=-1)
    linear = linear_pattern(pattern)
    to_equals = pattern[:, 2]
    assert linear[:, 2].tolist() == to_equals.tolist()
    expected = (1 - to_equals) / 2 + (scores[:, 0] - scores[:, 1]) / 4
    torch.testing.assert_close(linear[:, 0], expected)
    assert linear.sum(dim=-1).tolist() == pytest.approx([1.0] * 3)
    assert linear[1, 0] > 1


def test_the_linear_pattern_of_attention_to_one_token_alone_is_finite() -> None:
    assert linear_pattern(torch.tensor([1.0, 0.0, 0.0])).isfinite().all()


def test_the_mean_pattern_of_planted_heads_is_known() -> None:
    """Head 0 looks at a, head 1 at b, and the others at all three alike, for every pair."""
    snapshot = gi.testing.planted_snapshot(7, (1, 3))
    mean, std = gi.attention.mean(snapshot), gi.attention.std(snapshot)
    assert mean.dims == std.dims == ("layer", "head", "key")
    assert mean.key.values.tolist() == ["a", "b", "="]
    third = [1 / 3] * 3
    assert mean.values[0] == pytest.approx(np.array([[1, 0, 0], [0, 1, 0], third, third]), abs=1e-9)
    assert std.values == pytest.approx(0.0, abs=1e-9)


def test_heads_that_look_at_one_input_or_the_other_differ_in_their_std_only() -> None:
    either, both = torch.full((4, 4), 0.5).double(), torch.full((4, 4), 0.5).double()
    either[::2], either[1::2] = 1.0, 0.0
    snapshot = attending([either, both])
    assert gi.attention.mean(snapshot).sel(key="a").values.tolist() == [[0.5, 0.5]]
    assert gi.attention.std(snapshot).sel(key="a").values.tolist() == [[0.5, 0.0]]


def test_mean_and_std_agree_with_a_loop_over_layers_heads_and_positions() -> None:
    snapshot = random_snapshot(n_layers=2)
    mean, std = gi.attention.mean(snapshot), gi.attention.std(snapshot)
    cache = snapshot.config.activations(snapshot.params, *gi.tasks.all_pairs(snapshot.task))
    for layer in range(2):
        last = cache[f"blocks.{layer}.attn.hook_pattern"][:, :, -1]
        for head in range(2):
            for place, key in enumerate(("a", "b", "=")):
                values = last[:, head, place].tolist()
                at = {"layer": layer, "head": head, "key": key}
                assert mean.sel(at).item() == pytest.approx(statistics.fmean(values))
                assert std.sel(at).item() == pytest.approx(statistics.pstdev(values))
