"""What was trained, what was found, and the pictures: as one self-contained HTML page, or in words alone."""

from grokinterp.report.page import summary as summary
from grokinterp.report.page import write as write


__all__ = ["summary", "write"]
