"""How far runs rebuilt from one recipe are from each other, for every claim that is compared by it, and their curves.

    grokinterp train nanda2023 --seed 1 --out runs/seed1      # and so on; a run may be stopped after epoch 16,000
    python examples/spread_over_runs.py grokinterp/claims/data "0=nanda2023" "1=runs/seed1"

Writes spread.json and seeds.json. Each run counts up to epoch 16,000, so that all of them are of one length.
"""

import json
import sys
from pathlib import Path

import grokinterp as gi


EPOCH = 16_000


def main() -> None:
    runs = {}
    out = Path(sys.argv[1])
    for argument in sys.argv[2:]:
        name, _, path = argument.partition("=")
        runs[name] = gi.load_run(path)
    spread = gi.claims.spread_of(runs, gi.claims.claims(), epoch=EPOCH)
    (out / "spread.json").write_text(json.dumps(rounded(spread), indent=1) + "\n")
    (out / "seeds.json").write_text(json.dumps(rounded(gi.claims.seeds_of(runs, epoch=EPOCH))) + "\n")


def rounded(data: object) -> object:
    """Six digits of each number are more than runs have in common."""
    if isinstance(data, dict):
        return {key: rounded(value) for key, value in data.items()}
    if isinstance(data, list):
        return [rounded(value) for value in data]
    return float(f"{data:.6g}") if isinstance(data, float) else data


if __name__ == "__main__":
    main()
