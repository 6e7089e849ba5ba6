"""Damages the files of small runs and reads and trains them, in a process of its own, since a crash would end it.

`python damage_process.py FOLDER EVERY` prints a line of JSON for each damage: its name, and what went wrong, if
anything. Of all damages it does every so manieth, beside those that have crashed the interpreter before.
"""

import hashlib
import json
import os
import random
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import grokinterp as gi
from grokinterp.config import change
from grokinterp.runs.layout import RunError
from grokinterp.runs.tensors import read_tensors, write_tensors


Damage = Callable[[Path], object]
EPOCHS = 6
FILES = (
    "config.json",
    "task.safetensors",
    "split.safetensors",
    "metrics.jsonl",
    "resume.safetensors",
    "FINISHED",
    "checkpoints/0000006.safetensors",
)


def damages() -> Iterator[tuple[str, Damage]]:
    """Names of damages, and what does them to a run's directory."""
    draws = random.Random(0)
    for name in FILES:
        yield f"{name} missing", lambda run, name=name: (run / name).unlink()
        yield f"{name} a directory", lambda run, name=name: ((run / name).unlink(), (run / name).mkdir())
        yield f"{name} a link to nothing", lambda run, name=name: ((run / name).unlink(), (run / name).symlink_to("no"))
        if hasattr(os, "mkfifo"):
            yield f"{name} a pipe", lambda run, name=name: ((run / name).unlink(), os.mkfifo(run / name))
        for content in (b"", b"\xff\xfe\x00", b"{}", b"[]\n", b"[" * 100_000 + b"\n", b"null\n", b"NaN\n"):
            yield (
                f"{name} is {content[:9]!r}",
                lambda run, name=name, content=content: (run / name).write_bytes(content),
            )
        for _ in range(2):
            at = draws.random()
            yield f"{name} cut at {at:.3f}", lambda run, name=name, at=at: cut(run / name, at)
        # Most of them in the header, for what is behind it are numbers, of which one is as good as another.
        for i in range(6):
            at, bit = draws.random() * (1 if i > 4 else 0.2), draws.randrange(8)
            yield f"{name} bit {bit} at {at:.3f}", lambda run, name=name, at=at, bit=bit: flip(run / name, at, bit)
    yield "checkpoints a file", lambda run: (shutil.rmtree(run / "checkpoints"), (run / "checkpoints").touch())
    yield "no checkpoints", lambda run: shutil.rmtree(run / "checkpoints")
    yield "checkpoints swapped", lambda run: swap(run / "checkpoints", 6, 1)
    for entry in ("exp_avg", "exp_avg_sq", "step", "grokfast_window", "grokfast_mean", "grokfast_updates"):
        for what, do in TENSORS.items():
            yield f"resume's {entry} {what}", lambda run, e=entry, do=do: edit(run / "resume.safetensors", f"/{e}", do)
    for what, do in TENSORS.items():
        for file, entry in (
            ("checkpoints/0000006", "unembed.W_U"),
            ("task", "table"),
            ("task", "a_tokens"),
            ("task", "elements"),
            ("task", "group_table"),
            ("split", "is_train"),
        ):
            yield f"{file}'s {entry} {what}", lambda run, f=file, e=entry, do=do: edit(run / f"{f}.safetensors", e, do)
    for key in ("epoch", "step", "seconds", "generator", "schedules"):
        for value in VALUES:
            yield f"resume's {key} {str(value)[:20]}", lambda run, k=key, v=value: say(run / "resume.safetensors", k, v)
    for key in ("name", "n_outputs", "n_tokens", "group_name", "group_labels"):
        for value in VALUES:
            yield f"task's {key} {str(value)[:20]}", lambda run, k=key, v=value: say(run / "task.safetensors", k, v)
    for value in VALUES:
        yield f"metrics' epoch {str(value)[:20]}", lambda run, v=value: log(run, "epoch", v)
        yield f"metrics' loss {str(value)[:20]}", lambda run, v=value: log(run, "loss", v)
        yield f"metrics' seconds {str(value)[:20]}", lambda run, v=value: log(run, "seconds", v)
        for key in ("format", "config", "made_by", "forked_from"):
            yield f"config's {key} {str(value)[:20]}", lambda run, k=key, v=value: set_json(run / "config.json", k, v)


VALUES: tuple[Any, ...] = (
    None, -1, 0, True, 2.5, "x", [], [-1], [256], ["x"], [[1]], [0] * 5056, {}, {"train": 1}, {"lr_schedule": {}},
    {"lr_schedule": {"factor": "x", "lowest": None, "waited": 0}}, {"lr_schedule": 3}, 10**400, float("nan"),
)  # fmt: skip
TENSORS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "a scalar": lambda x: x.flatten()[0].clone(),
    "empty": lambda x: x.flatten()[:0].clone(),
    "flat": lambda x: x.flatten(),
    "of one more dimension": lambda x: x[None],
    "float64": lambda x: x.double(),
    "float16": lambda x: x.half(),
    "int32": lambda x: x.int(),
    "complex": lambda x: x.to(torch.complex64),
    "bool": lambda x: x.bool(),
    "negative": lambda x: -x.float().to(x.dtype) - 1 if x.dtype != torch.bool else x.int() - 2,
    "nan": lambda x: x.float() * float("nan"),
    "infinite": lambda x: x.float() + float("inf"),
    "huge": lambda x: x.long() + 2**60,
}


