"""Components that an intervention can edit: heads, neurons, directions and skip connections, at the '=' position."""

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Component:
    """A component of a model: a head, neurons, a frequency at a site.

    Attributes:
        name: Name, e.g. `frequency(1, 3, at='logits')`.
        site: The hook or weight where the component is edited.
        project: Projection of the activation at the site, as `sites.read` returns it, onto the component; linear.
        sample_null: Samples up to a given number of distinct components of the same kind and size, none of which
            overlaps with this one; default: no components.
        cacheable: True if the name determines the component, so that results can be cached under it.

    Examples:
        >>> import torch
        >>> import grokinterp as gi
        >>> class_0 = Component(
        ...     name="class_0",
        ...     site="unembed.hook_out",
        ...     project=lambda snapshot, logits: logits * (torch.arange(7) == 0),
        ... )
        >>> edited = gi.interventions.ablate(class_0)(gi.testing.planted_snapshot(7, keys=(1, 3)))
        >>> edited.logits[:, :, 0].var() < 1e-9 < edited.logits[:, :, 1].var()
        tensor(True)
    """

    name: str
    site: str
    project: Callable[[Snapshot, Tensor], Tensor] = field(repr=False)
    sample_null: Callable[[Snapshot, int, np.random.Generator], list["Component"]] = field(
        default=lambda snapshot, draws, rng: [], repr=False
    )
    cacheable: bool = field(default=False, repr=False)

    def source_activation(self, snapshot: Snapshot, x: Tensor) -> Tensor:
        """The activation that the component is part of, given the activation x at the site."""
        return x

    def complement(self, snapshot: Snapshot, x: Tensor) -> Tensor:
        """The activation x at the site without the component."""
        return x - self.project(snapshot, x)


@dataclass(frozen=True, kw_only=True, eq=False)
class SkipConnection(Component):
    """The residual stream around a block, which is edited by adding to the block's output."""

    source: str
    project: Callable[[Snapshot, Tensor], Tensor] = field(default=lambda snapshot, x: x, repr=False)

    def source_activation(self, snapshot: Snapshot, x: Tensor) -> Tensor:
        """The residual stream before the block."""
        return sites.read(snapshot, self.source)

    def complement(self, snapshot: Snapshot, x: Tensor) -> Tensor:
        """The block's output."""
        return x


def head(*heads: int, layer: int = -1) -> Component:
    """The outputs of attention heads at '=' before W_O (`hook_z`).

    Args:
        *heads: Head indices.
        layer: Layer index; -1 is the last layer.

    Returns:
        The component. Its null samples the same number of other heads of the layer.

    Raises:
        ValueError: If there is no head, or an index is invalid; when applied, if the model has no such head or layer.

    Examples:
        >>> import grokinterp as gi
        >>> planted = gi.testing.planted_snapshot(7, keys=(1, 3))  # head 0 reads a, head 1 reads b, 2 and 3 nothing
        >>> ds = gi.interventions.losses(gi.interventions.ablate(head(2, 3)))(planted)
        >>> bool(abs(ds - gi.progress.losses(planted)).max() < 1e-12)
        True
    """
    wanted, layer = arguments.integers(heads, "heads", minimum=0), arguments.integer(layer, "layer")

    def sample_null(snapshot: Snapshot, draws: int, rng: np.random.Generator) -> list[Component]:
        pool = range(snapshot.require_transformer().n_heads)
        return [head(*others, layer=layer) for others in sampling.disjoint(pool, wanted, draws, rng, "heads")]

    return Component(
        name=call("head", *wanted, layer=layer),
        site=sites.in_layer(layer, "attn.hook_z"),
        project=lambda snapshot, x: _select(x, "heads", wanted),
        sample_null=sample_null,
        cacheable=True,
    )


def neurons(numbers: Iterable[int]) -> Component:
    """Neurons of the last layer, after the activation function.

    Args:
        numbers: Neuron indices.

    Returns:
        The component. Its null samples the same number of other neurons.

    Raises:
        ValueError: If there is no neuron, or an index is invalid; when applied, if the model has no such neuron.

    Examples:
        >>> neurons([3, 0]).name
        'neurons([0, 3])'
    """
    return _fixed_neurons(arguments.integers(numbers, "numbers", minimum=0))


