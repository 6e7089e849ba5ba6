"""Progress measures: losses of the model and of parts of its logits, and the weights' norms.

Losses are in nats, float64, means over the pairs of a split, over the task's classes ('=' left out, unlike in
the training loss of a model that has it as a class).
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

import torch
import xarray as xr
from jaxtyping import Float64, Int
from torch import Tensor

from grokinterp import arguments, labels
from grokinterp.labels import SPLITS, Split
from grokinterp.logits import project_products, wave_logits
from grokinterp.losses import accuracy, cross_entropy_per_pair
from grokinterp.measures import Measure, measure
from grokinterp.snapshots import Snapshot, kept


Form = Literal["2D", "3D"]
_PARTS: Final[dict[Form, Callable[[Snapshot, Iterable[int]], Float64[Tensor, "s c"]]]] = {
    "2D": project_products,
    "3D": wave_logits,
}

# Beyond this spread of logits, in nats, a product of exponentials could underflow in float64 (at about 700).
_SAFE_SPREAD = 600.0


@measure("loss", version=1)
def losses(snapshot: Snapshot) -> xr.DataArray:
    """The cross-entropy of the logits by split; dims (split,), nats.

    A snapshot that does not know its training pairs has the split `all` alone.

    Examples:
        >>> import grokinterp as gi
        >>> losses(gi.testing.planted_snapshot(7, keys=(1, 3))).sizes["split"]
        3
    """
    per_pair = cross_entropy_per_pair(snapshot.logits, snapshot.task.table)
    return _by_split(snapshot, per_pair, name="loss", units="nats", long_name="loss")


@measure("accuracy", version=1)
def accuracies(snapshot: Snapshot) -> xr.DataArray:
    """The accuracy by split, 0 to 1; dims (split,).

    A snapshot that does not know its training pairs has the split `all` alone.
    """
    is_right = (snapshot.logits.argmax(dim=-1) == snapshot.task.table).double()
    return _by_split(snapshot, is_right, name="accuracy", units="", long_name="accuracy")


def restricted_loss(keys: Iterable[int], *, split: Split = "all", bias_correction: bool = True) -> Measure:
    """The loss when only the key frequencies of the product are left in the logits.

    The logits are projected on cos and sin(w_k(a+b)) of the keys. It falls while the circuit of the keys
    forms, long before the test loss does.

    Args:
        keys: Frequencies (or irreps) to keep. Fixed over a run: pass those of its last checkpoint, or the
            curve mixes two effects.
        split: Pairs over which the loss is taken; the paper: all.
        bias_correction: Whether to give each class its mean logit over all pairs back; the paper: yes.

    Returns:
        Measure giving `restricted_loss`, a number in nats.

    Raises:
        ValueError: If a key, the split or the flag is invalid; when applied, if a key is no block of the task's basis,
            or the task has no group.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, "restricted loss"; `trig_loss` in the code. Two directions per
        key are kept, as in the code; the paper's text counts the 20 products of cos and sin.

    Examples:
        >>> import grokinterp as gi
        >>> snap = gi.testing.planted_snapshot(7, keys=(1, 3))
        >>> whole = gi.progress.losses(snap).sel(split="all").item()
        >>> abs(restricted_loss((1, 3))(snap).item() - whole) < 1e-12
        True
    """
    recorded = _arguments(keys, split, bias_correction=bias_correction)

    def compute(snapshot: Snapshot) -> xr.DataArray:
        by_product = _restricted(snapshot, recorded["key_frequencies"], "2D", bias_correction=bias_correction)
        return _loss(_product_loss(snapshot, by_product, split), "restricted loss")

    return Measure(name="restricted_loss", compute=compute, version=1, arguments=recorded)


def restricted_accuracy(keys: Iterable[int], *, split: Split = "all", bias_correction: bool = True) -> Measure:
    """The share of right answers when only the key frequencies of the product are left in the logits.

    Args:
        keys: As in `restricted_loss`.
        split: Pairs over which it is taken.
        bias_correction: Whether to give each class its mean logit over all pairs back.

    Returns:
        Measure giving `restricted_accuracy`, 0 to 1.

    Raises:
        ValueError: As `restricted_loss`.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, figure 13; `trig_acc` in their notebook's code. Differs: theirs adds the
        mean logits of the last checkpoint at every epoch, ours those of the epoch.

    Examples:
        >>> import grokinterp as gi
        >>> restricted_accuracy((1, 3))(gi.testing.planted_snapshot(7, keys=(1, 3))).item()
        1.0
    """
    recorded = _arguments(keys, split, bias_correction=bias_correction)

    def compute(snapshot: Snapshot) -> xr.DataArray:
        answers = snapshot.task.table[snapshot.mask(split)]
        by_product = _restricted(snapshot, recorded["key_frequencies"], "2D", bias_correction=bias_correction)
        value = accuracy(by_product[answers], answers).item()
        return labels.array(value, name="accuracy", units="", long_name="restricted accuracy")

    return Measure(name="restricted_accuracy", compute=compute, version=1, arguments=recorded)


def excluded_loss(keys: Iterable[int] | None = None, *, split: Split = "train", form: Form = "2D") -> Measure:
    """The loss when the key frequencies of the product, or all of them, are taken out of the logits.

    Low while the model memorizes, and high once its answers rest on the keys. Equals log(p) when the logits
    hold nothing else. There is no bias correction, for there is nothing to correct: what is taken out has
    mean zero over all pairs.

    Args:
        keys: Frequencies (or irreps) to take out, fixed over a run: those of its last checkpoint. Default: every
            one, which takes out all that depends on the product alone.
        split: Pairs over which the loss is taken; the paper: train.
        form: What is taken out: `2D` the functions of a and b along cos and sin(w_k(a+b)), whatever the class; `3D`
            the waves cos w_k(a+b-c) over a, b and c alone.

    Returns:
        Measure giving `excluded_loss`, a number in nats.

    Raises:
        ValueError: If a key, the split or the form is invalid; when applied, if a key is no block of the task's basis,
            or the task has no group.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, "excluded loss", there of the key frequencies. The published curve,
        `excluded_loss_2D_full` in their notebook's code, is that of every frequency: on the run rebuilt from
        their seed it is 1.24 at epoch 200 and 0.32 at 1400, ours without keys 1.25 and 0.34, and with the five
        keys 0.07 and 0.00006. Their released package has one value per key: `excluded_loss_by_frequency`.

    Examples:
        >>> import grokinterp as gi
        >>> excluded_loss((1, 3))(gi.testing.planted_snapshot(7, keys=(1, 3))).item()
        1.945910149...
    """
    recorded = _excluded_arguments(keys, split, form)

    def compute(snapshot: Snapshot) -> xr.DataArray:
        left, answers = _without(snapshot, **recorded)
        return _loss(cross_entropy_per_pair(left, answers).mean().item(), "excluded loss")

    return Measure(name="excluded_loss", compute=compute, version=1, arguments=recorded)


def excluded_accuracy(keys: Iterable[int] | None = None, *, split: Split = "train", form: Form = "2D") -> Measure:
    """The share of right answers when the key frequencies, or all of them, are taken out of the logits.

    Args:
        keys: As in `excluded_loss`; default: every frequency.
        split: Pairs over which it is taken.
        form: As in `excluded_loss`.

    Returns:
        Measure giving `excluded_accuracy`, 0 to 1.

    Raises:
        ValueError: As `excluded_loss`.

    Source:
        Nanda et al. 2023, arXiv:2301.05217; `excluded_acc_2D_full` in their notebook's code, of every frequency.

    Examples:
        >>> import grokinterp as gi
        >>> 0.0 <= excluded_accuracy((1, 3))(gi.testing.planted_snapshot(7, keys=(1, 3))).item() < 0.5
        True
    """
    recorded = _excluded_arguments(keys, split, form)

    def compute(snapshot: Snapshot) -> xr.DataArray:
        value = accuracy(*_without(snapshot, **recorded)).item()
        return labels.array(value, name="accuracy", units="", long_name="excluded accuracy")

    return Measure(name="excluded_accuracy", compute=compute, version=1, arguments=recorded)


def excluded_loss_by_frequency(
    keys: Iterable[int] | None = None, *, split: Split = "train", form: Form = "2D"
) -> Measure:
    """The loss when one frequency of the product is taken out of the logits, for each.

    Args:
        keys: The frequencies to take out one at a time; default: every one there is.
        split: Pairs over which the loss is taken; the paper: train.
        form: As in `excluded_loss`.

    Returns:
        Measure giving `excluded_loss_by_frequency`, dims (frequency,), nats.

    Raises:
        ValueError: If a key, the split or the form is invalid; when applied, if a key is no block of the task's basis,
            or the task has no group.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, figure 15; `excluded_loss_2D` and `excluded_loss_3D` in their notebook's
        code.
    """
    recorded = _excluded_arguments(keys, split, form)

    def compute(snapshot: Snapshot) -> xr.DataArray:
        blocks = recorded["key_frequencies"] or list(snapshot.basis.blocks)
        removed = torch.stack([_PARTS[form](snapshot, [k]) for k in blocks])
        return labels.array(
            _losses_without(snapshot, removed)[:, snapshot.mask(split)].mean(dim=1),
            ("frequency",),
            name="loss",
            units="nats",
            long_name="excluded loss of one frequency",
            coords={"frequency": blocks},
        )

    return Measure(name="excluded_loss_by_frequency", compute=compute, version=1, arguments=recorded)


def trig_loss(keys: Iterable[int], *, split: Split = "all", bias_correction: bool = True) -> Measure:
    """The loss when the logits are replaced by their fit with cos w_k(a+b-c) of the keys.

    Stricter than `restricted_loss`, which leaves free how the logits depend on the class c.

    Args:
        keys: Frequencies (or irreps) of the fit.
        split: Pairs over which the loss is taken.
        bias_correction: Whether to give each class its mean logit over all pairs back.

    Returns:
        Measure giving `trig_loss`, a number in nats.

    Raises:
        ValueError: If a key, the split or the flag is invalid; when applied, if a key is no block of the task's basis,
            or the task has no group.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 4.2: 2.4e-7 becomes 4.7e-8. What their code calls
        `trig_loss` is our `restricted_loss`.
    """
    recorded = _arguments(keys, split, bias_correction=bias_correction)

    def compute(snapshot: Snapshot) -> xr.DataArray:
        by_product = _restricted(snapshot, recorded["key_frequencies"], "3D", bias_correction=bias_correction)
        return _loss(_product_loss(snapshot, by_product, split), "loss of the fit by cos(w_k(a+b-c))")

    return Measure(name="trig_loss", compute=compute, version=1, arguments=recorded)


@measure("weight_norm", version=1)
def weight_norm(snapshot: Snapshot) -> xr.DataArray:
    """The sum of the squared weights of each parameter, biases included; dims (parameter,).

    Source:
        Nanda et al. 2023, arXiv:2301.05217, figure 7: "total sum of squared weights" is the sum of these.
    """
    return labels.array(
        [parameter.double().square().sum().item() for parameter in snapshot.params.values()],
        ("parameter",),
        name="weight_norm",
        units="weight^2",
        long_name="sum of squared weights",
        coords={"parameter": [name.removeprefix("blocks.0.") for name in snapshot.params]},
    )


def _arguments(keys: Iterable[int], split: Split, *, bias_correction: bool) -> dict[str, Any]:
    return {
        "key_frequencies": list(arguments.keys(keys)),
        "split": arguments.one_of(split, SPLITS, "split"),
        "bias_correction": int(arguments.flag(bias_correction, "bias_correction")),
    }


def _by_split(snapshot: Snapshot, per_pair: Float64[Tensor, "a b"], **about: str) -> xr.DataArray:
    """The mean of a number per pair over each split that the snapshot knows; dims (split,)."""
    means = [per_pair[snapshot.mask(split)].mean().item() for split in snapshot.splits]
    return labels.array(means, ("split",), coords={"split": snapshot.splits}, **about)


def _excluded_arguments(keys: Iterable[int] | None, split: Split, form: Form) -> dict[str, Any]:
    return {
        "key_frequencies": None if keys is None else list(arguments.keys(keys)),
        "split": arguments.one_of(split, SPLITS, "split"),
        "form": arguments.one_of(form, _PARTS, "form"),
    }


def _restricted(snapshot: Snapshot, keys: list[int], form: Form, *, bias_correction: bool) -> Float64[Tensor, "s c"]:
    """The part of the logits that lies in some frequencies, by product and class.

    With the bias correction each class has the mean over all pairs that it has in the model's own logits.
    """
    part = _PARTS[form](snapshot, keys)
    if not bias_correction:
        return part
    table = snapshot.task.table
    pairs = table.flatten().bincount(minlength=len(part)).double()
    return part + snapshot.logits.mean(dim=(0, 1)) - pairs @ part / table.numel()


def _without(
    snapshot: Snapshot, *, key_frequencies: list[int] | None, split: Split, form: Form
) -> tuple[Float64[Tensor, "batch c"], Int[Tensor, " batch"]]:
    """The logits of a split without some frequencies, or without any, and its answers."""
    blocks = key_frequencies or list(snapshot.basis.blocks)
    mask, table = snapshot.mask(split), snapshot.task.table
    return snapshot.logits[mask] - _PARTS[form](snapshot, blocks)[table[mask]], table[mask]


def _loss(value: float, long_name: str) -> xr.DataArray:
    return labels.array(value, name="loss", units="nats", long_name=long_name)


def _product_loss(snapshot: Snapshot, by_product: Float64[Tensor, "s c"], split: Split) -> float:
    """The loss of logits that depend on the product alone: one cross-entropy per product, weighted by its pairs."""
    n = len(by_product)
    per_product = cross_entropy_per_pair(by_product, torch.arange(n))
    pairs = snapshot.task.table[snapshot.mask(split)].bincount(minlength=n).double()
    return (per_product @ pairs / pairs.sum()).item()


def _losses_without(snapshot: Snapshot, removed: Float64[Tensor, "frequency s c"]) -> Float64[Tensor, "frequency a b"]:
    """The cross-entropy at each pair of logits[a, b] - removed[k, a∘b], for all k at once.

    Pairs of one product share what is removed, and exp(logits - removed) is a product of exponentials. So the
    sum over classes is one matrix product per product s: [pairs, c] @ [c, frequency].
    """
    table = snapshot.task.table
    if _spread(snapshot.logits) + _spread(removed) > _SAFE_SPREAD:
        rows = (cross_entropy_per_pair(snapshot.logits - part[table], table) for part in removed)
        return torch.stack(list(rows))
    exponentials, shift, order, place = _exponentials_by_product(snapshot)
    factor_shift = -removed.amin(dim=2)
    factors = torch.exp(-removed - factor_shift[:, :, None])
    sums = torch.einsum("sic,ksc->ksi", exponentials, factors)
    log_sums = sums.clamp(min=torch.finfo(torch.float64).tiny).log() + factor_shift[:, :, None]
    products = table.flatten()[order]
    right = snapshot.logits.flatten(0, 1)[order, products][None] - removed[:, products, products]
    per_pair = torch.empty(len(removed), len(order), dtype=torch.float64)
    per_pair[:, order] = log_sums[:, products, place] + shift[order][None] - right
    return per_pair.reshape(len(removed), *table.shape)


@kept
def _exponentials_by_product(snapshot: Snapshot) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """exp(logits - their maximum), [product, place, c], zero where a product has fewer pairs than another.

    With the maximum of each pair, the pairs ordered by product, and the place of each of these.
    """
    logits, products = snapshot.logits.flatten(0, 1), snapshot.task.table.flatten()
    shift = logits.amax(dim=1)
    order = products.argsort(stable=True)
    counts = products.bincount(minlength=snapshot.task.n_outputs)
    starts = counts.cumsum(0) - counts
    place = torch.arange(len(order)) - starts[products[order]]
    exponentials = torch.zeros(len(counts), int(counts.max()), logits.shape[1], dtype=torch.float64)
    exponentials[products[order], place] = torch.exp(logits - shift[:, None])[order]
    return exponentials, shift, order, place


def _spread(x: Tensor) -> float:
    return (x.amax(dim=-1) - x.amin(dim=-1)).max().item()
