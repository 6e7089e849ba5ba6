"""The commands that look at what is there: `grokinterp runs` and `grokinterp keys`."""

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from grokinterp.models.architecture import ActFn
from grokinterp.models.kinds.transformer import Sequence
from grokinterp.reprs import reason
from grokinterp.tasks import Operation, operation


@dataclass(frozen=True)
class Runs:
    """List the runs below a folder, and the bundled ones.

    Attributes:
        root: Where to look.
    """

    root: Annotated[Path, tyro.conf.Positional] = Path("runs")

    def run(self) -> None:
        """Print a line for each run."""
        from grokinterp.runs.run import Run, bundled_runs

        if not self.root.is_dir() and self.root != Path("runs"):
            msg = f"there is no folder {self.root}."
            raise FileNotFoundError(msg)
        folders = sorted(path.parent for path in self.root.glob("**/config.json"))
        for name, run in [
            *((str(path), Run(path)) for path in folders),
            *((n, Run(p)) for n, p in bundled_runs().items()),
        ]:
            try:
                print(f"{name}: {run.task.name}, seed {run.config.seed}, {run.state}, {_outcome(run)}")
            except Exception as error:  # The others are listed whatever is wrong with one.
                print(f"{name}: broken: {reason(error)}")


def _outcome(run: Any) -> str:
    """The accuracy of a run, and when it grokked."""
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
        return f"{accuracy}, too few entries to tell whether it has grokked"
    rule = times.grokked.attrs["rule"]
    return f"{accuracy}, " + ("not grokked" if times.is_censored else f"grokked at {times.grokked:.0f}") + f" ({rule})"


@dataclass(frozen=True)
class Keys:
    """Print the key frequencies of a run's last checkpoint, or of weights in a .safetensors or .pt file.

    A run knows its task and its model; for a file of weights give what the weights do not tell.

    Attributes:
        path: The run directory, the name of a bundled run, or a file of weights under TransformerLens' names.
        rule: What makes a frequency key.
        threshold: In place of the rule's own.
        epoch: A checkpoint of a run in place of the last.
        task: For a file: the operation that the model was trained on; default: addition.
        p: For a file: the modulus; default: the number of operand tokens.
        sequence: For a file: the tokens that the model reads; default: `a b =`.
        act_fn: For a file: the activation function; default: relu.
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
        """Print the keys, with spaces between them; if there are none, say so on stderr.

        Raises:
            ValueError: If a flag for files is given with a run, or one for runs with a file.
        """
        from grokinterp.fourier import THRESHOLDS, key_frequencies
        from grokinterp.runs.run import load_run

        is_file = Path(self.path).is_file()
        wrong = ("epoch",) if is_file else ("task", "p", "sequence", "act_fn")
        for name in wrong:
            if getattr(self, name) is not None:
                kind, other = ("a run", "a file of weights") if is_file else ("a file of weights", "a run")
                msg = f"--{name.replace('_', '-')} is for {kind}, and {self.path} is {other}; leave it out."
                raise ValueError(msg)
        snapshot = self._of_file() if is_file else load_run(self.path).snapshot(self.epoch)
        keys = key_frequencies(snapshot, self.rule, self.threshold)
        if keys:
            print(*keys)
            return
        split = "all" if snapshot.is_train is None else "test"
        is_right = snapshot.logits.argmax(dim=-1) == snapshot.task.table
        accuracy = is_right[snapshot.mask(split)].double().mean().item()
        threshold = THRESHOLDS[self.rule] if self.threshold is None else self.threshold
        why = "it has not grokked" if accuracy < 0.5 else "try another --rule or a lower --threshold"
        where = "accuracy over all pairs" if split == "all" else "test accuracy"
        print(
            f"no key frequencies of {snapshot.task.name} by rule {self.rule} at threshold {threshold}; {where} "
            f"{accuracy:.3f}: {why}.",
            file=sys.stderr,
        )

    def _of_file(self) -> Any:
        from grokinterp.importing import load_model

        given = {"sequence": self.sequence, "act_fn": self.act_fn}
        settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if self.task is None and self.p is None:
            return load_model(self.path, **settings)
        with warnings.catch_warnings():
            # Only the number of tokens is asked for.
            warnings.simplefilter("ignore")
            p = load_model(self.path, **settings).task.n_tokens if self.p is None else self.p
        return load_model(self.path, task=operation(self.task or "addition", p), **settings)
