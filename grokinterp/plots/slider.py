"""One frame per epoch, and the slider that moves between them."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go


def add(fig: go.Figure, epochs: Sequence[int], frames: Sequence[Sequence[Mapping[str, Any]]]) -> go.Figure:
    """Add a slider over epochs; a figure of a single epoch is left without.

    Args:
        fig: Shows the last epoch; is changed.
        epochs: One for each frame.
        frames: For each epoch and each trace of the figure, what changes in the trace.

    Returns:
        The same figure.

    Examples:
        >>> fig = go.Figure(go.Bar(y=[2]))
        >>> len(add(fig, [0, 10], [[{"y": [1]}], [{"y": [2]}]]).frames)
        2
    """
    if len(epochs) < 2:
        return fig
    fig.frames = [
        go.Frame(
            name=str(epoch),
            data=[{"type": trace.type, **change} for trace, change in zip(fig.data, changes, strict=True)],
            traces=list(range(len(fig.data))),
        )
        for epoch, changes in zip(epochs, frames, strict=True)
    ]
    at_once = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    steps = [{"method": "animate", "label": f"{epoch:,}", "args": [[str(epoch)], at_once]} for epoch in epochs]
    return fig.update_layout(
        sliders=[
            {
                "active": len(epochs) - 1,
                "steps": steps,
                "currentvalue": {"prefix": "epoch ", "font": {"size": 13}, "xanchor": "left"},
                "font": {"size": 10, "color": "#6E7781"},
                "pad": {"t": 44, "b": 8},
                "len": 1.0,
                "x": 0,
                "bgcolor": "#DDE2E7",
                "activebgcolor": "#0072B2",
                "bordercolor": "#AFB8C1",
                "borderwidth": 1,
                "ticklen": 4,
                "tickcolor": "#AFB8C1",
                "minorticklen": 0,
            }
        ]
    )
