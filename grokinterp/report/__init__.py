"""Reports about a run: config, findings and figures as one self-contained HTML page, or the findings as text."""

from grokinterp.report.page import summary as summary
from grokinterp.report.page import write as write


__all__ = ["summary", "write"]
