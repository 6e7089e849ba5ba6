"""Frequencies, or irreps, as components: of the embedding, of the neurons or of the logits."""

from functools import lru_cache
from typing import Final, Literal, get_args

import torch
from jaxtyping import Int
from torch import Tensor

from grokinterp import arguments
from grokinterp.basis import Basis, task_basis
from grokinterp.interventions import sites
from grokinterp.interventions.cache_keys import call
from grokinterp.interventions.components import Component, Part, draw_null, mean_over_pairs
from grokinterp.snapshots import Snapshot
from grokinterp.tasks import Task


At = Literal["W_E", "neurons", "logits"]
Terms = Literal["sum", "all"]

_SITES: Final[dict[str, str]] = {"W_E": sites.W_E, "neurons": sites.NEURONS, "logits": sites.LOGITS}


def frequency(*keys: int, at: At = "logits", terms: Terms = "sum") -> Component:
    """What is of some frequencies, or irreps, in the embedding, the neurons or the logits.

    In the embedding these are the waves over tokens. In neurons and logits, functions of (a, b), they are by default
    the waves of the product: cos and sin(w_k(a+b)). There the fill `mean` leaves the mean over all pairs; in the
    embedding, the constant and, for multiplication, the row of zero.

    Args:
        *keys: Which, as numbers of the basis' blocks.
        at: `logits`; `neurons` of the last layer; or `W_E`, over the operands' tokens.
        terms: Of the neurons or the logits: `sum` for functions of the product; `all` for all eight products of
            const, cos k and sin k of a and those of b, without const const, for each key k.

    Returns:
        The component. Its null draws as many other frequencies; of irreps, as many other blocks of any size.

    Raises:
        ValueError: If there is no key, a key is below 1, or `at` or `terms` is unknown; where it is used, if a key is
            no block of the task's basis or the task has no group.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, section 5.1: what is ablated for the excluded loss. At the logits,
        ablating gives `progress.excluded_loss`, keeping only gives `progress.restricted_loss`. Irreps: Chughtai, Chan
        and Nanda 2023, arXiv:2302.03025.

    Examples:
        >>> import grokinterp as gi
        >>> without_3 = gi.interventions.ablate(frequency(3, at="W_E"))
        >>> gi.fourier.key_frequencies(without_3(gi.testing.planted_snapshot(7, keys=(1, 3))))
        (1,)
    """
    wanted = list(arguments.keys(keys))
    at, terms = arguments.one_of(at, _SITES, "at"), arguments.one_of(terms, get_args(Terms), "terms")
    if at == "W_E" and terms == "all":
        msg = "terms='all' is of functions of a and b, at the neurons or the logits, got at='W_E'; leave it out."
        raise ValueError(msg)
    keywords = {"at": at} if terms == "sum" else {"at": at, "terms": terms}
    part, background = _over_tokens(wanted) if at == "W_E" else (_PARTS[terms](wanted), mean_over_pairs)
    return Component(
        name=call("frequency", *wanted, **keywords),
        site=_SITES[at],
        part=part,
        background=background,
        others=draw_null(
            "frequencies",
            pool=lambda snapshot: snapshot.basis.blocks,
            taken=lambda snapshot: snapshot.basis.check(wanted),
            make=lambda others: frequency(*others, at=at, terms=terms),
        ),
        cacheable=True,
    )


def _over_tokens(keys: list[int]) -> tuple[Part, Part]:
    """The part of W_E [token, d_model] in the keys' blocks, and that in the background."""

    def project(blocks: list[int]) -> Part:
        def part(snapshot: Snapshot, x: Tensor) -> Tensor:
            rows = snapshot.basis.rows(blocks).to(x.dtype)
            return rows.T @ (rows @ x)

        return part

    return project(keys), project([0])


def _of_the_product(keys: list[int]) -> Part:
    """The part of x [a, b, ...] that depends on (a, b) through the product, in the keys' blocks."""

    def part(snapshot: Snapshot, x: Tensor) -> Tensor:
        _bases(snapshot.task)  # refuses a part of a table, over whose pairs the waves are not orthogonal
        products = snapshot.task.table.flatten()
        waves = snapshot.basis.rows(keys)[:, products].to(x.dtype)
        coefficients = waves / products.bincount()[products] @ x.flatten(2).flatten(0, 1)
        return (waves.T @ coefficients).reshape(x.shape)

    return part


def _of_both_operands(keys: list[int]) -> Part:
    """The part of x [a, b, ...] in {const, k} x {const, k} of any key k, without const const."""

    def project(blocks: list[int]) -> Part:
        """The part in the products of two rows whose blocks are the same, or one of them the background."""

        def part(snapshot: Snapshot, x: Tensor) -> Tensor:
            basis_a, basis_b = _bases(snapshot.task)
            rows_a, rows_b = basis_a.rows(blocks).to(x.dtype), basis_b.rows(blocks).to(x.dtype)
            i, j = _blocks_of_rows(basis_a, blocks)[:, None], _blocks_of_rows(basis_b, blocks)
            coefficients = torch.einsum("jb,ibn->ijn", rows_b, torch.einsum("ia,abn->ibn", rows_a, x.flatten(2)))
            coefficients = coefficients * ((i == j) | (i == 0) | (j == 0))[:, :, None]
            kept = torch.einsum("ia,ibn->abn", rows_a, torch.einsum("jb,ijn->ibn", rows_b, coefficients))
            return kept.reshape(x.shape)

        return part

    constant, with_constant = project([0]), project([0, *keys])
    return lambda snapshot, x: with_constant(snapshot, x) - constant(snapshot, x)


_PARTS: Final = {"sum": _of_the_product, "all": _of_both_operands}


@lru_cache(maxsize=16)
def _bases(task: Task) -> tuple[Basis, Basis]:
    """The bases over the tokens of a and over those of b.

    Raises:
        ValueError: If there is no group, or an element of it is missing among either.
    """
    return task_basis(task, task.a_tokens), task_basis(task, task.b_tokens)


def _blocks_of_rows(basis: Basis, blocks: list[int]) -> Int[Tensor, " component"]:
    return basis.block[torch.isin(basis.block, torch.tensor(blocks))]
