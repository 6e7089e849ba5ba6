"""Which epochs are checkpointed and logged."""

import platform
import sys
from pathlib import Path

import numpy as np

from grokinterp.config import RunConfig
from grokinterp.training.loop import train
from grokinterp.training.runtime import keep_freed_memory
from grokinterp.training.trainer import is_checkpoint, is_logged


def test_checkpoints_are_log_spaced_then_regular_then_last() -> None:
    epochs = [epoch for epoch in range(1235) if is_checkpoint(epoch, every=500, last=1234)]
    assert epochs == [0, 1, 2, 3, 4, 6, 10, 16, 25, 40, 63, 100, 158, 251, 398, 500, 1000, 1234]


def test_early_checkpoints_stop_where_the_regular_ones_begin() -> None:
    epochs = [epoch for epoch in range(21) if is_checkpoint(epoch, every=5, last=20)]
    assert epochs == [0, 1, 2, 3, 4, 5, 10, 15, 20]


def test_logged_epochs_are_regular_then_last() -> None:
    epochs = [epoch for epoch in range(26) if is_logged(epoch, every=10, last=25)]
    assert epochs == [0, 10, 20, 25]


def test_a_run_keeps_the_epochs_of_its_schedule(tiny: RunConfig, tmp_path: Path) -> None:
    run = train(tiny, tmp_path, progress=False)
    assert run.checkpoint_epochs == (0, 1, 2, 3, 4, 6, 8, 16, 24)
    np.testing.assert_array_equal(run.metrics.epoch, [0, 3, 6, 9, 12, 15, 18, 21, 24])


def test_freed_memory_is_kept_where_that_can_be_asked_for() -> None:
    is_glibc = sys.platform.startswith("linux") and platform.libc_ver()[0] == "glibc"
    assert keep_freed_memory() == is_glibc
