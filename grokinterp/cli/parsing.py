"""Parsing with tyro, with one-line errors that suggest the nearest flag and name the help page."""

import contextlib
import io
import itertools
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import tyro

from grokinterp.arguments import nearest


def parse(command: Callable[..., Any], args: list[str], prog: str, **settings: Any) -> Any:
    """The result of `tyro.cli` for a command and its arguments.

    Args:
        command: A dataclass or a function, whose fields or parameters are the flags.
        args: The arguments after `prog`.
        prog: The command's name, for messages and its help page.
        **settings: Passed to `tyro.cli`.

    Raises:
        ValueError: If a flag is unknown or a value is invalid.
        SystemExit: After printing the help page.
    """
    page = io.StringIO()
    settings["registry"] = _registry()
    try:
        with contextlib.redirect_stderr(page):
            return tyro.cli(command, args=args, prog=prog, **settings)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
    known = _flags(command, prog, **settings)
    for word in args:
        if word.startswith("--") and _name(word) not in known:
            raise unknown_flag(word, known, prog)
    msg = f"{_first_words(page.getvalue())} `{prog} --help` says more."
    raise ValueError(msg)


def unknown_flag(word: str, flags: Iterable[str], prog: str) -> ValueError:
    """The error for an unknown flag; it suggests the flag whose last part is spelled most alike."""
    part, _, last = _name(word).removeprefix("--").rpartition(".")
    # If several flags share their last part, the one with the fewest dots is last and wins.
    known = sorted(flags, key=lambda flag: flag.count("."), reverse=True)
    of_part = [flag for flag in known if part and flag.startswith(f"--{part}.")]
    by_last = {flag.removeprefix("--").rpartition(".")[2]: flag for flag in of_part or known}
    near = nearest(last, list(by_last), cutoff=0.6)
    suggestion = "" if near is None else f"; did you mean {by_last[near]}?"
    return ValueError(f"there is no flag {_name(word)}{suggestion or '.'} `{prog} --help` lists the flags.")


def unknown_word(word: str, choices: Iterable[str], wanted: str, prog: str) -> ValueError:
    """The error for an unknown first argument; it suggests the nearest valid one."""
    known = list(choices)
    near = nearest(word, known, cutoff=0.6)
    suggestion = "" if near is None else f"; did you mean {near!r}?"
    got = repr(word) if word else "nothing"
    return ValueError(f"{wanted} ({', '.join(known)}), got {got}{suggestion or '.'} `{prog} --help` says more.")


@contextlib.contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Print warnings like errors, without the source line that raised them."""
    shown_before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"grokinterp: {' '.join(str(message).split())}\n"
    try:
        yield
    finally:
        warnings.formatwarning = shown_before


def _registry() -> tyro.constructors.ConstructorRegistry:
    """Literal flags that accept any string: the config's own check then suggests the nearest choice."""
    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule
    def _(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec[str] | None:
        parts = [part for part in get_args(info.type) if part is not NoneType]
        kind = parts[0] if get_origin(info.type) in (Union, UnionType) and len(parts) == 1 else info.type
        if get_origin(kind) is not Literal:
            return None
        choices: tuple[str, ...] = get_args(kind)
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar=f"{{{','.join(choices)}}}",
            instance_from_str=lambda words: words[0],
            is_instance=lambda value: value in choices or (value is None and kind is not info.type),
            str_from_instance=lambda value: [str(value)],
        )

    return registry


def _flags(command: Callable[..., Any], prog: str, **settings: Any) -> list[str]:
    """The flags listed on a command's help page."""
    page = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(page):
        tyro.cli(command, args=["--help"], prog=prog, **settings)
    return re.findall(r"(?<![\w-])--[a-z][\w.-]*", page.getvalue())


def _name(word: str) -> str:
    """The flag in `--flag=value`, spelled as on help pages."""
    return word.partition("=")[0].replace("_", "-")


def _first_words(box: str) -> str:
    """The first sentence of tyro's boxed error message, as one line."""
    said = itertools.takewhile(lambda line: "───" not in line, box.splitlines()[1:])
    text = " ".join(" ".join(line.strip("│ ") for line in said).split())
    text = re.sub(r"^Error parsing (config\S*: )?", "", text.partition(" Got errors")[0])
    return text if text.endswith("?") else f"{text.rstrip('.')}."
