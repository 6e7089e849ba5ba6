"""How many runs have not grokked yet, over the epochs."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from grokinterp.plots import theme
from grokinterp.plots.bands import add_band
from grokinterp.plots.data import need, small, with_rule


def survival(ds: xr.Dataset) -> go.Figure:
    """The share of runs that have not grokked, in steps, with its band, for each group.

    Args:
        ds: What `gi.survival.kaplan_meier` gives: `survival` over (group, epoch), and, where they are there, `lower`
            and `upper`, `runs`, `censored` and `p_value`.

    Returns:
        A figure of one panel; a cross where the runs of a group that have not grokked were last watched.

    Raises:
        KeyError: If `survival` is missing.

    Examples:
        >>> share = xr.DataArray([[1.0, 0.5]], dims=("group", "epoch"), coords={"group": ["all"], "epoch": [0, 9]})
        >>> survival(xr.Dataset({"survival": share})).data[0].line.shape
        'hv'
    """
    data = need(ds, "survival").transpose("group", "epoch")
    epochs, groups = data["epoch"].values, data["group"].values
    fig = theme.panels([f"Not grokked yet{_verdict(ds)}"], columns=1)
    for place, (group, colour) in enumerate(zip(groups, theme.seed_colours(len(groups)), strict=True)):
        is_watched = ~np.isnan(data.values[place])
        x, y = epochs[is_watched], data.values[place][is_watched]
        name = f"{group}{_counts(ds, place)}"
        if "lower" in ds and "upper" in ds:
            lower, upper = (ds[end].transpose("group", "epoch").values[place][is_watched] for end in ("lower", "upper"))
            # Between two step functions.
            steps = np.repeat(x, 2)[1:]
            add_band(fig, steps, np.repeat(lower, 2)[:-1], np.repeat(upper, 2)[:-1], colour, name)
        fig.add_scatter(
            x=x,
            y=small(y),
            name=name,
            mode="lines",
            line={"color": colour, "width": 2, "shape": "hv"},
            legendgroup=name,
            hovertemplate=f"{group}, from epoch %{{x:,.0f}} on: %{{y:.0%}}<extra></extra>",
        )
        if len(x) and y[-1] > 0:
            cross = {"symbol": "cross-thin", "size": 9, "line": {"width": 1.8, "color": colour}}
            fig.add_scatter(
                x=x[-1:],
                y=small(y[-1:]),
                mode="markers",
                marker=cross,
                legendgroup=name,
                showlegend=False,
                hovertemplate=f"{group}, last watched at epoch %{{x:,.0f}}: %{{y:.0%}} left<extra></extra>",
            )
    fig.update_xaxes(title_text=theme.title(data["epoch"]), rangemode="tozero")
    fig.update_yaxes(title_text=with_rule(theme.title(data), data), range=[-0.03, 1.03], tickformat=".0%")
    fig.update_layout(legend={"title": {"text": theme.name(data["group"]), "font": {"size": 11}}, "y": 1.0})
    return theme.apply(fig, height=400)


def _verdict(ds: xr.Dataset) -> str:
    return f" (log-rank test: p = {float(ds['p_value']):.2g})" if "p_value" in ds else ""


def _counts(ds: xr.Dataset, place: int) -> str:
    """How many runs of a group grokked, of how many."""
    if "runs" not in ds or "censored" not in ds:
        return ""
    runs, censored = int(ds["runs"].values[place]), int(ds["censored"].values[place])
    return f" ({runs - censored} of {runs} grokked)"
