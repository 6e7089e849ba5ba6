"""Compute the spread across reruns of one recipe for every claim that is compared with it, and the reruns' curves.

    grokinterp train nanda2023 --seed 1 --out runs/seed1      # etc.; a run may be stopped after epoch 16,000
    python examples/spread_over_runs.py grokinterp/papers/nanda2023/data "0=nanda2023" "1=runs/seed1"

Writes spread.json and seeds.json. Epochs after 16,000 are ignored, so that all runs have the same length.
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
    """Round to six significant digits, more than the reruns agree on."""
    if isinstance(data, dict):
        return {key: rounded(value) for key, value in data.items()}
    if isinstance(data, list):
        return [rounded(value) for value in data]
    return float(f"{data:.6g}") if isinstance(data, float) else data


if __name__ == "__main__":
    main()
