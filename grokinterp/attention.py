"""Attention from '=' to the inputs, over all pairs."""

import xarray as xr

from grokinterp import labels
from grokinterp.snapshots import Snapshot, measure


@measure("attention")
def pattern(snapshot: Snapshot) -> xr.DataArray:
    """Attention of each head of the last layer from '=' to a, for every pair, 0 to 1; dims (head, a, b).

    What is left goes to b, but for the little (0.1 to 0.4 % in the paper's model) that stays at '='.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, figure 4a.
    """
    return labels.array(
        snapshot.attention[..., 0].permute(2, 0, 1),
        ("head", "a", "b"),
        name="attention",
        units="",
        long_name="attention from = to a",
        coords={"a": snapshot.task.a_tokens, "b": snapshot.task.b_tokens},
    )


@measure("attention_to_equals")
def to_equals(snapshot: Snapshot) -> xr.DataArray:
    """Mean attention of each head from '=' to itself over all pairs, 0 to 1; dims (head,)."""
    return labels.array(
        snapshot.attention[..., 2].double().mean(dim=(0, 1)),
        ("head",),
        name="attention",
        units="",
        long_name="mean attention from = to =",
    )
