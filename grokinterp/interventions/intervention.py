"""Interventions: edits of a model's activations or weights, made to a snapshot or to a TransformerLens model."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from grokinterp.arguments import shown
from grokinterp.interventions import sites
from grokinterp.models import lens
from grokinterp.models.architecture import HOOK_LOGITS, Hook
from grokinterp.snapshots import Snapshot, as_snapshot


Edit = Callable[[Snapshot, Tensor], Tensor]
"""From the snapshot that is intervened on and what is at a site to what takes its place."""

Side = Literal["greater", "less", "both"]
"""Which losses speak for an intervention against its null: greater ones, smaller ones, or those farther off."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Intervention:
    """Edits of what a model computes, each at one site.

    Called with a model it gives the edited model as a Snapshot, which every measure takes.

    Attributes:
        name: Such as `ablate(frequency(1, 3, at='logits'), fill='mean')`.
        edits: By site. Those of activations are [a, b, ...] at '='; that of `unembed.W_U` is linear in each row.
        null: Draws at most so many different interventions of the same kind on random components of equal number;
            none where there is nothing to draw from.
        side: Which losses are extreme among those of the null.
        cacheable: Whether the name says all of it, so that results may be kept under it.

    Examples:
        >>> import grokinterp as gi
        >>> without_3 = gi.interventions.ablate(gi.interventions.frequency(3))
        >>> gi.fourier.key_frequencies(without_3(gi.testing.planted_snapshot(7, keys=(1, 3))))
        (1,)
    """

    name: str
    edits: Mapping[str, Edit] = field(repr=False)
    null: Callable[[Snapshot, int, np.random.Generator], list["Intervention"]] = field(
        default=lambda snapshot, draws, rng: [], repr=False
    )
    side: Side = field(default="greater", repr=False)
    cacheable: bool = field(default=False, repr=False)

    @torch.no_grad()
    def __call__(self, model: object) -> Snapshot:
        """The edited model.

        Args:
            model: A Snapshot, itself edited or not, or a TransformerLens model.

        Returns:
            A snapshot with other weights, or with a hook.

        Raises:
            ValueError: If the component is not one of this model; at the latest when the edited one is read.
        """
        clean = as_snapshot(model)
        changes = {sites.resolve(site, clean.config): partial(edit, clean) for site, edit in self.edits.items()}
        of_weights = {site: changes.pop(site) for site in sites.WEIGHTS if site in changes}
        edited = replace(
            clean,
            params=sites.write_weights(clean, of_weights),
            hook=_chain(clean.hook, dict(sites.hook(clean, *change) for change in changes.items())),
        )
        logits = None if of_weights else _closed_form(clean, changes)
        if logits is not None:
            # The place of the cached property: no forward pass will be made for what is known.
            vars(edited)["logits"] = logits
        return edited

    @contextmanager
    def on(self, model: Any) -> Iterator[Any]:
        """The edited model for the time of a block.

        Args:
            model: A Snapshot, of which an edited one is given; or a TransformerLens model that knows its task, such as
                `run.model()`, or adds, which has hooks for that time and reads all pairs in order. For a bare model of
                another task see `fwd_hooks`.

        Yields:
            The edited snapshot, or the model itself.

        Examples:
            >>> import grokinterp as gi
            >>> without_3 = gi.interventions.ablate(gi.interventions.frequency(3))
            >>> with without_3.on(gi.testing.planted_snapshot(7, keys=(1, 3))) as edited:
            ...     ds = gi.progress.losses(edited)
        """
        if isinstance(model, Snapshot):
            yield self(model)
            return
        hooks = self.fwd_hooks(as_snapshot(model))
        with model.hooks(fwd_hooks=hooks):
            yield model

    def fwd_hooks(self, snapshot: Snapshot) -> list[tuple[str, Callable[..., Tensor]]]:
        """The edits as hooks of the snapshot's TransformerLens model, for its `run_with_hooks` or `hooks`.

        Args:
            snapshot: Of that model; it knows the task. If it is edited already, its own hook is among them.

        Returns:
            Names and functions of (activation, hook). The model must read `snapshot.tokens`.

        Raises:
            ValueError: If the component is not one of this model; when the model runs, if it reads another batch.

        Examples:
            >>> import grokinterp as gi
            >>> without_head_0 = gi.interventions.ablate(gi.interventions.head(0))
            >>> [name for name, _ in without_head_0.fwd_hooks(gi.testing.planted_snapshot(7, keys=(1, 3)))]
            ['blocks.0.attn.hook_z']
        """
        snapshot = as_snapshot(snapshot)
        of_weights, of_activations = [], []
        for site, edit in self.edits.items():
            hooks = of_weights if site in sites.WEIGHTS else of_activations
            hooks.append(_as_hook(*sites.hook(snapshot, site, partial(edit, snapshot))))
        # In the order of the edited snapshot, whose weights are edited before any of its activations is seen.
        return of_weights + _own_hooks(snapshot) + of_activations


