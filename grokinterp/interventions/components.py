"""What an intervention edits: heads, neurons, directions and skip connections. Hooks edit only the '=' position."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from grokinterp import arguments
from grokinterp import neurons as neurons_
from grokinterp.interventions import sampling as sampling
from grokinterp.interventions import sites
from grokinterp.interventions.cache_keys import call, of_numbers, of_tensors
from grokinterp.snapshots import Snapshot, as_snapshot


Part = Callable[[Snapshot, Tensor], Tensor]
"""From a snapshot and what `sites.read` gives of it, or another tensor of that shape, to a part of that tensor."""


def mean_over_pairs(_: Snapshot, x: Tensor) -> Tensor:
    """The mean over all pairs, at each pair: the background of activations [a, b, ...]."""
    return x.mean(dim=(0, 1)).expand_as(x)


@dataclass(frozen=True, kw_only=True, eq=False)
class Component:
    """A part of what a model computes: a head, neurons, a frequency somewhere.

    Attributes:
        name: Such as `frequency(1, 3, at='logits')`.
        site: The hook or the weight where it is edited.
        part: What of the activation it is; linear, and a projection.
        background: What of an activation the fill `mean` leaves: its mean over the pairs, unless a component knows
            better.
        reads: The hook whose activation it is a part of, where that is another than the site's: the stream that goes
            past a block is added to what the block writes, and is edited there.
        others: Draws at most so many different components of the same kind and size, none of which overlaps with it;
            none where there is no such thing.
        cacheable: Whether the name says all of it, so that results may be kept under it.

    Examples:
        >>> import torch
        >>> import grokinterp as gi
        >>> class_0 = Component(
        ...     name="class_0",
        ...     site="unembed.hook_out",
        ...     part=lambda snapshot, logits: logits * (torch.arange(7) == 0),
        ... )
        >>> edited = gi.interventions.ablate(class_0)(gi.testing.planted_snapshot(7, keys=(1, 3)))
        >>> edited.logits[:, :, 0].var() < 1e-9 < edited.logits[:, :, 1].var()
        tensor(True)
    """

    name: str
    site: str
    part: Part = field(repr=False)
    background: Part = field(default=mean_over_pairs, repr=False)
    reads: str | None = field(default=None, repr=False)
    others: "Draw" = field(default=lambda snapshot, draws, rng: [], repr=False)
    cacheable: bool = field(default=False, repr=False)

    def whole(self, snapshot: Snapshot, x: Tensor) -> Tensor:
        """What it is a part of, in a snapshot whose activation at the site is x."""
        return x if self.reads is None else sites.read(snapshot, self.reads)

    def beside(self, snapshot: Snapshot, x: Tensor) -> Tensor:
        """What is at the site without the component."""
        # What a block writes is all that is beside the stream that goes past it.
        return x - self.part(snapshot, x) if self.reads is None else x


Draw = Callable[[Snapshot, int, np.random.Generator], list[Component]]
"""From a snapshot, how many, and a source of chance to that many components, or fewer where there are no more."""


def draw_null(
    what: str,
    pool: Callable[[Snapshot], Sequence[int]],
    taken: Callable[[Snapshot], Iterable[int]],
    make: Callable[[tuple[int, ...]], Component],
) -> Draw:
    """The `others` of a component that is some numbers of a pool: as many that are not among them.

    Args:
        what: The plural of what the numbers are of, for an error.
        pool: All numbers there are.
        taken: Those of the component.
        make: A component of other numbers.

    Returns:
        What draws them; it raises a ValueError where fewer are left than were taken.
    """

    def draw(snapshot: Snapshot, draws: int, rng: np.random.Generator) -> list[Component]:
        own = set(taken(snapshot))
        left = [i for i in pool(snapshot) if i not in own]
        if len(left) < len(own):
            msg = f"a control needs {len(own)} other {what}, got {len(left)}; take fewer."
            raise ValueError(msg)
        return [make(numbers) for numbers in sampling.subsets(left, len(own), draws, rng)]

    return draw


def head(*heads: int, layer: int = -1) -> Component:
    """What some attention heads bring to '=' (`hook_z`).

    Args:
        *heads: Which, by number.
        layer: Of the model; -1 is the last.

    Returns:
        The component. Its null draws as many other heads of the layer.

    Raises:
        ValueError: If a number is invalid or there is none; when applied, if the model has no such head or layer.

    Examples:
        >>> import grokinterp as gi
        >>> planted = gi.testing.planted_snapshot(7, keys=(1, 3))  # head 0 reads a, head 1 reads b, 2 and 3 nothing
        >>> ds = gi.interventions.losses(gi.interventions.ablate(head(2, 3)))(planted)
        >>> bool(abs(ds - gi.progress.losses(planted)).max() < 1e-12)
        True
    """
    wanted, layer = arguments.integers(heads, "heads", minimum=0), arguments.integer(layer, "layer")
    return Component(
        name=call("head", *wanted, layer=layer),
        site=sites.in_layer(layer, "attn.hook_z"),
        part=lambda snapshot, x: _only(x, "heads", wanted, dim=2),
        others=draw_null(
            "heads",
            pool=lambda snapshot: range(snapshot.require_transformer().n_heads),
            taken=lambda snapshot: wanted,
            make=lambda others: head(*others, layer=layer),
        ),
        cacheable=True,
    )


def neurons(numbers: Iterable[int]) -> Component:
    """Some neurons of the last layer, after their activation function.

    Args:
        numbers: Which.

    Returns:
        The component. Its null draws as many other neurons.

    Raises:
        ValueError: If a number is invalid or there is none; when applied, if the model has no such neuron.

    Examples:
        >>> neurons([3, 0]).name
        'neurons([0, 3])'
    """
    wanted = arguments.integers(numbers, "numbers", minimum=0)
    return _neurons(call("neurons", of_numbers(wanted)), lambda snapshot: wanted)


def cluster(k: int, *, threshold: float = 0.85, of: object = None) -> Component:
    """The neurons of one frequency, as `neurons.clusters` finds them.

    Args:
        k: The frequency.
        threshold: A neuron belongs to the cluster of its best frequency if that explains this share of it.
        of: The model whose clusters are meant; default: each model's own, so that over training time the cluster
            grows, from no neurons at first, whose ablation changes nothing. For the same neurons at every epoch pass
            the last snapshot.

    Returns:
        The component. Its null draws as many neurons outside the cluster.

    Raises:
        ValueError: If k or the threshold is invalid; when applied, if k is no frequency of the task, or the task has no
            group.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 4.4: clusters of neurons.

    Examples:
        >>> import grokinterp as gi
        >>> planted = gi.testing.planted_snapshot(7, keys=(1, 3), act_fn="relu")
        >>> gi.fourier.key_frequencies(gi.interventions.ablate(cluster(3))(planted))
        (1,)
    """
    k = arguments.integer(k, "k", minimum=1)
    threshold = arguments.fraction(threshold, "threshold")

    def members(snapshot: Snapshot) -> Sequence[int]:
        snapshot.basis.check([k])
        return neurons_.clusters(snapshot, threshold=threshold).get(k, [])

    if of is None:
        return _neurons(call("cluster", k, threshold=threshold), members)
    fixed = members(as_snapshot(of))
    return _neurons(call("cluster", k, threshold=threshold, of=of_numbers(fixed)), lambda snapshot: fixed)


def directions(matrix: Float[Tensor, "rest neuron"] | Float[np.ndarray, "rest neuron"]) -> Component:
    """The subspace of the last layer's neurons that some directions span.

    Args:
        matrix: A direction per row; they need be neither orthogonal nor independent.

    Returns:
        The component. Its null draws random subspaces of equal dimension, orthogonal to this one.

    Raises:
        ValueError: If it is not a matrix of finite numbers; where it is used, if the model has another number of
            neurons.

    Examples:
        >>> directions(torch.eye(2, 32)).name
        'directions(b3fdc3e1a1da)'
    """
    rows = arguments.tensor(matrix, "matrix", ndim=2)
    return _subspace(call("directions", of_tensors(rows)), lambda snapshot: rows.double())


def readout(*keys: int) -> Component:
    """The neurons' directions that the logits of some frequencies are read from: u_k and v_k of W_L, for each key.

    W_L takes u_k to cos(w_k c) and v_k to sin(w_k c). Keeping these alone projects the MLP on them (for five keys on
    ten directions); ablating them projects it on what the key frequencies of the answer do not read.

    Args:
        *keys: Frequencies, or irreps.

    Returns:
        The component. Its null draws random subspaces of equal dimension, orthogonal to this one.

    Raises:
        ValueError: If a key is invalid or there is none; when applied, if one is no block of the task's basis.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 4.2: W_L is approximated by 10 directions, u_k and v_k.

    Examples:
        >>> import grokinterp as gi
        >>> gi.fourier.key_frequencies(gi.interventions.ablate(readout(3))(gi.testing.planted_snapshot(7, keys=(1, 3))))
        (1,)
    """
    wanted = arguments.keys(keys)

    def u_and_v(snapshot: Snapshot) -> Float64[Tensor, "rest neuron"]:
        return snapshot.basis.rows(wanted) @ snapshot.W_L.detach().double().T

    return _subspace(call("readout", *wanted), u_and_v)


def skip(block: Literal["mlp", "attention"], *, layer: int = -1) -> Component:
    """The residual stream at '=' that goes past the MLP, or past the attention.

    Without it, what comes after sees only what the block writes. Before the first attention the stream at '=' is the
    same for all pairs, so that its mean changes nothing.

    Args:
        block: `mlp` or `attention`.
        layer: Of the model; -1 is the last.

    Returns:
        The component. It has no null: there is no other stream to draw.

    Raises:
        ValueError: If the block or the layer is invalid; when applied, if the model has no such layer.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, appendix A.1: the skip connections around the MLP and around attention.

    Examples:
        >>> skip("mlp").site, skip("mlp").reads
        ('blocks.-1.hook_mlp_out', 'blocks.-1.hook_resid_mid')
    """
    # An edit of hook_resid_mid would, under TransformerLens 4, reach only the MLP; those of what is added to it work.
    past = {"mlp": ("hook_mlp_out", "hook_resid_mid"), "attention": ("hook_attn_out", "hook_resid_pre")}
    block, layer = arguments.one_of(block, past, "block"), arguments.integer(layer, "layer")
    site, reads = (sites.in_layer(layer, hook) for hook in past[block])
    name = f"skip({block!r}, layer={layer})"
    return Component(name=name, site=site, reads=reads, part=lambda snapshot, x: x, cacheable=True)


def _neurons(name: str, members: Callable[[Snapshot], Sequence[int]]) -> Component:
    return Component(
        name=name,
        site=sites.NEURONS,
        part=lambda snapshot, x: _only(x, "neurons", members(snapshot), dim=2),
        others=draw_null(
            "neurons",
            pool=lambda snapshot: range(snapshot.config.d_mlp),
            taken=members,
            make=lambda others: _neurons(call("neurons", of_numbers(others)), lambda snapshot: others),
        ),
        cacheable=True,
    )


def _only(x: Float[Tensor, "a b ..."], what: str, numbers: Sequence[int], *, dim: int) -> Float[Tensor, "a b ..."]:
    """X where it is of some numbers along one axis, and zero elsewhere."""
    arguments.integers(numbers, f"{what} of this model", minimum=0, maximum=x.shape[dim] - 1, may_be_empty=True)
    index = torch.tensor(numbers, dtype=torch.long)
    return torch.zeros_like(x).index_copy(dim, index, x.index_select(dim, index))


def _subspace(name: str, rows: Callable[[Snapshot], Float64[Tensor, "rest neuron"]]) -> Component:
    def orthonormal(snapshot: Snapshot) -> Float64[Tensor, "dimension neuron"]:
        found = rows(snapshot)
        if found.shape[1] != snapshot.config.d_mlp:
            msg = f"directions must be rows of {snapshot.config.d_mlp} neurons, got shape {tuple(found.shape)}."
            raise ValueError(msg)
        return _orthonormal(found)

    def part(snapshot: Snapshot, x: Tensor) -> Tensor:
        span = orthonormal(snapshot).to(x.dtype)
        return x @ span.T @ span

    def others(snapshot: Snapshot, draws: int, rng: np.random.Generator) -> list[Component]:
        span = orthonormal(snapshot)
        rank, n = span.shape
        if 2 * rank > n:
            msg = f"a control needs {rank} other directions of {n} neurons, got {n - rank}; take fewer."
            raise ValueError(msg)
        drawn = (torch.from_numpy(rng.normal(size=(rank, n))) for _ in range(draws))
        return [directions(random - random @ span.T @ span) for random in drawn]

    return Component(name=name, site=sites.NEURONS, part=part, others=others, cacheable=True)


def _orthonormal(rows: Float64[Tensor, "rest neuron"]) -> Float64[Tensor, "dimension neuron"]:
    """Orthonormal rows of the same span. Not by QR, which gives a row for every one, though it be zero or dependent."""
    _, sizes, directions = torch.linalg.svd(rows, full_matrices=False)
    return directions[sizes > 1e-9 * sizes.max()]
