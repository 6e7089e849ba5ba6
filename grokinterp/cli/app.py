"""The command `grokinterp`: train, sweep, analyze, report, and list runs and key frequencies."""

import inspect
import json
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import tyro

from grokinterp import presets
from grokinterp.cli.inspect import Keys, Runs
from grokinterp.cli.parsing import parse, unknown_flag, unknown_word, warnings_in_one_line
from grokinterp.cli.sweep import Sweep, parse_sweep
from grokinterp.config import RunConfig, from_dict, to_dict
from grokinterp.runs.layout import Layout, RunError


# Exit codes: 0 success, 1 failure, 2 invalid command line or config.
FAILED, REFUSED = 1, 2


@dataclass(frozen=True)
class Train:
    """Train a model into a run directory, or resume the run that is in it.

    A preset's values are the defaults of the flags. With `--config FILE` instead of a preset, the defaults come from a
    JSON file, e.g. the output of `grokinterp config PRESET` or a run's config.json.

    Attributes:
        config: The config.
        out: The run directory.
        quiet: Show no progress bar.
    """

    config: Annotated[RunConfig, tyro.conf.arg(name="")]
    out: Path
    quiet: bool = False

    def run(self) -> None:
        """Train, and print the run directory with its final loss and accuracy."""
        from grokinterp.training.loop import train

        before = Layout(self.out).checkpoint_epochs()
        run = train(self.config, self.out, progress=not self.quiet)
        if run.checkpoint_epochs == before:
            print(f"nothing to do: --epochs is {self.config.epochs}, and the run is already at epoch {before[-1]}.")
        last = run.metrics.isel(epoch=-1)
        loss, accuracy = (last[name].sel(split="test").item() for name in ("loss", "accuracy"))
        print(f"{run.path}: epoch {int(last.epoch)}, test loss {loss:.3g}, test accuracy {accuracy:.3f}")


@dataclass(frozen=True)
class Analyze:
    """Measure every checkpoint of a run, and print the findings. Measures are cached in the run's analysis/ directory.

    Attributes:
        path: The run directory, or the name of a bundled run.
        quiet: Show no progress bar.
    """

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    quiet: bool = False

    def run(self) -> None:
        """Measure, and print the findings."""
        from grokinterp.report import summary
        from grokinterp.runs.run import load_run

        print("\n".join(summary(load_run(self.path), progress=not self.quiet)))


@dataclass(frozen=True)
class Report:
    """Write a run's report, a self-contained HTML page.

    Attributes:
        path: The run directory, or the name of a bundled run.
        out: The page; default: report.html in the run directory, or in the current directory for a bundled run.
        quiet: Show no progress bar.
    """

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    out: Path | None = None
    quiet: bool = False

    def run(self) -> None:
        """Write the page, and print its path."""
        from grokinterp.report import write
        from grokinterp.runs.run import load_run

        print(write(load_run(self.path), self.out, progress=not self.quiet).resolve())


@dataclass(frozen=True)
class Reproduce:
    """Check every claim of a paper on a run, and print which hold. Exit code 1 if a firm claim fails.

    A claim is firm if the reruns of the paper's recipe agree with its published value.

    Attributes:
        paper: Paper to reproduce, e.g. nanda2023.
        path: The run directory, or the name of a bundled run; default: the bundled run of the paper. `train` first
            trains the paper's run to completion, into runs/PAPER.
        out: Where to write the dossier, a page with every claim and figure.
    """

    paper: Annotated[str, tyro.conf.arg(metavar="PAPER"), tyro.conf.Positional]
    path: Annotated[str | None, tyro.conf.arg(name="run", metavar="RUN|train")] = None
    out: Path | None = None

    def run(self) -> None:
        """Print one line per claim that does not hold, and the counts.

        Raises:
            ValueError: If there is no paper of this name.
            RunError: If a firm claim fails.
        """
        from grokinterp.papers import dossier
        from grokinterp.papers.paper import find_paper
        from grokinterp.runs.run import load_run
        from grokinterp.training.loop import train

        paper = find_paper(self.paper)
        if self.path == "train":
            run = train(paper.config(), Path("runs") / paper.name)
        else:
            run = load_run(self.path or paper.name)
        results = dossier.reproduce(run, self.out, paper=paper)
        for result in results:
            if result.verdict in ("fails", "differs"):
                row = dossier.row(result)
                print(f"{result.claim.id}: {row.verdict}, published {row.published}, measured {row.ours}")
        for label, count in dossier.tiles(results).items():
            print(f"{label}: {count}")
        if self.out is not None:
            print(self.out.resolve())
        failed = [result.claim.id for result in results if result.verdict == "fails"]
        if failed:
            msg = f"{len(failed)} firm claims fail: {', '.join(failed)}."
            raise RunError(msg)


@dataclass(frozen=True)
class Config:
    """Print a preset's config as JSON, to edit and pass to `grokinterp train --config`.

    Attributes:
        preset: The preset's name.
    """

    preset: Annotated[
        Literal["nanda2023", "quick", "power2022", "mlp_onehot", "transformer_lens_demo"], tyro.conf.Positional
    ]

    def run(self) -> None:
        """Print the JSON."""
        print(json.dumps(to_dict(presets.PRESETS[self.preset]()), indent=2))


