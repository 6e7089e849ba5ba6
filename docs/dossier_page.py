"""Add the dossier of the bundled run to the site, so that it matches the code."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mkdocs.structure.files import File

import grokinterp as gi
from grokinterp.papers import dossier


def on_files(files: Any, config: Any) -> Any:
    """Add dossier.html to the files that mkdocs copies."""
    with TemporaryDirectory() as folder:
        page = Path(folder) / "dossier.html"
        dossier.reproduce(gi.load_run("nanda2023"), page)
        files.append(File.generated(config, "dossier.html", content=page.read_text(encoding="utf-8")))
    return files
