"""Files of a run that were damaged: each is refused in one line, changes nothing, and crashes nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


PROCESS = Path(__file__).with_name("damage_process.py")


@pytest.mark.exhaustive
def test_no_damaged_file_crashes_anything_or_costs_another(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, PROCESS, tmp_path, "15"], capture_output=True, text=True, timeout=600)
    # A crash would leave its damage as the last, unfinished line.
    assert done.returncode == 0, (done.returncode, done.stdout.splitlines()[-1:], done.stderr[-2000:])
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) > 80
    assert [line for line in found if line["wrong"]] == []
