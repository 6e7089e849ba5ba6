"""A trainer in a process of its own, to be killed: `python trainer_process.py CONFIG RUN SEED KILLS`.

Forks a child that trains, kills it with SIGKILL after a random time, forks the next one, and lets the last one
train to the end. Prints the number of children that were killed. Those do not mark the run as finished, however fast
they are: at its end they wait to be killed.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from grokinterp.config import RunConfig, from_dict
from grokinterp.training.loop import train
from grokinterp.training.trainer import Trainer


def main(config_file: str, run: str, seed: str, kills: str) -> int:
    torch.set_num_threads(1)
    config = from_dict(RunConfig, json.loads(Path(config_file).read_text()))
    delays = random.Random(int(seed))
    killed = 0
    for _ in range(int(kills)):
        child = _fork(config, run, is_to_be_killed=True)
        time.sleep(delays.uniform(0.0, 0.1))
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    _, status = os.waitpid(_fork(config, run), 0)
    sys.stdout.write(f"{killed}\n")
    return os.waitstatus_to_exitcode(status)


def _fork(config: RunConfig, run: str, *, is_to_be_killed: bool = False) -> int:
    child = os.fork()
    if child == 0:
        if is_to_be_killed:
            Trainer.finish = lambda _: signal.pause()
        train(config, run, progress=False)
        os._exit(0)
    return child


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
