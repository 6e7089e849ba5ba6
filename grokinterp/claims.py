"""Check a paper's published numbers on a run or a model: the public names of `grokinterp.papers`.

Each claim pairs a record (the published value, where it was read) with a function that computes our value. `check`
compares the two: our value agrees if it differs from the published one by no more than the spread across reruns.
"""

from grokinterp.papers.claim import SOURCES as SOURCES
from grokinterp.papers.claim import Claim as Claim
from grokinterp.papers.claim import by_id as by_id
from grokinterp.papers.claim import claims as claims
from grokinterp.papers.evidence import Evidence as Evidence
from grokinterp.papers.evidence import NotAvailableError as NotAvailableError
from grokinterp.papers.evidence import curves_of as curves_of
from grokinterp.papers.evidence import evidence as evidence
from grokinterp.papers.paper import PAPERS as PAPERS
from grokinterp.papers.paper import Paper as Paper
from grokinterp.papers.paper import find_paper as find_paper
from grokinterp.papers.published import across as across
from grokinterp.papers.published import figures as figures
from grokinterp.papers.published import published as published
from grokinterp.papers.published import seeds as seeds
from grokinterp.papers.published import seeds_of as seeds_of
from grokinterp.papers.tolerance import Tolerance as Tolerance
from grokinterp.papers.tolerance import spread_data as spread_data
from grokinterp.papers.tolerance import spread_of as spread_of
from grokinterp.papers.tolerance import tolerance as tolerance
from grokinterp.papers.verdicts import MEANINGS as MEANINGS
from grokinterp.papers.verdicts import Result as Result
from grokinterp.papers.verdicts import check as check
from grokinterp.papers.verdicts import check_one as check_one
from grokinterp.papers.verdicts import dataset as dataset


__all__ = [
    "MEANINGS",
    "PAPERS",
    "SOURCES",
    "Claim",
    "Evidence",
    "NotAvailableError",
    "Paper",
    "Result",
    "Tolerance",
    "across",
    "by_id",
    "check",
    "check_one",
    "claims",
    "curves_of",
    "dataset",
    "evidence",
    "figures",
    "find_paper",
    "published",
    "seeds",
    "seeds_of",
    "spread_data",
    "spread_of",
    "tolerance",
]
