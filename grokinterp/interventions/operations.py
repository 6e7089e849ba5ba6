"""What can be done to a component: taken out, kept alone, replaced, or taken over from another model."""

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
    """Take a component out.

    Args:
        component: What is taken out.
        fill: What is left of it: its `mean` over all pairs (`Component.background`), or `zero`.

    Returns:
        The intervention. A loss greater than those of its null speaks for the component.

    Raises:
        ValueError: If the fill is neither.

    Examples:
        >>> import grokinterp as gi
        >>> snap = gi.testing.planted_snapshot(7, keys=(1, 3))
        >>> without_keys = ablate(gi.interventions.frequency(1, 3))
        >>> gi.interventions.losses(without_keys)(snap).sel(split="train").item()  # log 7
        1.945910149...
    """
    fill = arguments.one_of(fill, get_args(Fill), "fill")

    def edit(snapshot: Snapshot, x: Tensor) -> Tensor:
        part = component.part(snapshot, component.whole(snapshot, x))
        left = x - part
        return left + component.background(snapshot, part) if fill == "mean" else left

    return _on(component, "ablate", edit, again=lambda other: ablate(other, fill=fill), fill=fill)


def keep_only(component: Component, *, fill: Fill = "mean") -> Intervention:
    """Take everything out at the component's site but the component.

    Args:
        component: What is kept.
        fill: What is left of the rest: its `mean` over all pairs (`Component.background`), or `zero`.

    Returns:
        The intervention. A loss smaller than those of its null speaks for the component.

    Raises:
        ValueError: If the fill is neither.

    Examples:
        >>> import grokinterp as gi
        >>> snap = gi.testing.planted_snapshot(7, keys=(1, 3))
        >>> gi.fourier.key_frequencies(keep_only(gi.interventions.frequency(3, at="neurons"))(snap))
        (3,)
    """
    fill = arguments.one_of(fill, get_args(Fill), "fill")

    def edit(snapshot: Snapshot, x: Tensor) -> Tensor:
        rest = component.beside(snapshot, x)
        left = x - rest
        return left + component.background(snapshot, rest) if fill == "mean" else left

    return _on(component, "keep_only", edit, again=lambda other: keep_only(other, fill=fill), side="less", fill=fill)


def replace(component: Component, values: Values) -> Intervention:
    """Put something else in a component's place.

    Args:
        component: What is replaced.
        values: Of the activation at the component's site, [a, b, ...] or what broadcasts to it, or a function of the
            activation; its part that is the component's takes the place of the model's.

    Returns:
        The intervention. A loss greater than those of its null speaks for the component. With a function as `values`
        no results are kept, for its name does not say what it does.

    Raises:
        ValueError: If the values are not finite numbers; where it is used, if they do not fit the activation.

    Examples:
        >>> import grokinterp as gi
        >>> snap = gi.testing.planted_snapshot(7, keys=(1, 3))
        >>> doubled = replace(gi.interventions.frequency(3), lambda logits: 2 * logits)(snap)
        >>> gi.logits.fve()(doubled).values.round(6).tolist()
        [0.2, 0.0, 0.8]
    """
    given = values if callable(values) else arguments.tensor(values, "values")

    def edit(snapshot: Snapshot, x: Tensor) -> Tensor:
        whole = component.whole(snapshot, x)
        return x + _exchange(component, snapshot, whole, given(whole) if callable(given) else given)

    name = getattr(given, "__qualname__", "a function") if callable(given) else of_tensors(given)
    made = _on(component, "replace", edit, again=lambda other: replace(other, values), values=name)
    return replaced(made, cacheable=made.cacheable and not callable(values))


def patch(component: Component, source: object) -> Intervention:
    """Put in a component's place what another model has there.

    Args:
        component: What is patched. Which neurons or directions it is, the model that is patched decides.
        source: A Snapshot of the same sizes, such as that of another epoch, or a TransformerLens model.

    Returns:
        The intervention. A loss farther from the model's own than those of its null speaks for the component: a
        source may be the better or the worse model.

    Raises:
        ValueError: Where it is used, if the source has an activation of another shape.

    Examples:
        >>> import grokinterp as gi
        >>> one, other = (gi.testing.planted_snapshot(7, keys=(k,)) for k in (1, 3))
        >>> gi.fourier.key_frequencies(patch(gi.interventions.frequency(3), other)(one))
        (1, 3)
    """
    giver = as_snapshot(source)

    def edit(snapshot: Snapshot, x: Tensor) -> Tensor:
        given = sites.read(giver, component.reads or component.site)
        return x + _exchange(component, snapshot, component.whole(snapshot, x), given)

    name = of_snapshot(giver)
    made = _on(component, "patch", edit, again=lambda other: patch(other, giver), side="both", source=name)
    return replaced(made, cacheable=made.cacheable and giver.hook is None)


def _exchange(component: Component, snapshot: Snapshot, whole: Tensor, given: Tensor) -> Tensor:
    """What a component changes by when it is taken of what is given: the part of the difference, for it is linear."""
    try:
        fitting = given.to(whole).broadcast_to(whole.shape)
    except RuntimeError:
        where = component.reads or component.site
        msg = f"what takes the place of {where} must have its shape {tuple(whole.shape)}, got {tuple(given.shape)}."
        raise ValueError(msg) from None
    return component.part(snapshot, fitting - whole)


def _on(
    component: Component,
    operation: str,
    edit: Edit,
    again: Callable[[Component], Intervention],
    *,
    side: Side = "greater",
    **words: object,
) -> Intervention:
    """The intervention of an operation on a component; its null is the operation on others of the component's kind."""
    if not isinstance(component, Component):
        msg = f"{operation} needs a component such as head(0) or frequency(14), got {component!r}."
        raise TypeError(msg)

    def null(snapshot: Snapshot, draws: int, rng: np.random.Generator) -> list[Intervention]:
        return [again(other) for other in component.others(snapshot, draws, rng)]

    return Intervention(
        name=call(operation, component.name, **words),
        edits={component.site: edit},
        null=null,
        side=side,
        cacheable=component.cacheable,
    )
