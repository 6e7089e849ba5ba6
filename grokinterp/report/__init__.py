"""One self-contained HTML page about a run: what was trained, what was found, and the pictures."""

from grokinterp.report.page import write as write


__all__ = ["write"]
