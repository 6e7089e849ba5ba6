"""Reduce a run to some checkpoints, all metrics, and the standard measures at all checkpoints.

The bundled run was created by

    OMP_NUM_THREADS=1 grokinterp train nanda2023 --engine factored --out runs/nanda2023
    python examples/bundle_run.py runs/nanda2023 grokinterp/runs/bundled/nanda2023
"""

import argparse
import shutil
from pathlib import Path

import grokinterp as gi


# Memorization, the minimum of the excluded loss, circuit formation, generalization, cleanup, and long after.
EPOCHS = (0, 100, 300, 700, 1000, 1400, 3000, 5000, 7000, 8500, 9000, 9400, 10000, 11000, 12000, 14000, 20000, 40000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run")
    parser.add_argument("out", type=Path, help="directory of the reduced run; must not exist")
    parser.add_argument(
        "--epochs", type=int, nargs="+", default=EPOCHS, help="checkpoints to keep; default: %(default)s"
    )
    args = parser.parse_args()

    run = gi.load_run(args.run)
    kept = [epoch for epoch in run.checkpoint_epochs if epoch in args.epochs]
    ds = gi.trajectory(run, standard_measures(run))
    # Bounds the phases; measured separately, because its name equals that of the excluded loss of the keys.
    gi.trajectory(run, [gi.progress.excluded_loss()])
    for name in ("config.json", "task.safetensors", "split.safetensors", "metrics.jsonl", "FINISHED"):
        args.out.mkdir(parents=True, exist_ok=True)
        shutil.copy(run.path / name, args.out / name)
    (args.out / "checkpoints").mkdir()
    for epoch in kept:
        shutil.copy(run.layout.checkpoint(epoch), args.out / "checkpoints")
    (args.out / "analysis").mkdir()
    names = {f"{name}{end}" for name in ds for end in (".nc", ",")}
    for path in run.layout.analysis.glob("*.nc"):
        if any(path.name.startswith(name) for name in names):
            shutil.copy(path, args.out / "analysis")
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    print(f"{args.out}: {len(kept)} checkpoints, measures at {ds.sizes['epoch']} epochs, {size / 1e6:.1f} MB")


def standard_measures(run: gi.Run) -> list[gi.Measure]:
    """Measures of the report, the claims and their figures, with the key frequencies of the last checkpoint."""
    keys = gi.fourier.key_frequencies(run.snapshot())
    of_report = [
        gi.progress.excluded_loss(keys),
        gi.progress.excluded_loss_by_frequency(),
        gi.fourier.spectrum,
        gi.fourier.ipr,
        gi.neurons.counts(),
    ]
    return of_report + gi.claims.curves_of(keys)


if __name__ == "__main__":
    main()
