"""The commands `grokinterp runs` and `grokinterp keys`."""

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from grokinterp.arguments import reason
from grokinterp.models.architecture import ActFn
from grokinterp.models.kinds.transformer import Sequence
from grokinterp.tasks import Operation, operation


@dataclass(frozen=True)
class Runs:
    """List the runs below a directory, and the bundled ones.

    Attributes:
        root: The directory to search.
    """

    root: Annotated[Path, tyro.conf.Positional] = Path("runs")

    def run(self) -> None:
        """Print one line per run."""
        from grokinterp.runs.run import Run, bundled_runs

        if not self.root.is_dir() and self.root != Path("runs"):
            msg = f"there is no directory {self.root}."
            raise FileNotFoundError(msg)
        paths = {str(path.parent): path.parent for path in sorted(self.root.glob("**/config.json"))}
        for name, path in [*paths.items(), *bundled_runs().items()]:
            run = Run(path)
            try:
                print(f"{name}: {run.task.name}, seed {run.config.seed}, {run.state}, {_outcome(run)}")
            except Exception as error:  # A broken run must not hide the others.
                print(f"{name}: broken: {reason(error)}")


def _outcome(run: Any) -> str:
    """A run's accuracies and grokking epoch."""
    from grokinterp.phases import grokking_times
    from grokinterp.runs.metrics import last_entry

    if last_entry(run.layout.metrics) is None:
        return "nothing logged yet"
    metrics = run.metrics
    train, test = (metrics.accuracy.isel(epoch=-1).sel(split=split).item() for split in ("train", "test"))
    accuracy = f"train accuracy {train:.3f}, test accuracy {test:.3f}"
    try:
        times = grokking_times(metrics)
    except ValueError:
        return f"{accuracy}, too few metrics entries to detect grokking"
    rule = times.grokked.attrs["rule"]
    return f"{accuracy}, " + ("not grokked" if times.is_censored else f"grokked at {times.grokked:.0f}") + f" ({rule})"


@dataclass(frozen=True)
class Keys:
    """Print the key frequencies of a run's last checkpoint, or of a weight file (.safetensors or .pt).

    A run stores its task and architecture; for a weight file, pass what cannot be read from the weights.

    Attributes:
        path: The run directory, the name of a bundled run, or a weight file with TransformerLens names.
        rule: The rule that selects key frequencies.
        threshold: Threshold of the rule; default: the rule's default.
        epoch: Checkpoint of a run; default: the last.
        task: For a weight file: the operation; default: addition.
        p: For a weight file: the modulus; default: the number of operand tokens.
        sequence: For a weight file: the input sequence; default: `a b =`.
        act_fn: For a weight file: the activation function; default: relu.
    """

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|MODEL")]
    rule: Literal["logits", "neurons", "W_E", "W_L"] = "logits"
    threshold: float | None = None
    epoch: int | None = None
    task: Operation | None = None
    p: int | None = None
    sequence: Sequence | None = None
    act_fn: ActFn | None = None

    def run(self) -> None:
        """Print the key frequencies, separated by spaces; if there are none, say so on stderr.

        Raises:
            ValueError: If a flag for weight files is given with a run, or vice versa.
        """
        from grokinterp.fourier import THRESHOLDS, key_frequencies
        from grokinterp.runs.run import load_run

        is_file = Path(self.path).is_file()
        for name in ("epoch",) if is_file else ("task", "p", "sequence", "act_fn"):
            if getattr(self, name) is not None:
                wanted, given = ("a run", "a weight file") if is_file else ("a weight file", "a run")
                msg = f"--{name.replace('_', '-')} only applies to {wanted}, but {self.path} is {given}; omit it."
                raise ValueError(msg)
        snapshot = self._from_file() if is_file else load_run(self.path).snapshot(self.epoch)
        keys = key_frequencies(snapshot, self.rule, self.threshold)
        if keys:
            print(*keys)
            return
        split = "all" if snapshot.is_train is None else "test"
        is_right = snapshot.logits.argmax(dim=-1) == snapshot.task.table
        accuracy = is_right[snapshot.mask(split)].double().mean().item()
        threshold = THRESHOLDS[self.rule] if self.threshold is None else self.threshold
        why = "the model has not grokked" if accuracy < 0.5 else "try a different --rule or a lower --threshold"
        which = "accuracy over all pairs" if split == "all" else "test accuracy"
        print(
            f"no key frequencies of {snapshot.task.name} by rule {self.rule} at threshold {threshold}; {which} "
            f"{accuracy:.3f}: {why}.",
            file=sys.stderr,
        )

    def _from_file(self) -> Any:
        from grokinterp.importing import load_model

        given = {"sequence": self.sequence, "act_fn": self.act_fn}
        settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if self.task is None and self.p is None:
            return load_model(self.path, **settings)
        with warnings.catch_warnings():
            # Only the number of tokens is needed here.
            warnings.simplefilter("ignore")
            p = load_model(self.path, **settings).task.n_tokens if self.p is None else self.p
        return load_model(self.path, task=operation(self.task or "addition", p), **settings)
