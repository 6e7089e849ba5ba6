"""Calibrate the detectors of grokking, and measure how early and how reliable they are.

    python -m benchmarks.early_detection runs/detect            # first trains 72 runs: two hours on one CPU core
    python -m benchmarks.early_detection runs/detect --write    # also writes the results into the package

Thresholds are calibrated on six settings and evaluated on six held-out settings with different moduli, weight decays,
train fractions and operations. In both groups, half of the settings are controls that never grok. Existing runs are
loaded.
"""

import json
import sys
from dataclasses import asdict, dataclass
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import torch
import xarray as xr
from plotly.colors import qualitative
from plotly.subplots import make_subplots

import grokinterp as gi
from grokinterp.detection import first_alarm
from grokinterp.detection.benchmark import Trial


SEEDS = range(6)
# Operation, p, train fraction, weight decay.
CALIBRATION = {
    "p59_decay2": ("addition", 59, 0.4, 2.0),
    "p53_decay1": ("addition", 53, 0.4, 1.0),
    "p47_subtraction": ("subtraction", 47, 0.5, 2.0),
    "p53_no_decay": ("addition", 53, 0.4, 0.0),
    "p59_random": ("random", 59, 0.4, 2.0),
    "p47_little_data": ("addition", 47, 0.2, 2.0),
}
HELD_OUT = {
    "p61_decay2": ("addition", 61, 0.35, 2.0),
    "p47_decay1.5": ("addition", 47, 0.45, 1.5),
    "p59_multiplication": ("multiplication", 59, 0.45, 1.0),
    "p61_no_decay": ("subtraction", 61, 0.4, 0.0),
    "p53_random": ("random", 53, 0.4, 1.0),
    "p59_little_data": ("addition", 59, 0.2, 1.0),
}
CONTROLS = ("no_decay", "random", "little_data")
# Chosen before the held-out settings were evaluated: of the detectors without errors in calibration, the one that uses
# neither answers nor the scale of the logits. The restricted loss is earlier, partly because it depends on the amount
# of data.
WINNER = "product Gini"
NAIVE, NAIVE_THRESHOLD = "naive score", 0.1


@dataclass(frozen=True)
class Case:
    """A run of the benchmark.

    Attributes:
        signals: Signals of all detectors.
        half: Epoch of test accuracy 0.5; infinite if it was not reached.
        is_control: True if the setting never groks.
    """

    signals: xr.Dataset
    half: float
    is_control: bool


def main() -> None:
    root = Path(sys.argv[1])
    torch.set_num_threads(1)
    calibration = {name: cases(root, name, setting) for name, setting in CALIBRATION.items()}
    held_out = {name: cases(root, name, setting) for name, setting in HELD_OUT.items()}
    seen, unseen = (list(chain.from_iterable(of.values())) for of in (calibration, held_out))
    found = [judged(name, calibrated(name, seen), unseen) for name in gi.detection.DETECTORS]
    found.append(judged(NAIVE, NAIVE_THRESHOLD, unseen))
    on_calibration = [judged(trial.detector, trial.threshold, seen) for trial in found]
    for title, trials in (("held out", found), ("calibration", on_calibration)):
        print(f"\n{title}\n\n{table(trials)}")
    print(f"\nheld out, by setting\n\n{by_setting(held_out, found)}")
    if "--write" in sys.argv:
        write(found)
        figure(held_out, next(trial for trial in found if trial.detector == WINNER)).write_html(root / "figure.html")


def config_of(setting: tuple[str, int, float, float], seed: int) -> gi.RunConfig:
    """The preset `quick` in a setting, with checkpoints dense enough to resolve alarms."""
    operation, p, fraction, decay = setting
    changes = {"task.operation": operation, "task.p": p, "split.fraction": fraction, "optim.weight_decay": decay}
    return gi.config.change(gi.presets.quick(), {**changes, "seed": seed, "epochs": 2_500, "checkpoint_every": 25})


def cases(root: Path, name: str, setting: tuple[str, int, float, float]) -> list[Case]:
    """The signals of the runs of a setting, and the epoch at which each reached test accuracy 0.5."""
    found = []
    for seed in SEEDS:
        run = gi.train(config_of(setting, seed), root / f"{name}-seed{seed}", progress=False)
        ds = gi.detection.signals(run, progress=False)
        # The score is computed at the logged epochs, which are denser; each checkpoint gets the score of its epoch.
        naive = gi.detection.naive_score(run.metrics)
        ds[NAIVE] = naive.reindex(epoch=ds.epoch, method="ffill")
        metrics = run.metrics
        is_half = metrics.accuracy.sel(split="test").values >= 0.5
        half = gi.phases.first_sustained(metrics.epoch.values, is_half, 3)
        half = np.inf if np.isnan(half) else half
        print(f"{run.path.name}: half at {half}", file=sys.stderr, flush=True)
        is_control = any(kind in name for kind in CONTROLS)
        if is_control and np.isfinite(half):
            msg = f"{run.path.name} is a control, but reached test accuracy 0.5."
            raise ValueError(msg)
        found.append(Case(ds, half, is_control))
    return found


def rises(name: str) -> bool:
    return name == NAIVE or gi.detection.DETECTORS[name].rises


def alarm(name: str, threshold: float, ds: xr.Dataset) -> float:
    return first_alarm(ds[name], ds.has_memorized, threshold=threshold, rises=rises(name))


