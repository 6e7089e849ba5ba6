"""A band between two curves."""

import numpy as np
import plotly.graph_objects as go

from grokinterp.plots.data import small


def add_band(
    fig: go.Figure, x: np.ndarray, low: np.ndarray, high: np.ndarray, colour: str, name: str, **where: int
) -> None:
    """Shade what lies between two curves, as one closed line.

    Args:
        fig: Is changed.
        x: Places of both curves.
        low: The lower one.
        high: The upper one.
        colour: Of the shade, which is faint.
        name: Of the curve in the legend that shows and hides it.
        **where: `row` and `col` of the panel.
    """
    fig.add_scatter(
        x=np.concatenate([x, x[::-1]]),
        y=small(np.concatenate([low, high[::-1]])),
        fill="toself",
        fillcolor=colour,
        opacity=0.15,
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        legendgroup=name,
        showlegend=False,
        **where,
    )
