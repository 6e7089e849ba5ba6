"""Draw the README's figure: the progress measures of the bundled run, as a PNG. Needs Chromium or Chrome.

python examples/draw_readme_figure.py docs/images/nanda2023.png
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

import grokinterp as gi


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="path of the PNG")
    args = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        parser.exit(1, "drawing the PNG requires Chromium or Chrome; neither was found.\n")

    run = gi.load_run("nanda2023")
    keys = gi.fourier.key_frequencies(run.snapshot())
    measures = [
        gi.progress.losses,
        gi.progress.accuracies,
        gi.progress.restricted_loss(keys),
        gi.progress.excluded_loss(),
        gi.fourier.gini,
        gi.progress.weight_norm,
    ]
    ds = gi.trajectory(run, measures)
    figure = gi.plots.progress(ds, phases=gi.phases.detect(ds)).update_layout(width=1100, height=680)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        figure.write_html(page, config={"displayModeBar": False})
        args.out.parent.mkdir(parents=True, exist_ok=True)
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/user"]
        size, wait = ["--window-size=1116,700", "--force-device-scale-factor=2"], "--virtual-time-budget=8000"
        subprocess.run([browser, *flags, *size, wait, f"--screenshot={args.out.resolve()}", page.as_uri()], check=True)


if __name__ == "__main__":
    main()