COMMANDS: dict[str, type] = {
    command.__name__.lower(): command for command in (Train, Sweep, Analyze, Report, Reproduce, Runs, Keys, Config)
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; an error is one line on stderr, with a traceback only under `--debug`.

    Args:
        argv: The arguments; default: `sys.argv[1:]`.

    Returns:
        The exit code: 0 success, 1 failure or interruption, 2 invalid command line or config.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    if args == ["--version"]:
        print(f"grokinterp {version('grokinterp')}")
        return 0
    is_debug = "--debug" in args
    if is_debug:
        args.remove("--debug")
    try:
        with warnings_in_one_line():
            _parse(args)()
    except KeyboardInterrupt as error:
        print(f"grokinterp: {error or 'interrupted'}", file=sys.stderr)
        return FAILED
    except (RuntimeError, OSError, ImportError, ValueError, TypeError, KeyError) as error:
        if is_debug:
            traceback.print_exc()
        text = error.args[0] if isinstance(error, KeyError) else error
        if isinstance(error, RuntimeError) and not isinstance(error, RunError):
            # torch's errors, e.g. a full GPU or a missing compiler: the first paragraph names the cause.
            text = f"{type(error).__name__}: {str(error).strip().partition(chr(10) * 2)[0]} (`--debug` shows where)"
        print(f"grokinterp: {' '.join(str(text).split())}", file=sys.stderr)
        return REFUSED if isinstance(error, (ValueError, TypeError)) else FAILED
    return 0


def _parse(args: list[str]) -> Callable[[], None]:
    """The command for the arguments, ready to run."""
    name, rest = (args[0], args[1:]) if args else ("", [])
    if name == "train":
        return _parse_train(rest)
    if name == "sweep":
        return parse_sweep(rest)
    if name in COMMANDS:
        return parse(COMMANDS[name], rest, f"grokinterp {name}").run
    if name in ("", "-h", "--help"):
        _help(COMMANDS, prog="grokinterp", description=__doc__ or "")
    if name.startswith("-"):
        raise unknown_flag(name, ("--version", "--help"), "grokinterp")
    raise unknown_word(name, COMMANDS, "the first argument must be a command", "grokinterp")


def _help(choices: Mapping[str, object], *, prog: str, description: str) -> NoReturn:
    """Print tyro's help page and exit."""
    subcommands = {name: _help_only(choice) for name, choice in choices.items()}
    tyro.extras.subcommand_cli_from_dict(subcommands, args=["--help"], prog=prog, description=description)
    raise SystemExit(0)


def _help_only(command: object) -> Callable[[], None]:
    """A function that only has the description of a command."""

    def described() -> None: ...

    described.__doc__ = _description(command)
    return described


def _description(command: object) -> str:
    """A docstring without its sections."""
    text, *_ = re.split(r"\n\s*\n\s*(?:Attributes|Source):", command.__doc__ or "")
    return inspect.cleandoc(text)


def _parse_train(args: list[str]) -> Callable[[], None]:
    """`train PRESET` or `train --config FILE`, with one flag per config field."""
    args = [part for arg in args for part in (arg.split("=", 1) if arg.startswith("--config=") else [arg])]
    if args and args[0] in presets.PRESETS:
        name, config, rest = args[0], presets.PRESETS[args[0]](), args[1:]
    elif "--config" in args:
        at = args.index("--config")
        if at + 1 == len(args):
            msg = "--config needs a JSON file, e.g. the output of `grokinterp config PRESET`."
            raise ValueError(msg)
        name, config, rest = "--config FILE", _read_config(Path(args[at + 1])), args[:at] + args[at + 2 :]
    elif args and args[0] in ("-h", "--help"):
        text = f"{_description(Train)}\n\n`grokinterp train PRESET --help` lists the flags."
        _help(presets.PRESETS, prog="grokinterp train", description=text)
    else:
        wanted = "the first argument of train must be --config FILE or a preset"
        raise unknown_word(args[0] if args else "", presets.PRESETS, wanted, "grokinterp train")

    def ready(
        config: Annotated[RunConfig, tyro.conf.arg(name="")] = config, *, out: Path, quiet: bool = False
    ) -> Train:
        return Train(config=config, out=out, quiet=quiet)

    ready.__doc__ = Train.__doc__
    # The preset determines the kind of model.
    return parse(ready, rest, f"grokinterp train {name}", config=(tyro.conf.AvoidSubcommands,)).run


def _read_config(path: Path) -> RunConfig:
    if not path.exists():
        msg = f"there is no config file {path}."
        raise FileNotFoundError(msg)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"could not parse {path} as JSON: {error}."
        raise ValueError(msg) from None
    # A run's config.json contains the config along with the environment.
    config = data["config"] if isinstance(data, dict) and "made_by" in data else data
    # A file from before the field `aids` was renamed also has another meaning of `loss.dtype`.
    is_older = isinstance(config, dict) and "aids" in config
    return from_dict(RunConfig, RunConfig.upgraded(config) if is_older else config)
