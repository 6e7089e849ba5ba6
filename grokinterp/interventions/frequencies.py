"""Frequencies, or irreps, of the embedding, the neurons or the logits as components."""

from functools import lru_cache
from typing import Final, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from grokinterp import arguments
from grokinterp.basis import Basis, project_pairs, task_basis
from grokinterp.interventions import sampling as sampling
from grokinterp.interventions import sites
from grokinterp.interventions.cache_keys import call
from grokinterp.interventions.components import Component
from grokinterp.snapshots import Snapshot
from grokinterp.tasks import Task


At = Literal["W_E", "neurons", "logits"]
Terms = Literal["sum", "all"]

_SITES: Final[dict[str, str]] = {"W_E": sites.W_E, "neurons": sites.NEURONS, "logits": sites.LOGITS}


def frequency(*keys: int, at: At = "logits", terms: Terms = "sum") -> Component:
    """The given frequencies, or irreps, of the embedding, the neurons or the logits.

    In the embedding these are functions of the token. In neurons and logits, which are functions of (a, b), they are by
    default functions of the product: cos and sin(w_k(a+b)). Mean ablation keeps the mean over all pairs; in the
    embedding it keeps the constant and, for multiplication, the row of zero.

    Args:
        *keys: Frequencies, as blocks of the task's basis.
        at: `logits`; `neurons` of the last layer; or `W_E`, over the operand tokens.
        terms: For neurons and logits: `sum` for functions of the product; `all` for the eight products of
            const, cos k and sin k of a with const, cos k and sin k of b, without const const, for each key k.

    Returns:
        The component. Its null samples the same number of other frequencies; for irreps, other blocks of any size.

    Raises:
        ValueError: If there is no key, a key is below 1, or `at` or `terms` is unknown; when applied, if a key is not a
            block of the task's basis, or the task has no group.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 5.1: the ablation of the excluded loss. At the logits, `ablate`
        gives `progress.excluded_loss` and `keep_only` gives `progress.restricted_loss`. Irreps: Chughtai, Chan and
        Nanda 2023, arXiv:2302.03025.

    Examples:
        >>> import grokinterp as gi
        >>> without_3 = gi.interventions.ablate(frequency(3, at="W_E"))
        >>> gi.fourier.key_frequencies(without_3(gi.testing.planted_snapshot(7, keys=(1, 3))))
        (1,)
    """
    wanted = list(arguments.keys(keys))
    at, terms = arguments.one_of(at, _SITES, "at"), arguments.one_of(terms, get_args(Terms), "terms")
    if at == "W_E" and terms == "all":
        msg = "terms='all' applies to functions of a and b, at the neurons or the logits, got at='W_E'; omit it."
        raise ValueError(msg)
    keywords = {"at": at} if terms == "sum" else {"at": at, "terms": terms}
    project = sites.project_tokens if at == "W_E" else _PROJECTIONS[terms]

    def sample_null(snapshot: Snapshot, draws: int, rng: np.random.Generator) -> list[Component]:
        pool, own = snapshot.basis.blocks, snapshot.basis.check(wanted)
        drawn = sampling.disjoint(pool, own, draws, rng, "frequencies")
        return [frequency(*others, at=at, terms=terms) for others in drawn]

    return Component(
        name=call("frequency", *wanted, **keywords),
        site=_SITES[at],
        project=lambda snapshot, x: project(snapshot, x, wanted),
        sample_null=sample_null,
        cacheable=True,
    )


def _project_products(snapshot: Snapshot, x: Tensor, keys: list[int]) -> Tensor:
    """The projection of x [a, b, ...] onto functions of the product in the keys' blocks."""
    _bases(snapshot.task)  # raises for an incomplete table, over whose pairs the rows are not orthogonal
    products = snapshot.task.table.flatten()
    rows = snapshot.basis.rows(keys)[:, products].to(x.dtype)
    coefficients = rows / products.bincount()[products] @ x.flatten(2).flatten(0, 1)
    return (rows.T @ coefficients).reshape(x.shape)


def _project_operands(snapshot: Snapshot, x: Tensor, keys: list[int]) -> Tensor:
    """The projection of x [a, b, ...] onto {const, k} x {const, k} for each key k, without const const."""

    def project(blocks: list[int]) -> Tensor:
        """The projection onto products of two rows with the same block, or with a background row."""
        (rows_a, i), (rows_b, j) = (
            (basis.rows(blocks).to(x.dtype), basis.block[torch.isin(basis.block, torch.tensor(blocks))])
            for basis in _bases(snapshot.task)
        )
        mask = (i[:, None] == j) | (i[:, None] == 0) | (j == 0)
        return project_pairs(x.flatten(2), rows_a, rows_b, mask).reshape(x.shape)

    return project([0, *keys]) - project([0])


_PROJECTIONS: Final = {"sum": _project_products, "all": _project_operands}


@lru_cache(maxsize=16)
def _bases(task: Task) -> tuple[Basis, Basis]:
    """The bases over the a tokens and over the b tokens.

    Raises:
        ValueError: If the task has no group, or a group element is missing among the tokens.
    """
    return task_basis(task, task.a_tokens), task_basis(task, task.b_tokens)
