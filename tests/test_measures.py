"""A user's measures: which are cached, and how a cache distinguishes them."""

import dataclasses
import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import xarray as xr

import grokinterp as gi
from small_run import count_forwards
from small_run import run as run


@gi.measure("largest", version=1)
def largest(snapshot: gi.Snapshot) -> torch.Tensor:
    return snapshot.logits.max()


def _above(threshold: float, /, **recorded: object) -> gi.Measure:
    def compute(snapshot: gi.Snapshot) -> torch.Tensor:
        return (snapshot.logits > threshold).sum()

    return gi.Measure(name="above", compute=compute, arguments=recorded, version=1)


def _module(path: Path, text: str) -> gi.Measure:
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.largest


def test_a_users_measure_with_a_version_is_cached(run: gi.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    visited = count_forwards(monkeypatch)
    measures = [largest, _above(0.0, threshold=0.0, strict=True, part="a/b", of={"x": [1]})]
    first = gi.trajectory(run, measures, progress=False)
    assert visited == list(run.checkpoint_epochs)
    xr.testing.assert_identical(gi.trajectory(run, measures, progress=False), first)
    assert visited == list(run.checkpoint_epochs)
    xr.testing.assert_identical(gi.trajectory(run, measures, cache=False, progress=False), first)
    assert {path.parent for path in run.layout.analysis.rglob("*.nc")} == {run.layout.analysis}
    visited.clear()
    gi.trajectory(run, dataclasses.replace(largest, version=2), progress=False)
    assert visited == list(run.checkpoint_epochs)


def test_a_measure_under_an_intervention_is_cached_if_it_has_a_version(
    run: gi.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    visited = count_forwards(monkeypatch)
    without_head = gi.interventions.ablate(gi.interventions.head(0))
    for above in (_above(0.0), _above(0.5)):
        edited = gi.interventions.under(without_head, above)
        ds = gi.trajectory(run, edited, progress=False)
        assert ds.intervened_above.sel(epoch=12).item() == edited(run.snapshot(12)).item()
        visited.clear()
        gi.trajectory(run, edited, progress=False)
        assert visited == []


def test_a_users_measure_reads_no_result_of_a_different_one_of_its_name(run: gi.Run) -> None:
    losses = gi.trajectory(run, gi.progress.losses, progress=False)

    @gi.measure("loss", version=1)
    def named_like_the_librarys(snapshot: gi.Snapshot) -> float:
        return -1.0

    @gi.measure("largest", version=1)
    def named_like_the_users(snapshot: gi.Snapshot) -> float:
        return -1.0

    functions: dict[str, Callable[[gi.Snapshot], float]] = {
        "one": lambda snapshot: 1.0, "two": lambda snapshot: 2.0,
    }  # fmt: skip
    gi.trajectory(run, largest, progress=False)
    replaced = dataclasses.replace(largest, compute=named_like_the_librarys.compute)
    for measure_ in (replaced, named_like_the_librarys, named_like_the_users):
        assert (gi.trajectory(run, measure_, progress=False)[measure_.name] == -1.0).all()
    for value, function in enumerate(functions.values(), start=1):
        ds = gi.trajectory(run, gi.Measure(name="of_lambda", compute=function, version=1), progress=False)
        assert (ds.of_lambda == value).all()
    # The threshold is missing from the arguments.
    for above in (_above(-1e9), _above(1e9)):
        ds = gi.trajectory(run, above, progress=False)
        assert ds.above.sel(epoch=12).item() == above(run.snapshot(12)).item()
    xr.testing.assert_identical(gi.trajectory(run, gi.progress.losses, progress=False), losses)


def test_the_code_of_a_measure_is_its_text_and_constants_wherever_it_stands(tmp_path: Path) -> None:
    text = (
        "import grokinterp as gi\nTOP = 1\n\n\n@gi.measure('largest', version=1)\n"
        "def largest(snapshot):\n    return snapshot.logits.max() * TOP\n"
    )
    code = _module(tmp_path / "a.py", text).code
    moved = text.replace("import grokinterp as gi", "from grokinterp import measure").replace("gi.measure", "measure")
    assert _module(tmp_path / "b.py", moved.replace("def", "# largest of all\ndef")).code == code
    for old, new in (("TOP = 1", "TOP = 2"), ("max()", "min()")):
        assert _module(tmp_path / f"{new[:3]}.py", text.replace(old, new)).code != code


def _of_a_tensor() -> gi.Measure:
    direction = torch.ones(7)

    def compute(snapshot: gi.Snapshot) -> torch.Tensor:
        return (snapshot.logits @ direction).max()

    return gi.Measure(name="along", compute=compute, version=1)


def _with_key(snapshot: gi.Snapshot, key: int) -> float:
    return 0.0


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dataclasses.replace(largest, version=0), r"version must be an integer of at least 1, got 0\.$"),
        (lambda: dataclasses.replace(largest, version=True), r"version must be an integer of at least 1, got True\.$"),
        (lambda: dataclasses.replace(largest, arguments={"k": torch.ones(2)}), "must be JSON values, got {'k': tensor"),
        (lambda: dataclasses.replace(largest, arguments={"k": float("nan")}), "must be JSON values, got {'k': nan"),
        (
            lambda: gi.Measure(name="x", compute=partial(_with_key, key=1), version=1),
            r"must have a function as compute, got functools\.partial\(.*; wrap it in one",
        ),
        (_of_a_tensor, r"compute has a version, but uses a local value that a cache cannot compare, tensor\(\["),
    ],
)
def test_what_a_cache_cannot_tell_apart_has_no_version(make: Callable[[], gi.Measure], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_result_that_cannot_be_cached_is_named(run: gi.Run) -> None:
    @gi.measure("objects", version=1)
    def objects(snapshot: gi.Snapshot) -> xr.DataArray:
        return xr.DataArray([object()], dims="x")

    with pytest.raises(ValueError, match="objects") as caught:
        gi.trajectory(run, objects, progress=False)
    assert "without a version it is not cached" in caught.value.__notes__[-1]


def test_every_measure_of_the_library_has_a_version(run: gi.Run) -> None:
    for module in (*vars(gi).values(), gi.detection.measures):
        for name, value in vars(module).items() if hasattr(module, "__spec__") else ():
            assert not isinstance(value, gi.Measure) or (value.version, value.code) == (1, None), name
