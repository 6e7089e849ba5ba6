"""Many runs: configs from a grid, trained on any executor, gathered as labelled data.

A sweep is a folder of run directories. Workers get a config and a path, and give the path back; all else that is
known about a run is read from its directory, so that a sweep can be stopped, widened and gone on with anywhere.
"""

from grokinterp.sweeps.axes import grid as grid
from grokinterp.sweeps.executors import dask_executor as dask_executor
from grokinterp.sweeps.executors import processes as processes
from grokinterp.sweeps.plans import Plan as Plan
from grokinterp.sweeps.plans import read_plan as read_plan
from grokinterp.sweeps.presets import SWEEPS as SWEEPS
from grokinterp.sweeps.results import collect as collect
from grokinterp.sweeps.results import curves as curves
from grokinterp.sweeps.running import Sweep as Sweep
from grokinterp.sweeps.running import sweep as sweep
from grokinterp.sweeps.tables import in_words as in_words
from grokinterp.sweeps.tables import write_summary as write_summary


__all__ = [
    "SWEEPS",
    "Plan",
    "Sweep",
    "collect",
    "curves",
    "dask_executor",
    "grid",
    "in_words",
    "processes",
    "read_plan",
    "sweep",
    "write_summary",
]
