"""The paper's published numbers beside those of a run: a table in Markdown.

    python examples/compare_with_paper.py            # the bundled run
    python examples/compare_with_paper.py runs/mine  # another run of the preset nanda2023

Where a published value was read: [code] in the authors' code, [figure] off the vector graphics of their figures
(to about 1 %), [quoted] in somebody else's quotation of the paper, not checked against it.
"""

import sys

import numpy as np
import xarray as xr

import grokinterp as gi


def main() -> None:
    run = gi.load_run(sys.argv[1] if len(sys.argv) > 1 else "nanda2023")
    print("| what | paper | ours |")
    print("|---|---|---|")
    for what, published, ours in rows(run):
        print(f"| {what} | {published} | {ours} |")


def rows(run: gi.Run) -> list[tuple[str, str, str]]:
    """What, the published value with its mark, ours."""
    last = run.snapshot()
    keys = gi.fourier.key_frequencies(last)
    metrics = run.metrics
    ds = gi.trajectory(
        run,
        [
            gi.progress.losses,
            gi.progress.accuracies,
            gi.progress.restricted_loss(keys),
            # The published curve takes out every frequency, and not the keys alone.
            gi.progress.excluded_loss().named("excluded_loss_of_all"),
            gi.progress.weight_norm,
        ],
        progress=False,
    )
    start = metrics.loss.sel(epoch=0)
    end = ds.isel(epoch=-1)
    total = ds.weight_norm.sum("parameter")
    test = ds.loss.sel(split="test")
    counts = gi.neurons.counts()(last).sel(frequency=list(keys)).values
    return [
        ("initial train, test loss", "4.763, 4.769 [figure]", f"{float(start[0]):.4f}, {float(start[1]):.4f}"),
        ("key frequencies", "14, 35, 41, 42, 52 [code]", words(keys)),
        *(
            (f"key frequencies by rule `{rule}`", "", words(gi.fourier.key_frequencies(last, rule=rule)))
            for rule in RULES
        ),
        ("next largest frequency of W_E", "31 [figure]", words(next_largest(last, keys))),
        (
            "total squared weights, largest",
            "3658 at 900 [figure]",
            f"{float(total.max()):.0f} at {where(total, 'max')}",
        ),
        ("excluded loss of all frequencies, smallest before grokking", "0.31 at 1300 [figure]", smallest_excluded(ds)),
        ("test loss, largest", "25.8 at 1300 [figure]", f"{float(test.max()):.1f} at {where(test, 'max')}"),
        ("test accuracy above .5", "9400 [figure]", first(metrics, 0.5)),
        ("test accuracy above .99", "10600 [figure]", first(metrics, 0.99)),
        (
            "excluded loss of all frequencies, largest after",
            "13.5 at 10300 [figure]",
            f"{float(after(ds).max()):.1f} at {where(after(ds), 'max')}",
        ),
        ("phases end at", "1400, 9400, 14000, by hand [code]", phase_ends(ds)),
        ("final train loss", "9.9e-8 [figure]", nats(end.loss.sel(split="train"))),
        ("final test loss", "3.0e-7 [figure]", nats(end.loss.sel(split="test"))),
        ("final loss of all pairs", "2.41e-7 [quoted]", nats(end.loss.sel(split="all"))),
        ("final restricted loss, all pairs", "5.55e-8 [figure]", nats(end.restricted_loss)),
        ("final excluded loss of all frequencies", "5.97 [figure]", f"{float(end.excluded_loss_of_all):.2f}"),
        ("loss of the fit by cos w(a+b-c)", "4.7e-8 [quoted]", nats(gi.progress.trig_loss(keys)(last))),
        ("FVE of the logits by cos w(a+b-c)", ".95 [quoted]", f"{gi.logits.variance_explained(last, keys):.3f}"),
        ("final total squared weights", "955 [figure]", f"{float(total[-1]):.0f}"),
        ("neurons of each key, FVE above .85", "44, 93, 145, 87, 64 [quoted]", words(counts)),
    ]


RULES = ("neurons", "W_E", "W_L")


def words(numbers: object) -> str:
    found = np.atleast_1d(np.asarray(numbers, dtype=float))
    return ", ".join("not reached" if np.isnan(number) else str(int(number)) for number in found)


def nats(loss: xr.DataArray) -> str:
    return f"{float(loss):.2e}".replace("e-0", "e-")


def where(curve: xr.DataArray, extreme: str) -> int:
    return int(getattr(curve, f"idx{extreme}")("epoch"))


def first(metrics: xr.Dataset, accuracy: float) -> str:
    above = metrics.accuracy.sel(split="test") > accuracy
    return str(int(metrics.epoch[int(above.argmax())])) if above.any() else "not reached"


def after(ds: xr.Dataset) -> xr.DataArray:
    """The excluded loss from the epoch on that the first phase ends at."""
    return ds.excluded_loss_of_all.sel(epoch=slice(1000, None))


def smallest_excluded(ds: xr.Dataset) -> str:
    before = ds.excluded_loss_of_all.sel(epoch=slice(0, 5000))
    return f"{float(before.min()):.2f} at {where(before, 'min')}"


def phase_ends(ds: xr.Dataset) -> str:
    return words(gi.phases.detect(ds.assign(excluded_loss=ds.excluded_loss_of_all)).phase_end.values)


def next_largest(snapshot: gi.Snapshot, keys: tuple[int, ...]) -> int:
    others = gi.fourier.spectrum(snapshot).sel(matrix="W_E").drop_sel(frequency=list(keys))
    return int(others.idxmax("frequency"))


if __name__ == "__main__":
    main()
