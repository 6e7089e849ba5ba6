"""The cache of a run's measures in its `analysis/` directory: one netCDF file per measure."""

import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeGuard

import xarray as xr
from filelock import FileLock, Timeout

from grokinterp.config import RunConfig, from_dict, to_dict
from grokinterp.labels import DIMENSIONS
from grokinterp.measures import AnyMeasure, Measure
from grokinterp.runs.layout import RunError, write_atomically
from grokinterp.runs.run import Run, is_bundled
from grokinterp.snapshots import Snapshot


# Each file ends with this and the SHA-256 of all bytes before it, because a damaged file can crash the HDF5 library,
# which ignores trailing bytes. The number is the version of the file format.
_SEAL: Final = b"grokinterp cache 1, sha256 of the above: "
LOCK_TIMEOUT: Final = 60.0  # seconds to wait for a process that is writing, which takes milliseconds


class CachedMeasure:
    """The results of one measure by epoch, and the file that caches them.

    Attributes:
        checkpoints: Digest of the checkpoint that each cached result was computed from, by epoch.
    """

    def __init__(self, run: Run, measure: AnyMeasure, *, cache: bool) -> None:
        self.measure = measure
        directory = run.layout.analysis if run.layout.analysis.exists() else run.path
        self.is_read_only = is_bundled(run) or not os.access(directory, os.W_OK)
        self.path: Path | None = None
        self._stored: xr.DataArray | None = None
        self._new: dict[int, xr.DataArray] = {}
        if cache and is_cacheable(measure):
            self.path, self._made_by = _path(run, measure), _origin(run, measure)
            self._stored = _read(self.path, self._made_by)
        self.checkpoints: dict[int, int] = {} if self._stored is None else _checkpoints(self._stored)

    def has(self, epoch: int, checkpoint: int | None) -> bool:
        """Whether a result is cached for an epoch and a checkpoint's digest; None matches any checkpoint."""
        return epoch in self.checkpoints and checkpoint in (None, self.checkpoints[epoch])

    def add(self, epoch: int, snapshot: Snapshot, checkpoint: int | None) -> None:
        """Compute the measure at an epoch, from the checkpoint with this digest."""
        try:
            self._new[epoch] = self.measure(snapshot)
        except Exception as error:
            error.add_note(f"at epoch {epoch}, computing {self.measure}")
            raise
        self.checkpoints[epoch] = checkpoint or 0

    def save(self) -> None:
        """Merge the new results into the file; a RunError says that it cannot be written."""
        if self.path is None or not self._new or self.is_read_only:
            return
        with _locked(self.path.parent):
            # Read again, because a trainer or a concurrent analysis may have written the file.
            merged = _merged(self._stored, _read(self.path, self._made_by), self._stacked())
            to_write = merged.assign_attrs(made_by=json.dumps(self._made_by, sort_keys=True))
            try:
                write_atomically(self.path, lambda temporary: _write(temporary, to_write))
            except (TypeError, ValueError) as error:
                error.add_note(f"caching {self.measure}; without a version it is not cached")
                raise
        self._stored, self._new, self.checkpoints = merged, {}, _checkpoints(merged)

    def over(self, epochs: Sequence[int]) -> xr.DataArray:
        """The results at the given epochs as one array over `epoch`."""
        return _merged(self._stored, self._stacked()).sel(epoch=list(epochs)).drop_vars("checkpoint")

    def _stacked(self) -> xr.DataArray | None:
        if not self._new:
            return None
        about = {"long_name": DIMENSIONS["epoch"]}
        epochs = xr.DataArray([*self._new], dims="epoch", name="epoch", attrs=about)
        results = [*self._new.values()]
        stacked = xr.concat(results, dim=epochs, coords="minimal", compat="override").rename(results[0].name)
        digests = [self.checkpoints[epoch] for epoch in self._new]
        return stacked.assign_attrs(results[0].attrs).assign_coords(checkpoint=("epoch", digests))


def is_cacheable(measure: AnyMeasure) -> TypeGuard[Measure]:
    """Whether the measure has a version, so that a cache can tell if its code has changed."""
    return isinstance(measure, Measure) and measure.version is not None


