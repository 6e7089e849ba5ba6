"""The command `grokinterp sweep`: many runs, with any number of values per config field."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import tyro

from grokinterp import presets
from grokinterp.arguments import integer
from grokinterp.cli.parsing import parse, unknown_flag, unknown_word
from grokinterp.config import RunConfig, to_dict
from grokinterp.runs.layout import RunError
from grokinterp.runs.manifest import flat


@dataclass(frozen=True)
class Sweep:
    """Train many runs, each in its own directory, or resume them.

    `grokinterp sweep PRESET --optim.weight-decay 0.5 1.0 --seed 0..4 --out DIR`: any flag of `grokinterp train
    PRESET` takes one or more values, and integers also ranges with both ends included. Some presets are sweeps, e.g.
    `mlp_decay`. `grokinterp sweep FILE.toml` reads a preset, changes and axes from a file. Finished runs are skipped.
    On Ctrl-C each run writes a checkpoint, and the same command resumes. Exit code 1 if a run failed.

    Attributes:
        out: The sweep directory, which also gets summary.json and summary.csv.
        workers: Number of processes, with one torch thread each; default: one run after another in this process.
        scheduler: Address of a dask scheduler, whose workers share the file system, instead of processes.
        quiet: Show no progress bar.
        spec: The configs, from the other arguments.
    """

    out: Path
    workers: int | None = None
    scheduler: str | None = None
    quiet: bool = False
    spec: Annotated[Any, tyro.conf.Suppress] = None

    def run(self) -> None:
        """Sweep, and print the summary.

        Raises:
            RunError: If a run failed.
            ValueError: If both processes and a scheduler are given.
        """
        from grokinterp import sweeps

        if self.workers is not None:
            integer(self.workers, "--workers", minimum=1)
        if self.workers is not None and self.scheduler is not None:
            msg = "--workers starts processes here, and --scheduler has its own workers; omit one of them."
            raise ValueError(msg)
        configs = self.spec.configs()
        with nullcontext(self.workers) if self.scheduler is None else sweeps.dask_executor(self.scheduler) as executor:
            done = sweeps.sweep(configs, self.out, executor, progress=not self.quiet)
        summary = self.out / "summary.json"
        print(sweeps.format_summary(json.loads(summary.read_text(encoding="utf-8"))))
        for path, error in done.failed.items():
            print(f"{path}: {error}")
        print(summary)
        if done.failed:
            total = len(done.failed) + len(done.runs)
            msg = f"{len(done.failed)} of {total} runs failed; fix this, then rerun the command."
            raise RunError(msg)


# The command's flags; all others belong to the config.
_COMMAND_FLAGS: Final = ("out", "workers", "scheduler", "quiet", "no-quiet")


def parse_sweep(args: list[str]) -> Callable[[], None]:
    """`sweep PRESET` or `sweep FILE.toml`, with one flag per config field, each taking one or more values.

    Args:
        args: Command-line arguments after `sweep`.

    Returns:
        The command, ready to run.

    Raises:
        ValueError: If neither a preset nor a file is given, or a flag or value is invalid.
        FileNotFoundError: If there is no such file.
    """
    from grokinterp.sweeps import SWEEPS, read_spec
    from grokinterp.sweeps.spec import SweepSpec, values_of

    what, flags = (args[0], args[1:]) if args else ("", [])
    if what in ("-h", "--help"):
        _show_help("PRESET|FILE.toml", presets.quick())
    if what in SWEEPS:
        spec = SWEEPS[what]()
    elif what in presets.PRESETS:
        spec = SweepSpec(config=presets.PRESETS[what]())
    elif what.endswith(".toml"):
        spec = read_spec(what)
    else:
        wanted = "the first argument of sweep must be a FILE.toml or a preset"
        raise unknown_word(what, [*SWEEPS, *presets.PRESETS], wanted, "grokinterp sweep")
    if {"-h", "--help"} & {*flags}:
        _show_help(what, spec.config)
    own, of_config = _split(flags)
    known = flat(to_dict(spec.config))
    for name in of_config:
        # A whole section is valid too; its values are checked with the others.
        if not any(f"{field}.".startswith(f"{_without_no(name)}.") for field in known):
            flags = [f"--{field.replace('_', '-')}" for field in (*known, *_COMMAND_FLAGS)]
            flag = f"--{name}"
            raise unknown_flag(flag, flags, f"grokinterp sweep {what}")
    command = parse(Sweep, own, f"grokinterp sweep {what}")
    given = dict(_boolean(name, words, spec.config) for name, words in of_config.items())
    spec = spec.varied({name: values_of(*words) for name, words in given.items()})
    return replace(command, spec=spec).run


def _split(flags: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """The command's arguments unchanged, and the config's values by dotted field name."""
    own: list[str] = []
    of_config: dict[str, list[str]] = {}
    target = own
    for word in flags:
        flag, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or flag in _COMMAND_FLAGS:
            target = target if flag == word else own
            target.append(word)
        else:
            target = of_config[flag.replace("-", "_")] = [value] if equals else []
    return own, of_config


def _boolean(name: str, words: list[str], config: RunConfig) -> tuple[str, list[str]]:
    """A boolean flag without a value is true, or false if its name starts with no."""
    if words:
        return name, words
    switch = _without_no(name)
    values = [value for field, value in flat(to_dict(config)).items() if f"{field}.".startswith(f"{switch}.")]
    if not all(isinstance(value, bool) for value in values):
        msg = f"--{name.replace('_', '-')} needs at least one value, got none."
        raise ValueError(msg)
    return switch, ["true" if switch == name else "false"]


def _without_no(name: str) -> str:
    part, dot, last = name.rpartition(".")
    return f"{part}{dot}{last.removeprefix('no_')}"


def _show_help(what: str, config: RunConfig) -> NoReturn:
    """Print tyro's help page for the flags of the command and of the config, and exit."""

    def ready(
        config: Annotated[RunConfig, tyro.conf.arg(name="")] = config,
        *,
        out: Path,
        workers: int | None = None,
        scheduler: str | None = None,
        quiet: bool = False,
    ) -> None: ...

    ready.__doc__ = Sweep.__doc__
    tyro.cli(ready, args=["--help"], prog=f"grokinterp sweep {what}", config=(tyro.conf.AvoidSubcommands,))
    raise SystemExit(0)
