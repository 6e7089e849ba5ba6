"""Train a small model until it groks, find its key frequencies, and write its report.

python examples/train_and_analyze.py                     # the quick preset, under a minute on two cores
python examples/train_and_analyze.py --preset nanda2023  # the paper's run, about half an hour
"""

import argparse
import dataclasses
from pathlib import Path

import grokinterp as gi


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="quick", choices=sorted(gi.presets.PRESETS))
    parser.add_argument("--out", type=Path, default=None, help="run directory; default: runs/PRESET")
    parser.add_argument("--epochs", type=int, default=None, help="number of epochs; default: that of the preset")
    args = parser.parse_args()

    config = gi.presets.PRESETS[args.preset]()
    if args.epochs is not None:
        config = dataclasses.replace(config, epochs=args.epochs)
    run = gi.train(config, args.out or Path("runs") / args.preset)

    # Use the key frequencies of the last checkpoint at every epoch, so that measures are comparable over training.
    last = run.snapshot()
    keys = gi.fourier.key_frequencies(last)
    print("key frequencies:", keys)
    # A run that has not grokked may have no key frequencies; use all frequencies instead.
    keys = keys or last.basis.blocks
    ds = gi.trajectory(
        run,
        [
            gi.progress.losses,
            gi.progress.accuracies,
            gi.progress.restricted_loss(keys),
            gi.progress.excluded_loss(keys),
            gi.fourier.gini,
            gi.progress.weight_norm,
        ],
    )
    phases = gi.phases.detect(ds)
    for event in phases.event.values:
        print(f"{event}: epoch {phases.event_epoch.sel(event=event).item():.0f}")
    gi.plots.progress(ds, phases=phases).write_html(run.path / "progress.html")
    print("report:", gi.report.write(run))


if __name__ == "__main__":
    main()