def as_intervention(intervention: object) -> Intervention:
    """An Intervention as it is.

    Raises:
        TypeError: If it is something else, such as a component, of which it is not said what is done to it.
    """
    if not isinstance(intervention, Intervention):
        msg = f"what is measured must be an intervention such as ablate(head(0)), got {shown(intervention)}."
        raise TypeError(msg)
    return intervention


def run_with_hooks(intervention: Intervention, model: Any) -> Float64[Tensor, "a b c"]:
    """The logits of the TransformerLens model itself under an intervention, by its own `run_with_hooks`.

    Args:
        intervention: What is done.
        model: A Snapshot, whose TransformerLens model is built; or such a model, which knows its task or adds.

    Returns:
        The logits at '=' of every pair, without the class '='; those of `intervention(model)` to rounding.

    Raises:
        ValueError: If the component is not one of this model, or it has no TransformerLens model.

    Examples:
        >>> import grokinterp as gi
        >>> task = gi.tasks.operation("addition", 7)
        >>> config = gi.TransformerConfig(d_model=16, n_heads=2, d_head=8, d_mlp=24)
        >>> params = config.initial_params(task, seed=0)
        >>> snap = gi.Snapshot(params=params, config=config, task=task)
        >>> without_head_1 = gi.interventions.ablate(gi.interventions.head(1))
        >>> theirs = run_with_hooks(without_head_1, snap)
        >>> bool((theirs - without_head_1(snap).logits).abs().max() < 1e-5)
        True
    """
    snapshot = as_snapshot(model)
    real = lens.to_transformer_lens(snapshot.params, snapshot.config) if isinstance(model, Snapshot) else model
    tokens = snapshot.tokens.to(next(real.parameters()).device)
    with torch.no_grad():
        logits = real.run_with_hooks(tokens, fwd_hooks=intervention.fwd_hooks(snapshot))
    logits = snapshot.config.at_answer(HOOK_LOGITS, logits)
    return logits[:, : snapshot.task.n_outputs].cpu().double().unflatten(0, snapshot.task.shape)


def _own_hooks(snapshot: Snapshot) -> list[tuple[str, Callable[..., Tensor]]]:
    """Those of a snapshot that is edited already."""
    if snapshot.hook is None:
        return []
    return [_as_hook(name, partial(snapshot.hook, name)) for name in snapshot.config.hook_names()]


def _as_hook(name: str, change: sites.Change) -> tuple[str, Callable[..., Tensor]]:
    return name, lambda activation, hook: change(activation)


def _chain(first: Hook | None, changes: dict[str, sites.Change]) -> Hook | None:
    """A hook and then some changes."""
    if not changes:
        return first

    def hook(name: str, activation: Tensor) -> Tensor:
        activation = activation if first is None else first(name, activation)
        return changes[name](activation) if name in changes else activation

    return hook


def _closed_form(clean: Snapshot, changes: dict[str, sites.Change]) -> Float64[Tensor, "a b c"] | None:
    """The logits where they follow from those of the clean snapshot without a forward pass."""
    if set(changes) == {sites.LOGITS}:
        return changes[sites.LOGITS](clean.logits)
    neurons = sites.resolve(sites.NEURONS, clean.config)
    is_linear_after = getattr(clean.config, "normalization", "none") == "none" and clean.hook is None
    if set(changes) == {neurons} and is_linear_after:
        return clean.logits + (changes[neurons](clean.neurons) - clean.neurons) @ clean.W_L
    return None