def calibrated(name: str, seen: list[Case]) -> float:
    """The midpoint of the highest value sustained by a control and the lowest sustained in time by a grokking run.

    If the two overlap, the threshold that maximizes detection rate minus false-alarm rate.
    """
    sign = 1.0 if rises(name) else -1.0
    controls = [highest(case, name, sign) for case in seen if case.is_control]
    grokking = [highest(case, name, sign) for case in seen if not case.is_control and np.isfinite(case.half)]
    if max(controls) < min(grokking):
        return sign * (max(controls) + min(grokking)) / 2
    candidates = sorted({*controls, *grokking})
    middles = [(low + high) / 2 for low, high in pairwise(candidates)]
    return sign * max(middles, key=lambda x: np.mean(np.array(grokking) > x) - np.mean(np.array(controls) > x))


def highest(case: Case, name: str, sign: float) -> float:
    """The highest signed value that a run sustains in time for two checkpoints in a row."""
    ds = case.signals
    values = sign * ds[name].values[ds.has_memorized.values & (ds.epoch.values < case.half)]
    return float(np.minimum(values[1:], values[:-1]).max(initial=-np.inf))


def judged(name: str, threshold: float, of: list[Case]) -> Trial:
    """The results of a detector on the given runs."""
    grokking = [
        (alarm(name, threshold, case.signals), case.half)
        for case in of
        if not case.is_control and np.isfinite(case.half)
    ]
    controls = [alarm(name, threshold, case.signals) for case in of if case.is_control]
    in_time = [(when, half) for when, half in grokking if when < half]
    return Trial(
        detector=name,
        threshold=float(threshold),
        rises=rises(name),
        grokked=len(grokking),
        detected=len(in_time),
        late=sum(bool(half <= when < np.inf) for when, half in grokking),
        censored=len(of) - len(grokking) - len(controls),
        controls=len(controls),
        false_alarms=sum(bool(np.isfinite(when)) for when in controls),
        leads=tuple(float(half - when) for when, half in in_time),
        lead_shares=tuple(float((half - when) / half) for when, half in in_time),
    )


def table(found: list[Trial]) -> str:
    """The results as a Markdown table; rates with their 95% intervals."""
    rows = [
        "| detector | alarm | detected in time | false alarms | median lead, epochs | as a fraction | late |",
        "|---|---|---|---|---|---|---|",
    ]
    for trial in found:
        fraction = np.median(trial.lead_shares) if trial.lead_shares else np.nan
        name = f"**{trial.detector}**" if trial.detector == WINNER else trial.detector
        limit = f"{'>' if trial.rises else '<'} {trial.threshold:.3g}"
        rows.append(
            f"| {name} | {limit} | {_counted(trial.detected, trial.grokked, trial.detection_rate)} "
            f"| {_counted(trial.false_alarms, trial.controls, trial.false_alarm_rate)} "
            f"| {_interval(trial.median_lead)} | {fraction:.2f} | {trial.late} |"
        )
    return "\n".join(rows)


def by_setting(settings: dict[str, list[Case]], found: list[Trial]) -> str:
    """Number of runs with an alarm in each setting, and of those with an alarm in time."""
    rows = [
        "| setting | grokked | " + " | ".join(trial.detector for trial in found) + " |",
        "|---" * (len(found) + 2) + "|",
    ]
    for name, of in settings.items():
        cells = []
        for trial in found:
            times = [(alarm(trial.detector, trial.threshold, case.signals), case.half) for case in of]
            raised = sum(bool(np.isfinite(when)) for when, _ in times)
            in_time = sum(bool(when < half) for when, half in times if np.isfinite(half))
            cells.append(f"{raised}, {in_time} in time" if in_time else f"{raised}")
        rows.append(
            f"| {name} | {sum(bool(np.isfinite(case.half)) for case in of)} of {len(of)} | {' | '.join(cells)} |"
        )
    return "\n".join(rows)


def _counted(successes: int, n: int, rate: tuple[float, float, float]) -> str:
    return f"{successes} of {n} ({rate[1]:.2f} to {rate[2]:.2f})"


def _interval(values: tuple[float, float, float]) -> str:
    return "-" if np.isnan(values[0]) else f"{values[0]:.0f} ({values[1]:.0f} to {values[2]:.0f})"


def figure(settings: dict[str, list[Case]], trial: Trial) -> go.Figure:
    """The chosen detector's signal over epochs: grokking settings left, controls right, one color per setting."""
    fig = make_subplots(
        cols=2,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=("grokking settings", "controls, which never grok"),
    )
    for index, (name, of) in enumerate(settings.items()):
        for number, case in enumerate(of):
            signal = case.signals[trial.detector].where(case.signals.has_memorized)
            line = {
                "x": signal.epoch.values,
                "y": signal.values,
                "name": name,
                "legendgroup": name,
                "showlegend": number == 0,
                "line": {"color": qualitative.D3[index], "width": 1.2},
            }
            fig.add_scatter(**line, mode="lines", row=1, col=1 + case.is_control)
            if np.isfinite(case.half):
                # Mark the epoch of test accuracy 0.5.
                at = float(signal.interp(epoch=case.half))
                marker = {"color": qualitative.D3[index], "size": 8}
                fig.add_scatter(
                    x=[case.half],
                    y=[at],
                    mode="markers",
                    marker=marker,
                    showlegend=False,
                    legendgroup=name,
                    row=1,
                    col=1,
                )
    fig.add_hline(y=trial.threshold, line={"dash": "dash", "color": "#555"})
    fig.update_xaxes(title="epoch after memorization")
    fig.update_yaxes(title=trial.detector, col=1)
    fig.update_layout(template="plotly_white", width=1100, height=420, margin={"l": 60, "r": 20, "t": 40, "b": 50})
    return fig


def write(found: list[Trial]) -> None:
    """Write the results into the package."""
    path = Path(gi.detection.__file__).with_name("trials.json")
    data = {"winner": WINNER, "trials": [asdict(trial) for trial in found]}
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
