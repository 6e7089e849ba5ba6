"""The page as a file: that it needs nothing else, and what is on it for each kind of run."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

import grokinterp as gi
from grokinterp.papers import dossier
from grokinterp.report import page as page_module
from grokinterp.report.data import circle_keys, gather, slider_epochs, thin
from grokinterp.tasks.groups import symmetric


pytestmark = pytest.mark.slow


MLPS = {
    "onehot": gi.MLPConfig(d_mlp=16),
    "summed": gi.MLPConfig(inputs="summed", n_layers=1, d_model=8, d_mlp=16),
}


def without_plotly(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    assert text.count(get_plotlyjs()) == 1
    return text.replace(get_plotlyjs(), "")


def test_it_has_plotly_once_and_loads_nothing(page):
    text = without_plotly(page)
    assert re.findall(r"(?:src|href|srcset|action|data)\s*=\s*[\"']?(?!#)[^\s\"'>]+", text) == []
    assert not re.findall(r"@import|url\(|<link|<iframe|<img|<script[^>]+src|fetch\(", text)
    assert "https://" not in text
    assert "http://" not in text


def test_its_figures_send_nothing_away(page):
    text = without_plotly(page)
    assert text.count('"showSendToCloud": false') == text.count("Plotly.newPlot(")
    assert "plotlyServerURL" not in text


def test_it_is_of_a_size_to_send(page):
    assert page.stat().st_size < len(get_plotlyjs()) + 1_500_000


def test_contents_lead_to_every_section(page):
    text = without_plotly(page)
    links = re.findall(r"<a href=\"#(\w+)\">", text)
    assert links == re.findall(r"<section id=\"(\w+)\">", text)
    assert {"trained", "training", "frequencies", "logits", "neurons", "attention", "weights"} <= set(links)


def test_each_figure_has_a_caption(page):
    text = without_plotly(page)
    captions = re.findall(r"<figcaption>(.+?)</figcaption>", text)
    assert len(captions) == text.count("<figure>") == text.count("Plotly.newPlot(")
    assert all(len(caption) > 40 for caption in captions)


def test_it_tells_what_was_trained_and_by_what(page, small_run):
    text = without_plotly(page)
    run = small_run("addition")
    assert "A transformer of 1 layer (2 heads, 16 neurons) was trained on 24 of the 49 pairs" in text
    assert "<code>optim.weight_decay</code>" in text
    assert f"torch {run.made_by['torch']}" in text


def test_a_run_that_has_not_grokked_says_so(page):
    text = without_plotly(page)
    assert "<dt>grokked at epoch (test accuracy ≥ 0.99)</dt><dd>not reached</dd>" in text
    assert "The run is unfinished" not in text


@pytest.mark.parametrize("operation", ["random", "x2+y2"])
def test_without_a_group_the_fourier_parts_are_left_out_and_why_is_said(small_run, tmp_path, operation):
    text = without_plotly(gi.report.write(small_run(operation), tmp_path / "page.html"))
    assert re.findall(r"<section id=\"(\w+)\">", text) == ["trained", "training", "attention", "weights"]
    assert "are not the products of a group" in text
    assert "key frequencies</dt>" not in text


@pytest.mark.exhaustive
@pytest.mark.parametrize("inputs", MLPS)
def test_an_mlp_has_every_part_but_the_attention_and_why_is_said(small_run, tmp_path, inputs):
    run = small_run("addition", model=MLPS[inputs])
    text = without_plotly(gi.report.write(run, tmp_path / "page.html"))
    parts = re.findall(r"<section id=\"(\w+)\">", text)
    assert parts == ["trained", "training", "progress", "frequencies", "logits", "neurons", "weights"]
    assert re.search(r"An MLP of \d hidden layers? \(16 neurons( per layer)?\) was trained on 24 of the 49 pairs", text)
    assert text.count("<li>The model has no attention, so attention patterns are omitted.</li>") == 1
    assert "Attention of each head" not in text
    assert "attention" not in gather(run, progress_bar=False).pictures


def test_a_transformer_is_not_said_to_have_no_attention(page):
    assert "has no attention" not in without_plotly(page)


def test_an_mlp_without_a_group_has_its_training_and_weights(small_run, tmp_path):
    run = small_run("random", model=MLPS["onehot"])
    text = without_plotly(gi.report.write(run, tmp_path / "page.html"))
    assert re.findall(r"<section id=\"(\w+)\">", text) == ["trained", "training", "weights"]
    assert "are not the products of a group" in text
    assert "The model has no attention" in text


@pytest.mark.exhaustive
@pytest.mark.parametrize("operation", ["addition", "random"])
def test_the_summary_of_an_mlp_says_that_it_has_no_attention(small_run, operation):
    said = gi.report.summary(small_run(operation, model=MLPS["onehot"]), progress=False)
    assert said.count("The model has no attention, so attention patterns are omitted.") == 1
    assert any("neurons" in one and "One frequency" in one for one in said) == (operation == "addition")
    assert "has no attention" not in " ".join(gi.report.summary(small_run(operation), progress=False))


@pytest.mark.exhaustive
def test_a_group_that_is_not_cyclic_has_its_irreps_named(small_run, tmp_path):
    run = small_run("custom", task=gi.tasks.from_group(symmetric(3)))
    text = without_plotly(gi.report.write(run, tmp_path / "page.html"))
    assert "The group S_3 is not cyclic: k numbers its irreps, 1 (" in text
    assert "every residue" not in text


def test_an_unfinished_run_says_so(small_run, tmp_path):
    path = tmp_path / "halted"
    shutil.copytree(small_run("addition").path, path, ignore=shutil.ignore_patterns("FINISHED", "analysis"))
    lines = (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (path / "metrics.jsonl").write_text("".join(lines[:2]), encoding="utf-8")
    for late in path.glob("checkpoints/00000[23]*"):
        late.unlink()
    text = without_plotly(gi.report.write(gi.load_run(path), tmp_path / "page.html"))
    assert "The run is unfinished: 10 of 30 epochs are logged" in text


def test_a_run_of_one_checkpoint_has_a_page_without_sliders(small_run, tmp_path):
    path = tmp_path / "first"
    shutil.copytree(small_run("addition").path, path, ignore=shutil.ignore_patterns("FINISHED", "analysis"))
    metrics = path / "metrics.jsonl"
    metrics.write_text(metrics.read_text(encoding="utf-8").splitlines(keepends=True)[0], encoding="utf-8")
    for checkpoint in sorted(path.glob("checkpoints/*"))[1:]:
        checkpoint.unlink()
    text = without_plotly(gi.report.write(gi.load_run(path), tmp_path / "page.html"))
    assert '"sliders"' not in text


def test_it_goes_into_the_run_directory_unless_told_otherwise(small_run, tmp_path):
    path = tmp_path / "copy"
    shutil.copytree(small_run("random").path, path)
    assert gi.report.write(gi.load_run(path)) == path / "report.html"
    assert [file.name for file in path.glob("*.html")] == ["report.html"]
    assert not list(path.glob("*.tmp"))


def test_the_report_of_a_bundled_run_goes_into_the_current_directory(tmp_path, monkeypatch):
    run = gi.load_run("nanda2023")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(page_module, "gather", lambda *_, **__: None)
    monkeypatch.setattr(page_module, "render", lambda *_: "the page")
    for known in (run, gi.load_run(os.path.relpath(run.path))):
        written = gi.report.write(known)
        assert written.resolve() == tmp_path / "nanda2023.html"
        assert written.read_text() == "the page"
    assert not run.layout.report.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes a pipe, which only POSIX systems have")
def test_what_is_no_regular_file_is_refused_before_any_work(small_run, tmp_path, monkeypatch):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    monkeypatch.setattr(page_module, "gather", lambda *_, **__: None)
    monkeypatch.setattr(page_module, "render", lambda *_: "the page")
    for write in (gi.report.write, dossier.reproduce):
        with pytest.raises(gi.RunError, match=r"pipe must be a regular file, got a device or pipe;"):
            write(small_run("random"), pipe)
    assert pipe.is_fifo()


def test_a_directory_is_refused_before_any_work(small_run, tmp_path):
    with pytest.raises(gi.RunError, match="must be a regular file, got a directory"):
        gi.report.write(small_run("random"), tmp_path)


def test_a_run_that_never_began_has_no_report(small_run, tmp_path):
    shutil.copy(small_run("random").path / "config.json", tmp_path)
    with pytest.raises(gi.RunError, match="no metrics yet; train it first"):
        gi.report.write(gi.load_run(tmp_path), tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_names_of_a_run_cannot_become_markup(small_run, tmp_path):
    path = tmp_path / "<b>bold"
    shutil.copytree(small_run("random").path, path)
    text = without_plotly(gi.report.write(gi.load_run(path), tmp_path / "page.html"))
    assert "<b>bold" not in text
    assert "&lt;b&gt;bold" in text


def test_figures_are_valid_json_for_the_browser(small_run):
    run = small_run("addition")
    for section in page_module.sections(run, gather(run, progress_bar=False)):
        for picture in section.pictures:
            (data,) = re.findall(
                r"Plotly\.newPlot\(\s*\"[^\"]+\",\s*(\[.*?\]),\s*\{\"template\"", picture.html, re.DOTALL
            )
            assert json.loads(data)


def test_thin_keeps_both_ends():
    assert thin([3, 4, 9], 5) == [3, 4, 9]
    assert thin(range(1000), 3) == [0, 500, 999]


def test_slider_epochs_stop_at_what_happened():
    assert 120 in slider_epochs(range(0, 1001, 10), [118.0])


def test_circles_are_for_additions_alone(small_run):
    assert circle_keys(small_run("addition").snapshot(), [1, 3]) == [1, 3]
    assert circle_keys(small_run("random").snapshot(), [1]) == []
    assert circle_keys(small_run("multiplication").snapshot(), [1]) == []
    even = gi.Snapshot(
        params=(run := small_run("addition")).params(), config=run.config.model, task=run.task, is_train=run.is_train
    )
    assert circle_keys(even, []) == []
