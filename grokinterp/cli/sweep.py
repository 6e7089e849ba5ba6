"""The command `grokinterp sweep`: many runs, each field of the config with as many values as one likes."""

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
    """Train many runs, each in a directory of its own, or go on with them.

    `grokinterp sweep PRESET --optim.weight-decay 0.5 1.0 --seed 0..4 --out DIR`: any flag of `grokinterp train
    PRESET` may have several values, and whole numbers a range with both ends. Some presets are sweeps themselves, such
    as `mlp_decay`. `grokinterp sweep FILE.toml` reads a preset, changes and axes from a file. Finished runs are
    skipped; Ctrl-C lets each run write a checkpoint, and the same command goes on. Exit code 1 if a run failed.

    Attributes:
        out: The folder of the runs; summary.json and summary.csv come to lie in it.
        workers: Processes, each with one torch thread; default: one run after another in this one.
        scheduler: Address of a dask scheduler, whose workers share the file system, in place of processes.
        quiet: Show no progress bar.
        plan: Over what; the other flags and words say it.
    """

    out: Path
    workers: int | None = None
    scheduler: str | None = None
    quiet: bool = False
    plan: Annotated[Any, tyro.conf.Suppress] = None

    def run(self) -> None:
        """Sweep, and print what came out.

        Raises:
            RunError: If a run failed.
            ValueError: If both processes and a scheduler are asked for.
        """
        from grokinterp import sweeps

        if self.workers is not None:
            integer(self.workers, "--workers", minimum=1)
        if self.workers is not None and self.scheduler is not None:
            msg = "--workers are processes of this machine, --scheduler has its own workers; leave one of them out."
            raise ValueError(msg)
        configs = self.plan.configs()
        with nullcontext(self.workers) if self.scheduler is None else sweeps.dask_executor(self.scheduler) as executor:
            done = sweeps.sweep(configs, self.out, executor, progress=not self.quiet)
        summary = self.out / "summary.json"
        print(sweeps.format_summary(json.loads(summary.read_text(encoding="utf-8"))))
        for path, error in done.failed.items():
            print(f"{path}: {error}")
        print(summary)
        if done.failed:
            msg = f"{len(done.failed)} of {len(done.failed) + len(done.runs)} runs failed; mend that, and sweep again."
            raise RunError(msg)


# Flags of the command itself; all others are the config's.
_OWN: Final = ("out", "workers", "scheduler", "quiet", "no-quiet")


def parse_sweep(args: list[str]) -> Callable[[], None]:
    """`sweep PRESET` or `sweep FILE.toml`, every field of the config a flag with one or several values.

    Args:
        args: What follows `sweep`.

    Returns:
        The command, ready to run.

    Raises:
        ValueError: If there is neither, or a flag or its values cannot be.
        FileNotFoundError: If there is no such file.
    """
    from grokinterp.sweeps import SWEEPS, read_spec
    from grokinterp.sweeps.spec import SweepSpec, values_of

    what, flags = (args[0], args[1:]) if args else ("", [])
    if what in ("-h", "--help"):
        _show_help("PRESET|FILE.toml", presets.quick())
    if what in SWEEPS:
        plan = SWEEPS[what]()
    elif what in presets.PRESETS:
        plan = SweepSpec(config=presets.PRESETS[what]())
    elif what.endswith(".toml"):
        plan = read_spec(what)
    else:
        raise unknown_word(
            what, [*SWEEPS, *presets.PRESETS], "sweep needs first a FILE.toml or a preset", "grokinterp sweep"
        )
    if {"-h", "--help"} & {*flags}:
        _show_help(what, plan.config)
    own, of_config = _apart(flags)
    known = flat(to_dict(plan.config))
    for name in of_config:
        # A part as a whole is known too; its values are checked with the others.
        if not any(f"{field}.".startswith(f"{_without_no(name)}.") for field in known):
            flags = [f"--{field.replace('_', '-')}" for field in (*known, *_OWN)]
            flag = f"--{name}"
            raise unknown_flag(flag, flags, f"grokinterp sweep {what}")
    command = parse(Sweep, own, f"grokinterp sweep {what}")
    given = dict(_switched(name, words, plan.config) for name, words in of_config.items())
    plan = plan.varied({name: values_of(*words) for name, words in given.items()})
    return replace(command, plan=plan).run


def _apart(flags: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """The command's own flags as they are, and the config's with their values, by dotted name."""
    own: list[str] = []
    of_config: dict[str, list[str]] = {}
    place = own
    for word in flags:
        flag, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or flag in _OWN:
            place = place if flag == word else own
            place.append(word)
        else:
            place = of_config[flag.replace("-", "_")] = [value] if equals else []
    return own, of_config


def _switched(name: str, words: list[str], config: RunConfig) -> tuple[str, list[str]]:
    """A flag without a value switches something on, or off if its name says no."""
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
    """End in tyro's help: the flags of the command and of the config."""

    def ready(
        config: Annotated[RunConfig, tyro.conf.arg(name="")] = config,
        *,
        out: Path,
        workers: int | None = None,
        scheduler: str | None = None,
        quiet: bool = False,
    ) -> None:
        """Only its flags are read."""

    ready.__doc__ = Sweep.__doc__
    tyro.cli(ready, args=["--help"], prog=f"grokinterp sweep {what}", config=(tyro.conf.AvoidSubcommands,))
    raise SystemExit(0)
