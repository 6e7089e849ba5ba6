"""The phases of training behind curves over epochs."""

import math

import plotly.graph_objects as go
import xarray as xr

from grokinterp.plots import theme


def add_phases(fig: go.Figure, phases: xr.Dataset, last_epoch: float) -> go.Figure:
    """Shade the phases that were reached in all panels, and name them in a legend below.

    Args:
        fig: Its horizontal axes are epochs; is changed.
        phases: `phase_start`, `phase_end` and, if there, `phase_rule` over `phase`, as `gi.phases.detect` gives them.
        last_epoch: The end of a phase that has begun and not ended.

    Returns:
        The same figure.

    Raises:
        KeyError: If the Dataset is not one of phases.
    """
    for name in ("phase_start", "phase_end"):
        if name not in phases:
            msg = f"phases must have {name!r}: pass what gi.phases.detect gives"
            raise KeyError(msg)
    starts, ends = phases["phase_start"], phases["phase_end"]
    legend = f"legend{len(fig.layout.annotations) + 1}"
    for name in starts["phase"].values:
        start, end = float(starts.sel(phase=name)), float(ends.sel(phase=name))
        if math.isnan(start):
            continue
        colour = theme.PHASE.get(str(name), theme.GRID)
        until = f" to {end:,.0f}" if not math.isnan(end) else " on"
        if "phase_rule" in phases and not math.isnan(end):
            until += f" ({phases['phase_rule'].sel(phase=name).item()})"
        end = last_epoch if math.isnan(end) else end
        fig.add_vrect(x0=start, x1=end, fillcolor=colour, line_width=0, layer="below", row="all", col="all")
        swatch = {"symbol": "square", "size": 12, "color": colour, "line": {"width": 1, "color": "#AFB8C1"}}
        fig.add_scatter(
            x=[None], y=[None], mode="markers", marker=swatch, legend=legend, name=f"{name}, epochs {start:,.0f}{until}"
        )
    return fig.update_layout(
        {
            legend: {
                "orientation": "h",
                "x": 0.5,
                "xanchor": "center",
                "y": 0.01,
                "yref": "container",
                "yanchor": "bottom",
                "font": {"size": 11},
            }
        }
    )
