"""A line per frequency over the epochs: spectra, explained variance and excluded losses."""

from collections.abc import Iterable, Sequence

import plotly.graph_objects as go
import xarray as xr

from grokinterp.plots import theme
from grokinterp.plots.data import keys_of, named_keys, need, over_epochs, positive, present, small


def add_frequencies(
    fig: go.Figure,
    data: xr.DataArray,
    keys: Sequence[int],
    *,
    row: int = 1,
    column: int = 1,
    in_legend: bool = True,
    log_y: bool = False,
) -> None:
    """Add a line per frequency to a panel: keys in their colours, in front of the others in grey."""
    colours = theme.frequency_colours(keys)
    frequencies = [int(k) for k in data["frequency"].values]
    others = [k for k in frequencies if k not in colours]
    for k in others + [k for k in frequencies if k in colours]:
        values = data.sel(frequency=k).values
        is_key = k in colours
        fig.add_scatter(
            x=data["epoch"].values,
            y=small(positive(values) if log_y else values),
            name=f"k = {k}" if is_key else "others",
            mode="lines" if data.sizes["epoch"] > 1 else "markers",
            line={"color": colours.get(k, theme.OTHER), "width": 2.0 if is_key else 0.8},
            legendgroup=str(k) if is_key else "others",
            legendrank=k if is_key else 10_000,
            showlegend=in_legend and (is_key or k == others[0]),
            hovertemplate=f"k = {k}, epoch %{{x}}: %{{y:.3g}}<extra></extra>",
            row=row,
            col=column,
        )


def logit_fve(ds: xr.Dataset, *, keys: Iterable[int] | None = None) -> go.Figure:
    """The share of the logits' variance that the wave cos w_k(a+b-c) of each frequency explains, over the epochs.

    Args:
        ds: A trajectory with `logit_fve`.
        keys: Default: those that the Dataset's measures were given, else the five largest at the last epoch.

    Returns:
        A figure with a line per frequency, and one for the sum over the keys.

    Raises:
        KeyError: If `logit_fve` is missing.

    Examples:
        >>> fve = xr.DataArray([[0.7, 0.2]], dims=("epoch", "frequency"), coords={"frequency": [1, 2]})
        >>> [line.name for line in logit_fve(xr.Dataset({"logit_fve": fve}), keys=[1]).data]
        ['others', 'k = 1', 'all keys']
    """
    data = present(over_epochs(need(ds, "logit_fve")), "frequency")
    chosen = [k for k in keys_of(ds, data, keys) if k in data["frequency"].values]
    together = "all keys" if keys is not None or named_keys(ds) is not None else "all coloured"
    fig = theme.panels(["Variance of the logits explained by each frequency"], columns=1)
    add_frequencies(fig, data, chosen)
    fig.add_scatter(
        x=data["epoch"].values,
        y=small(data.sel(frequency=chosen).sum("frequency").values),
        name=together,
        mode="lines" if data.sizes["epoch"] > 1 else "markers",
        line={"color": theme.INK, "width": 1.8, "dash": "dash"},
        legendrank=9_999,
        hovertemplate=f"{together}, epoch %{{x}}: %{{y:.3g}}<extra></extra>",
    )
    fig.update_xaxes(title_text=theme.title(data["epoch"]))
    fig.update_yaxes(title_text=theme.title(data), range=[-0.02, 1.03])
    return theme.apply(fig, height=400)


def excluded_by_frequency(ds: xr.Dataset, *, keys: Iterable[int] | None = None) -> go.Figure:
    """The loss without one frequency at a time over the epochs: how much the model relies on each.

    Args:
        ds: A trajectory with `excluded_loss_by_frequency`; `loss`, where it is there, is drawn for comparison.
        keys: Default: those that the Dataset's measures were given, else the five largest at the last epoch.

    Returns:
        A figure with a line per frequency on a logarithmic axis; a loss of zero is a gap.

    Raises:
        KeyError: If `excluded_loss_by_frequency` is missing.

    Source:
        Nanda et al. 2023, arXiv:2301.05217, Figure 15.
    """
    data = present(over_epochs(need(ds, "excluded_loss_by_frequency")), "frequency")
    chosen = [k for k in keys_of(ds, data, keys) if k in data["frequency"].values]
    fig = theme.panels(["Loss without one frequency"], columns=1)
    add_frequencies(fig, data, chosen, log_y=True)
    for split in ("train", "test") if "loss" in ds else ():
        loss = over_epochs(ds["loss"]).sel(split=split)
        fig.add_scatter(
            x=loss["epoch"].values,
            y=small(positive(loss.values)),
            name=f"{split} loss",
            mode="lines" if loss.sizes["epoch"] > 1 else "markers",
            line={"color": theme.SPLIT[split], "width": 1.6, "dash": "dot"},
            legendrank=20_000,
            hovertemplate=f"{split} loss, epoch %{{x}}: %{{y:.3g}}<extra></extra>",
        )
    fig.update_xaxes(title_text=theme.title(data["epoch"]))
    fig.update_yaxes(title_text=theme.title(data), **theme.log_axis())
    return theme.apply(fig, height=420)