def cut(file: Path, at: float) -> None:
    """Cut a file off."""
    content = file.read_bytes()
    file.write_bytes(content[: int(at * len(content))])


def flip(file: Path, at: float, bit: int) -> None:
    """Flip a bit of a file."""
    content = bytearray(file.read_bytes())
    if content:
        content[int(at * len(content))] ^= 1 << bit
    file.write_bytes(content)


def swap(folder: Path, left: int, right: int) -> None:
    """Let two checkpoints change their names."""
    a, b = (folder / f"{epoch:07d}.safetensors" for epoch in (left, right))
    a.rename(folder / "between")
    b.rename(a)
    (folder / "between").rename(b)


def edit(file: Path, end: str, do: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Change the tensors whose name ends so."""
    tensors, about = read_tensors(file)
    write_tensors(file, {name: do(x) if name.endswith(end) else x for name, x in tensors.items()}, about)


def say(file: Path, key: str, value: Any) -> None:
    """Change the header of a file of tensors."""
    tensors, about = read_tensors(file)
    write_tensors(file, tensors, about | {key: value})


def log(run: Path, key: str, value: Any) -> None:
    """Change the last but one entry of the metrics."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    lines[-2] = json.dumps(json.loads(lines[-2]) | {key: value})
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def set_json(file: Path, key: str, value: Any) -> None:
    """Change a key of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))


def configs() -> dict[str, gi.RunConfig]:
    """Two small runs with between them all that is remembered from update to update."""
    model = gi.TransformerConfig(d_model=8, n_heads=2, d_head=4, d_mlp=8)
    config = gi.RunConfig(task=gi.TaskConfig(p=5), model=model, split=gi.SplitConfig(fraction=0.5), epochs=EPOCHS)
    schedule = gi.Schedule(kind="plateau", steps=2, factor=0.5)
    plateau = {"optim.lr_schedule": schedule, "optim.batch_size": 4}
    return {
        "ema": change(config, {"regularization.grokfast": "ema", **plateau}),
        "ma": change(config, {"regularization.grokfast": "ma", "regularization.grokfast_window": 3}),
    }


def actions(config: gi.RunConfig, path: Path, fork: Path) -> dict[str, Callable[[], object]]:
    """What is done with a damaged run."""
    return {
        "load": lambda: gi.load_run(path),
        "metrics": lambda: gi.load_run(path).metrics,
        "task": lambda: gi.load_run(path).task,
        "is_train": lambda: gi.load_run(path).is_train,
        "params": lambda: gi.load_run(path).params(),
        "snapshot": lambda: gi.load_run(path).snapshot().logits,
        "fork": lambda: gi.fork(gi.load_run(path), EPOCHS, fork, {"epochs": EPOCHS + 1}, progress=False),
        "train": lambda: gi.train(config, path, progress=False),
        "train on": lambda: gi.train(replace(config, epochs=EPOCHS + 1), path, progress=False),
    }


def state(path: Path) -> dict[str, str]:
    """All files below a directory but locks, with what is in them."""
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and file.name != ".lock"]
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def tried(config: gi.RunConfig, path: Path, fork: Path) -> list[str]:
    """What went wrong otherwise than as one line, or changed a file of a run that was refused."""
    wrong = []
    for name, do in actions(config, path, fork).items():
        before = state(path)
        try:
            do()
        except RunError as error:
            if "\n" in str(error):
                wrong.append(f"{name}: more than a line: {error}")
            after = state(path)
            if after != before:
                wrong.append(f"{name}: changed {sorted(k for k in before | after if before.get(k) != after.get(k))}")
            if fork.exists() and any(fork.glob("*.safetensors")):
                wrong.append(f"{name}: began a fork")
        except Exception as error:
            wrong.append(f"{name}: {type(error).__name__}: {error}")
        shutil.rmtree(fork, ignore_errors=True)
    return wrong


def main(folder: Path, every: int) -> None:
    """Damage each run in many ways."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    os.fsync = lambda _: None  # type: ignore[assignment]
    for kind, config in configs().items():
        whole = gi.train(config, folder / kind, progress=False).path
        for i, (name, damage) in enumerate(damages()):
            if i % every and not ("resume's" in name and "scalar" in name):
                continue
            path = Path(shutil.copytree(whole, folder / "damaged"))
            sys.stdout.write(json.dumps({"damage": f"{kind}: {name}"})[:-1])
            sys.stdout.flush()
            damage(path)
            sys.stdout.write(f', "wrong": {json.dumps(tried(config, path, folder / "fork"))}}}\n')
            shutil.rmtree(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
