"""Many runs: configs from a grid, trained on any executor, and collected as labeled data.

A sweep is a directory of run directories. A worker receives a config and a path and returns the path; everything else
is read from the run directory, so a sweep can be stopped, extended and resumed anywhere.
"""

from grokinterp.sweeps.directories import grid as grid
from grokinterp.sweeps.executors import dask_executor as dask_executor
from grokinterp.sweeps.executors import processes as processes
from grokinterp.sweeps.results import Sweep as Sweep
from grokinterp.sweeps.results import collect as collect
from grokinterp.sweeps.results import curves as curves
from grokinterp.sweeps.scheduler import sweep as sweep
from grokinterp.sweeps.spec import SWEEPS as SWEEPS
from grokinterp.sweeps.spec import SweepSpec as SweepSpec
from grokinterp.sweeps.spec import read_spec as read_spec
from grokinterp.sweeps.summary import format_summary as format_summary
from grokinterp.sweeps.summary import write_summary as write_summary


__all__ = [
    "SWEEPS",
    "Sweep",
    "SweepSpec",
    "collect",
    "curves",
    "dask_executor",
    "format_summary",
    "grid",
    "processes",
    "read_spec",
    "sweep",
    "write_summary",
]
