"""Train reruns of the paper's run: from its seed with different floating-point rounding, and from other seeds.

    python examples/rerun_paper.py runs/reruns
    python examples/rerun_paper.py runs/reruns "kernels" "seed 1"      # only these

Each rerun is a run directory under the given path. Run the command again to resume what was stopped; several processes
may share the path. Reruns from the paper's seed start from equal weights up to one float32 spacing, or add the same
numbers in a different order.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

import grokinterp as gi
from grokinterp.models.architecture import Params
from grokinterp.runs.layout import Layout, RunBusyError
from grokinterp.runs.lock import Start
from grokinterp.training.dataset import build_training_set
from grokinterp.training.learner import Learner
from grokinterp.training.loop import open_trainer


def no_perturbation(params: Params) -> Params:
    return params


def by_row(learner: Learner) -> None:
    """Order the training pairs by a and then by b; the library orders them by b and then by a."""
    a, b, _ = learner.train_pairs
    order = torch.argsort(a * len(learner.params["embed.W_E"]) + b)
    a, b, answers = (x[order] for x in learner.train_pairs)
    learner.train_pairs = (a, b, answers)


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """One rerun.

    Attributes:
        differs: How it differs from the bundled run.
        changes: Changes of the paper's config.
        perturb: Changes the initial parameters.
        prepare: Changes the learner before training.
    """

    differs: str
    changes: dict[str, object]
    perturb: Callable[[Params], Params] = no_perturbation
    prepare: Callable[[Learner], None] = lambda _: None


def perturbed(row: int) -> Rerun:
    def perturb(params: Params) -> Params:
        W_E = params["embed.W_E"].clone()
        W_E[row, row] = torch.nextafter(W_E[row, row], torch.tensor(torch.inf))
        return params | {"embed.W_E": W_E}

    return Rerun(differs=f"W_E[{row}, {row}] is one float32 spacing larger at first", changes={}, perturb=perturb)


RERUNS = {
    "kernels": Rerun(differs="engine 'kernels', one thread", changes={}),
    "factored": Rerun(differs="engine 'factored', one thread", changes={"engine": "factored"}),
    "factored by row": Rerun(
        differs="engine 'factored', one thread, training pairs in the order of a",
        changes={"engine": "factored"},
        prepare=by_row,
    ),
    **{f"weight {row}": perturbed(row) for row in range(9)},
    **{f"seed {seed}": Rerun(differs=f"seed {seed}", changes={"seed": seed}) for seed in range(1, 7)},
}


def train(name: str, path: Path) -> None:
    """Train one rerun to its last epoch, or resume it."""
    rerun = RERUNS[name]
    config = replace(gi.presets.nanda2023(), **rerun.changes)
    task, start = config.task.build(), None
    if not Layout(path).config.exists():
        params = rerun.perturb(config.model.initial_params(task, seed=config.seed))
        start = Start(training_set=build_training_set(config, task), params=params)
    with open_trainer(config, path, start=start) as trainer:
        if trainer is not None:
            rerun.prepare(trainer.learner)
            trainer.fit(progress=True)


def main() -> None:
    root = Path(sys.argv[1])
    torch.set_num_threads(1)
    for name in sys.argv[2:] or RERUNS:
        try:
            train(name, root / name.replace(" ", "_"))
        except RunBusyError:
            print(f"{name} is being trained by another process.")


if __name__ == "__main__":
    main()
