"""Operations on a component: ablate it, keep only it, replace it, or patch it from another model."""

from collections.abc import Callable
from dataclasses import replace as replaced
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float
from torch import Tensor

from grokinterp import arguments
from grokinterp.interventions import sites
from grokinterp.interventions.cache_keys import call, of_snapshot, of_tensors
from grokinterp.interventions.components import Component
from grokinterp.interventions.intervention import Edit, Intervention, Side
from grokinterp.snapshots import Snapshot, as_snapshot


Fill = Literal["mean", "zero"]
Values = Float[Tensor, "..."] | Float[np.ndarray, "..."] | float | Callable[[Tensor], Tensor]


def ablate(component: Component, *, fill: Fill = "mean") -> Intervention:
    """Ablate a component: mean-ablate (default) or zero-ablate.

    Args:
        component: The component to ablate.
        fill: What replaces the component: its `mean` over all pairs, or `zero`. At W_E, `mean` keeps the constant and,
            for multiplication, the row of zero.

    Returns:
        The intervention. A loss above the null distribution is evidence that the component matters.

    Raises:
        ValueError: If the fill is invalid.

    Examples:
        >>> import grokinterp as gi
        >>> snap = gi.testing.planted_snapshot(7, keys=(1, 3))
        >>> without_keys = ablate(gi.interventions.frequency(1, 3))
        >>> gi.interventions.losses(without_keys)(snap).sel(split="train").item()  # log 7
        1.945910149...
    """
    fill = arguments.one_of(fill, get_args(Fill), "fill")

    def edit(snapshot: Snapshot, x: Tensor) -> Tensor:
        projected = component.project(snapshot, component.source_activation(snapshot, x))
        return _remove(component, snapshot, x, projected, fill)

    return _on(component, "ablate", edit, again=lambda other: ablate(other, fill=fill), fill=fill)


def keep_only(component: Component, *, fill: Fill = "mean") -> Intervention:
    """Ablate everything at the component's site except the component.

    Args:
        component: The component to keep.
        fill: What replaces the rest: its `mean` over all pairs, as in `ablate`, or `zero`.

    Returns:
        The intervention. A loss below the null distribution is evidence that the component matters.

    Raises:
        ValueError: If the fill is invalid.

    Examples:
        >>> import grokinterp as gi
        >>> snap = gi.testing.planted_snapshot(7, keys=(1, 3))
        >>> gi.fourier.key_frequencies(keep_only(gi.interventions.frequency(3, at="neurons"))(snap))
        (3,)
    """
    fill = arguments.one_of(fill, get_args(Fill), "fill")

    def edit(snapshot: Snapshot, x: Tensor) -> Tensor:
        return _remove(component, snapshot, x, component.complement(snapshot, x), fill)

    return _on(component, "keep_only", edit, again=lambda other: keep_only(other, fill=fill), side="less", fill=fill)


def replace(component: Component, values: Values) -> Intervention:
    """Replace a component by given values.

    Args:
        component: The component to replace.
        values: Replacement activation, [a, b, ...] or broadcastable to it, or a function of the activation; only its
            projection onto the component is used.

    Returns:
        The intervention. A loss above the null distribution is evidence that the component matters. If `values` is a
        function, results are not cached: a function has no stable identity.

    Raises:
        ValueError: If the values are not finite numbers; when applied, if their shape does not fit the activation.

    Examples:
        >>> import grokinterp as gi
        >>> snap = gi.testing.planted_snapshot(7, keys=(1, 3))
        >>> doubled = replace(gi.interventions.frequency(3), lambda logits: 2 * logits)(snap)
        >>> gi.logits.fve()(doubled).values.round(6).tolist()
        [0.2, 0.0, 0.8]
    """
    given = values if callable(values) else arguments.tensor(values, "values")

    def edit(snapshot: Snapshot, x: Tensor) -> Tensor:
        source = component.source_activation(snapshot, x)
        return x + _difference(component, snapshot, source, given(source) if callable(given) else given)

    name = getattr(given, "__qualname__", "a function") if callable(given) else of_tensors(given)
    made = _on(component, "replace", edit, again=lambda other: replace(other, values), values=name)
    return replaced(made, cacheable=made.cacheable and not callable(values))


def patch(component: Component, source: object) -> Intervention:
    """Activation patching: replace a component by its value in another model or checkpoint.

    Args:
        component: The component to patch. The patched model determines its neurons or directions.
        source: A Snapshot with the same shapes, e.g. of another epoch, or a TransformerLens model.

    Returns:
        The intervention. A loss that differs more from the unpatched loss than the null distribution is evidence that
        the component matters; patching may increase or decrease the loss.

    Raises:
        ValueError: When applied, if the source's activation has a different shape.

    Examples:
        >>> import grokinterp as gi
        >>> model, source = (gi.testing.planted_snapshot(7, keys=(k,)) for k in (1, 3))
        >>> gi.fourier.key_frequencies(patch(gi.interventions.frequency(3), source)(model))
        (1, 3)
    """
    source_model = as_snapshot(source)

    def edit(snapshot: Snapshot, x: Tensor) -> Tensor:
        given = component.source_activation(source_model, sites.read(source_model, component.site))
        return x + _difference(component, snapshot, component.source_activation(snapshot, x), given)

    name = of_snapshot(source_model)
    made = _on(component, "patch", edit, again=lambda other: patch(other, source_model), side="both", source=name)
    return replaced(made, cacheable=made.cacheable and source_model.hook is None)


def _remove(component: Component, snapshot: Snapshot, x: Tensor, removed: Tensor, fill: Fill) -> Tensor:
    left = x - removed
    return left + sites.mean(snapshot, component.site, removed) if fill == "mean" else left


def _difference(component: Component, snapshot: Snapshot, source: Tensor, given: Tensor) -> Tensor:
    """The change of a component when its source activation becomes the given one; projections are linear."""
    try:
        replacement = given.to(source).broadcast_to(source.shape)
    except RuntimeError:
        msg = f"values for {component.name} must have shape {tuple(source.shape)}, got {tuple(given.shape)}."
        raise ValueError(msg) from None
    return component.project(snapshot, replacement - source)


def _on(
    component: Component,
    operation: str,
    edit: Edit,
    again: Callable[[Component], Intervention],
    *,
    side: Side = "greater",
    **words: object,
) -> Intervention:
    """The intervention; its null applies the same operation to random components."""
    if not isinstance(component, Component):
        msg = f"{operation} requires a component such as head(0) or frequency(14), got {arguments.shown(component)}."
        raise TypeError(msg)

    def sample_null(snapshot: Snapshot, draws: int, rng: np.random.Generator) -> list[Intervention]:
        return [again(other) for other in component.sample_null(snapshot, draws, rng)]

    return Intervention(
        name=call(operation, component.name, **words),
        edits={component.site: edit},
        sample_null=sample_null,
        side=side,
        cacheable=component.cacheable,
    )