def digest(content: bytes) -> int:
    """64 bits of the SHA-256 of the tensors in a safetensors file, without the header."""
    start = 8 + int.from_bytes(content[:8], "little")
    return int.from_bytes(hashlib.sha256(memoryview(content)[start:]).digest()[:8], "little", signed=True)


def digest_of(path: Path) -> int | None:
    """The digest of a safetensors file; None if the file is missing. An unreadable file raises a RunError."""
    try:
        return digest(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        msg = f"{path} could not be read: {error}."
        raise RunError(msg) from error


def _merged(*parts: xr.DataArray | None) -> xr.DataArray:
    """Concatenate results over `epoch`; for an epoch in several parts, the last part wins."""
    merged = xr.concat([x for x in parts if x is not None], dim="epoch", coords="minimal", compat="override")
    return merged.drop_duplicates("epoch", keep="last").sortby("epoch")


def _checkpoints(stored: xr.DataArray) -> dict[int, int]:
    return dict(zip(stored["epoch"].values.tolist(), stored["checkpoint"].values.tolist(), strict=True))


def _write(path: Path, results: xr.DataArray) -> None:
    results.to_netcdf(path, engine="h5netcdf")
    seal = _SEAL + hashlib.sha256(path.read_bytes()).hexdigest().encode()
    with path.open("ab") as file:
        file.write(seal)


def _read(path: Path, made_by: dict[str, Any]) -> xr.DataArray | None:
    """The results in a file; None if it is missing, damaged, or has a different format or origin."""
    try:
        body, _, sha256 = path.read_bytes().rpartition(_SEAL)
        if hashlib.sha256(body).hexdigest().encode() != sha256:
            return None
        stored = xr.load_dataarray(io.BytesIO(body), engine="h5netcdf").drop_encoding()
        return stored if _read_origin(stored.attrs.pop("made_by")) == made_by and _checkpoints(stored) else None
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError):
        return None  # Exceptions of h5py and xarray for a file that is not a cache.


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Lock the cache directory for one process at a time."""
    try:
        directory.mkdir(exist_ok=True)
        with FileLock(directory / ".lock", timeout=LOCK_TIMEOUT):
            yield
    except Timeout:
        msg = f"another process has held {directory / '.lock'} for {LOCK_TIMEOUT:.0f} s; stop it, then try again."
        raise RunError(msg) from None
    except OSError as error:
        msg = f"{directory} could not be written: {error}; fix this, then try again: results saved earlier are reused."
        raise RunError(msg) from error


def _origin(run: Run, measure: Measure) -> dict[str, Any]:
    """Everything besides the checkpoint that a cached result depends on: measure, config, task and split."""
    # The bias correction changed once for tasks like multiplication, whose zero is not a group element.
    is_recent = run.task.elements is not None and len(run.task.elements) < run.task.n_outputs
    return {
        **measure.identity,
        "version": (measure.version or 0) + is_recent,
        "config": to_dict(replace(run.config, epochs=1)),
        "task": digest_of(run.layout.task),
        "split": digest_of(run.layout.split),
    }


def _read_origin(made_by: str) -> dict[str, Any] | None:
    """The origin of a cached result, with defaults for newer config fields; None if it is invalid."""
    try:
        origin = json.loads(made_by)
        config = from_dict(RunConfig, {**origin["config"], "epochs": 1}, is_older=True)
    except (KeyError, TypeError, ValueError):
        return None
    # Older caches call the version `numbers`.
    return {"version": origin.pop("numbers", None)} | origin | {"config": to_dict(config)}


def _path(run: Run, measure: Measure) -> Path:
    """The cache file, named after the measure, the digest of a user's function, and the arguments."""
    words = [measure.name] if measure.code is None else [measure.name, measure.code]
    for key, value in measure.arguments.items():
        text = "-".join(map(str, value)) if isinstance(value, list) else str(value)
        words.append(f"{key}={text}")
    name = ",".join(words)
    if len(name.encode()) > 150 or not {"/", "\\", "\0"}.isdisjoint(name):
        name = f"{measure.name},{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return run.layout.analysis / f"{name}.nc"