def cluster(k: int, *, threshold: float = 0.85, of: object = None) -> Component:
    """The neurons of one frequency, as in `neurons.clusters`.

    Args:
        k: The frequency.
        threshold: Minimum FVE: a neuron belongs to the cluster of its best frequency if that explains at least this
            fraction of its variance.
        of: Model that determines the cluster; default: the model that is edited, so the cluster starts empty and grows
            during training, and ablating an empty cluster changes nothing. For the same neurons at every epoch, pass
            the last snapshot.

    Returns:
        The component. Its null samples the same number of neurons outside the cluster.

    Raises:
        ValueError: If k or the threshold is invalid; when applied, if k is not a frequency of the task, or the task has
            no group.

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
    """The subspace of the last layer's neurons spanned by the given directions.

    Args:
        matrix: One direction per row; need not be orthogonal or linearly independent.

    Returns:
        The component. Its null samples random subspaces of the same dimension, orthogonal to this one.

    Raises:
        ValueError: If it is not a matrix of finite numbers; when applied to a model with a different number of neurons.

    Examples:
        >>> directions(torch.eye(2, 32)).name
        'directions(b3fdc3e1a1da)'
    """
    rows = arguments.tensor(matrix, "matrix", ndim=2)
    return _subspace(call("directions", of_tensors(rows)), lambda snapshot: rows.double())


def readout(*keys: int) -> Component:
    """The W_L readout directions of frequencies: u_k and v_k, which W_L maps to cos(w_k c) and sin(w_k c).

    Keeping only these projects the MLP onto them: ten directions for five keys. Ablating them removes all that the
    logits of these frequencies read.

    Args:
        *keys: Frequencies, or irreps.

    Returns:
        The component. Its null samples random subspaces of the same dimension, orthogonal to this one.

    Raises:
        ValueError: If there is no key, or a key is invalid; when applied, if a key is not a block of the task's basis.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 4.2: W_L is approximated by 10 directions, u_k and v_k.

    Examples:
        >>> import grokinterp as gi
        >>> gi.fourier.key_frequencies(gi.interventions.ablate(readout(3))(gi.testing.planted_snapshot(7, keys=(1, 3))))
        (1,)
    """
    wanted = arguments.keys(keys)
    return _subspace(
        call("readout", *wanted), lambda snapshot: snapshot.basis.rows(wanted) @ snapshot.W_L.detach().double().T
    )


def skip(block: Literal["mlp", "attention"], *, layer: int = -1) -> Component:
    """The skip connection around the MLP or the attention block, at '='.

    Without it, later computation sees only the block's output. Before the first attention block, the residual stream at
    '=' is the same for all pairs, so mean ablation has no effect.

    Args:
        block: `mlp` or `attention`.
        layer: Layer index; -1 is the last layer.

    Returns:
        The component. It has no null: a block has only one skip connection.

    Raises:
        ValueError: If the block or layer is invalid; when applied, if the model has no such layer.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, appendix A.1: the skip connections around the MLP and around attention.

    Examples:
        >>> skip("mlp").site
        'blocks.-1.hook_mlp_out'
    """
    # In TransformerLens 4, editing hook_resid_mid affects only the MLP. Editing the block's output works in all
    # versions.
    hooks = {"mlp": ("hook_mlp_out", "hook_resid_mid"), "attention": ("hook_attn_out", "hook_resid_pre")}
    block, layer = arguments.one_of(block, hooks, "block"), arguments.integer(layer, "layer")
    site, source = (sites.in_layer(layer, hook) for hook in hooks[block])
    return SkipConnection(name=f"skip({block!r}, layer={layer})", site=site, source=source, cacheable=True)


def _fixed_neurons(numbers: Sequence[int]) -> Component:
    return _neurons(call("neurons", of_numbers(numbers)), lambda snapshot: numbers)


def _neurons(name: str, members: Callable[[Snapshot], Sequence[int]]) -> Component:
    def sample_null(snapshot: Snapshot, draws: int, rng: np.random.Generator) -> list[Component]:
        drawn = sampling.disjoint(range(snapshot.config.d_mlp), members(snapshot), draws, rng, "neurons")
        return [_fixed_neurons(others) for others in drawn]

    return Component(
        name=name,
        site=sites.NEURONS,
        project=lambda snapshot, x: _select(x, "neurons", members(snapshot)),
        sample_null=sample_null,
        cacheable=True,
    )


def _select(x: Float[Tensor, "a b ..."], what: str, numbers: Sequence[int]) -> Float[Tensor, "a b ..."]:
    """Set x to zero except at the given indices of its third axis."""
    arguments.integers(numbers, f"{what} of this model", minimum=0, maximum=x.shape[2] - 1, may_be_empty=True)
    index = torch.tensor(numbers, dtype=torch.long)
    return torch.zeros_like(x).index_copy(2, index, x.index_select(2, index))


def _subspace(name: str, rows: Callable[[Snapshot], Float64[Tensor, "rest neuron"]]) -> Component:
    def orthonormal(snapshot: Snapshot) -> Float64[Tensor, "dimension neuron"]:
        matrix, n = rows(snapshot), snapshot.config.d_mlp
        if matrix.shape[1] != n:
            msg = f"each direction must have {n} entries, one per neuron, got shape {tuple(matrix.shape)}."
            raise ValueError(msg)
        # QR would give a row for every direction, even if it is zero or linearly dependent.
        _, sizes, basis = torch.linalg.svd(matrix, full_matrices=False)
        return basis[sizes > 1e-9 * sizes.max()]

    def project(snapshot: Snapshot, x: Tensor) -> Tensor:
        span = orthonormal(snapshot).to(x.dtype)
        return x @ span.T @ span

    def sample_null(snapshot: Snapshot, draws: int, rng: np.random.Generator) -> list[Component]:
        span = orthonormal(snapshot)
        rank, n = span.shape
        if 2 * rank > n:
            msg = f"a control requires {rank} other directions of {n} neurons, got {n - rank}; choose fewer."
            raise ValueError(msg)
        drawn = (torch.from_numpy(rng.normal(size=(rank, n))) for _ in range(draws))
        return [directions(random - random @ span.T @ span) for random in drawn]

    return Component(name=name, site=sites.NEURONS, project=project, sample_null=sample_null, cacheable=True)
