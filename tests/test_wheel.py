"""A wheel built from the tree works alone, with all that is not Python in it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


pytestmark = pytest.mark.exhaustive


ROOT = Path(__file__).parents[1]


def test_a_wheel_installs_and_works_alone(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("grokinterp-*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    code = (
        "import grokinterp as gi; from importlib import resources; run = gi.load_run('nanda2023'); "
        "print(gi.__file__); print(gi.fourier.key_frequencies(run.snapshot())); "
        "print((resources.files('grokinterp.report') / 'page.html.j2').is_file()); "
        "print((resources.files('grokinterp.papers') / 'dossier.html.j2').is_file()); "
        "print(len(gi.claims.claims()), gi.claims.spread_data()['epoch'], gi.claims.seeds().sizes['seed'])"
    )
    # -S leaves out .pth files, by which a development install would be found; the libraries are named instead.
    libraries = next(path for path in sys.path if path.endswith("site-packages"))
    command = [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = [{str(site)!r}, {libraries!r}]; {code}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)
    file, keys, *has_templates, data = done.stdout.splitlines()
    assert Path(file).is_relative_to(site)
    assert keys == "(14, 35, 41, 42, 52)"
    assert has_templates == ["True", "True"]
    assert data == "199 16000 7"
