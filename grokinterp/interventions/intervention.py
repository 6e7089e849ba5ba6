"""Interventions: edits of activations or weights, applied to a snapshot or a TransformerLens model."""

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
from grokinterp.models.architecture import HOOK_LOGITS, chain
from grokinterp.snapshots import Snapshot, as_snapshot


Edit = Callable[[Snapshot, Tensor], Tensor]
"""Maps the unedited snapshot and the value at a site to its replacement."""

Side = Literal["greater", "less", "both"]
"""The losses that count as extreme: greater, smaller, or farther from the unedited model's loss."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Intervention:
    """Edits of a model, each at one site. Called with a model, it returns the edited Snapshot.

    Attributes:
        name: Name, e.g. `ablate(frequency(1, 3, at='logits'), fill='mean')`.
        edits: Edits by site. Activations are [a, b, ...] at '='; the edit of `unembed.W_U` must be linear in each row.
        sample_null: Samples up to a given number of distinct interventions of the same kind on random components of the
            same size; default: no interventions.
        side: The losses that count as extreme under the null distribution.
        cacheable: True if the name determines the intervention, so that results can be cached under it.

    Examples:
        >>> import grokinterp as gi
        >>> without_3 = gi.interventions.ablate(gi.interventions.frequency(3))
        >>> gi.fourier.key_frequencies(without_3(gi.testing.planted_snapshot(7, keys=(1, 3))))
        (1,)
    """

    name: str
    edits: Mapping[str, Edit] = field(repr=False)
    sample_null: Callable[[Snapshot, int, np.random.Generator], list["Intervention"]] = field(
        default=lambda snapshot, draws, rng: [], repr=False
    )
    side: Side = field(default="greater", repr=False)
    cacheable: bool = field(default=False, repr=False)

    @torch.no_grad()
    def __call__(self, model: object) -> Snapshot:
        """The edited model.

        Args:
            model: A Snapshot, which may already be edited, or a TransformerLens model.

        Returns:
            A snapshot with edited weights or a hook.

        Raises:
            ValueError: If the model does not have the component; at the latest when the edited snapshot is read.
        """
        clean = as_snapshot(model)
        changes = {sites.resolve(site, clean.config): partial(edit, clean) for site, edit in self.edits.items()}
        of_weights = {site: changes.pop(site) for site in sites.WEIGHTS if site in changes}
        hooks = dict(sites.hook(clean, *change) for change in changes.items())

        def edit_activation(name: str, activation: Tensor) -> Tensor:
            return hooks[name](activation) if name in hooks else activation

        hook = chain(clean.hook, edit_activation) if hooks else clean.hook
        edited = replace(clean, params=sites.write_weights(clean, of_weights), hook=hook)
        logits = None if of_weights else _closed_form(clean, changes)
        if logits is not None:
            vars(edited)["logits"] = logits  # fills the cached property, which saves a forward pass
        return edited

    @contextmanager
    def on(self, model: Any) -> Iterator[Any]:
        """The edited model, as a context manager.

        Args:
            model: A Snapshot, for which an edited snapshot is returned; or a TransformerLens model, which gets hooks
                inside the block and must read all pairs in order. It must know its task, like `run.model()`, or compute
                addition; for a different task, use `fwd_hooks`.

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
        """The edits as hooks for a TransformerLens model's `run_with_hooks` or `hooks`.

        Args:
            snapshot: Snapshot of that model, with its task. If it is already edited, its own hook is included.

        Returns:
            Hook names and functions of (activation, hook). The model must read `snapshot.tokens`.

        Raises:
            ValueError: If the model does not have the component; when the model runs, if it reads a different batch.

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
        own_hook, names = snapshot.hook, snapshot.config.hook_names()
        own = [] if own_hook is None else [_as_hook(name, partial(own_hook, name)) for name in names]
        # The order of an edited snapshot: weights first, then its own hook, then these activations.
        return of_weights + own + of_activations


def as_intervention(intervention: object) -> Intervention:
    """The argument, checked to be an Intervention.

    Raises:
        TypeError: If it is not, e.g. a component without an operation.
    """
    if not isinstance(intervention, Intervention):
        msg = f"the argument must be an intervention such as ablate(head(0)), got {shown(intervention)}."
        raise TypeError(msg)
    return intervention


def run_with_hooks(intervention: Intervention, model: Any) -> Float64[Tensor, "a b c"]:
    """The logits of a TransformerLens model under an intervention, computed by its own `run_with_hooks`.

    Args:
        intervention: The intervention.
        model: A TransformerLens model that knows its task or computes addition; or a Snapshot, for which its
            TransformerLens model is built.

    Returns:
        The logits at '=' for every pair, without the class '='; equal to `intervention(model).logits` up to rounding.

    Raises:
        ValueError: If the model does not have the component, or has no TransformerLens equivalent.

    Examples:
        >>> import grokinterp as gi
        >>> task = gi.tasks.operation("addition", 7)
        >>> config = gi.TransformerConfig(d_model=16, n_heads=2, d_head=8, d_mlp=24)
        >>> params = config.initial_params(task, seed=0)
        >>> snap = gi.Snapshot(params=params, config=config, task=task)
        >>> without_head_1 = gi.interventions.ablate(gi.interventions.head(1))
        >>> logits = run_with_hooks(without_head_1, snap)
        >>> bool((logits - without_head_1(snap).logits).abs().max() < 1e-5)
        True
    """
    snapshot = as_snapshot(model)
    tl_model = lens.to_transformer_lens(snapshot.params, snapshot.config) if isinstance(model, Snapshot) else model
    tokens = snapshot.tokens.to(next(tl_model.parameters()).device)
    with torch.no_grad():
        logits = tl_model.run_with_hooks(tokens, fwd_hooks=intervention.fwd_hooks(snapshot))
    logits = snapshot.config.at_answer(HOOK_LOGITS, logits)
    return logits[:, : snapshot.task.n_outputs].cpu().double().unflatten(0, snapshot.task.shape)


def _as_hook(name: str, change: sites.Change) -> tuple[str, Callable[..., Tensor]]:
    return name, lambda activation, hook: change(activation)


def _closed_form(clean: Snapshot, changes: dict[str, sites.Change]) -> Float64[Tensor, "a b c"] | None:
    """The edited logits, if they follow from the clean snapshot without a forward pass."""
    if set(changes) == {sites.LOGITS}:
        return changes[sites.LOGITS](clean.logits)
    neurons = sites.resolve(sites.NEURONS, clean.config)
    is_linear_after = getattr(clean.config, "normalization", "none") == "none" and clean.hook is None
    if set(changes) == {neurons} and is_linear_after:
        return clean.logits + (changes[neurons](clean.neurons) - clean.neurons) @ clean.W_L
    return None
