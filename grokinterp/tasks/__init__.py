"""Tasks: binary operations as tables, the groups behind them, and train/test splits."""

from grokinterp.tasks.groups import Group
from grokinterp.tasks.multitask import multitask
from grokinterp.tasks.operations import OPERATIONS, Operation, Task, from_group, from_table, operation
from grokinterp.tasks.split import all_pairs, paper_split, uniform_split


__all__ = [
    "OPERATIONS",
    "Group",
    "Operation",
    "Task",
    "all_pairs",
    "from_group",
    "from_table",
    "multitask",
    "operation",
    "paper_split",
    "uniform_split",
]
