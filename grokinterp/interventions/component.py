"""What is edited: a linear part of the activations at a site, and how to draw a random one of its kind."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from grokinterp.interventions import draws as draws_
from grokinterp.interventions import sites
from grokinterp.snapshots import Snapshot


Part = Callable[[Snapshot, Tensor], Tensor]
"""From a snapshot and what `sites.read` gives of it, or another tensor of that shape, to a part of that tensor."""


def mean_over_pairs(_: Snapshot, x: Tensor) -> Tensor:
    """The mean over all pairs, at each pair: the background of activations [a, b, ...]."""
    return x.mean(dim=(0, 1)).expand_as(x)


@dataclass(frozen=True, kw_only=True, eq=False)
class Component:
    """A part of what a model computes: a head, neurons, a frequency somewhere.

    Attributes:
        name: Such as `frequency(1, 3, at='logits')`.
        site: The hook or the weight where it is edited.
        part: What of the activation it is; linear, and a projection.
        background: What of an activation the fill `mean` leaves: its mean over the pairs, unless a component knows
            better.
        reads: The hook whose activation it is a part of, where that is another than the site's: the stream that goes
            past a block is added to what the block writes, and is edited there.
        others: Draws at most so many different components of the same kind and size, none of which overlaps with it;
            none where there is no such thing.
        is_described: Whether the name says all of it, so that results may be kept under it.

    Examples:
        >>> import torch
        >>> import grokinterp as gi
        >>> class_0 = Component(
        ...     name="class_0",
        ...     site="unembed.hook_out",
        ...     part=lambda snapshot, logits: logits * (torch.arange(7) == 0),
        ... )
        >>> edited = gi.interventions.ablate(class_0)(gi.testing.planted_snapshot(7, keys=(1, 3)))
        >>> edited.logits[:, :, 0].var() < 1e-9 < edited.logits[:, :, 1].var()
        tensor(True)
    """

    name: str
    site: str
    part: Part = field(repr=False)
    background: Part = field(default=mean_over_pairs, repr=False)
    reads: str | None = field(default=None, repr=False)
    others: "Draw" = field(default=lambda snapshot, draws, rng: [], repr=False)
    is_described: bool = field(default=False, repr=False)

    def whole(self, snapshot: Snapshot, x: Tensor) -> Tensor:
        """What it is a part of, in a snapshot whose activation at the site is x."""
        return x if self.reads is None else sites.read(snapshot, self.reads)

    def beside(self, snapshot: Snapshot, x: Tensor) -> Tensor:
        """What is at the site without the component."""
        # What a block writes is all that is beside the stream that goes past it.
        return x - self.part(snapshot, x) if self.reads is None else x


Draw = Callable[[Snapshot, int, np.random.Generator], list[Component]]
"""From a snapshot, how many, and a source of chance to that many components, or fewer where there are no more."""


def draw_others(
    what: str,
    pool: Callable[[Snapshot], Sequence[int]],
    taken: Callable[[Snapshot], Iterable[int]],
    make: Callable[[tuple[int, ...]], Component],
) -> Draw:
    """The `others` of a component that is some numbers of a pool: as many that are not among them.

    Args:
        what: The plural of what the numbers are of, for an error.
        pool: All numbers there are.
        taken: Those of the component.
        make: A component of other numbers.

    Returns:
        What draws them; it raises a ValueError where fewer are left than were taken.
    """

    def draw(snapshot: Snapshot, draws: int, rng: np.random.Generator) -> list[Component]:
        own = set(taken(snapshot))
        left = [i for i in pool(snapshot) if i not in own]
        if len(left) < len(own):
            msg = f"a control needs {len(own)} other {what}, got {len(left)}; take fewer."
            raise ValueError(msg)
        return [make(numbers) for numbers in draws_.subsets(left, len(own), draws, rng)]

    return draw
