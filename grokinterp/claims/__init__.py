"""The paper, claim by claim: every published number of Nanda et al. 2023 that could be read, with ours beside it.

A claim is data (what, where it was read, the published value) and a function that gives our value for any run or
model. `check` compares the two: a published number may differ from ours by no more than runs rebuilt from the same
recipe differ from each other.
"""

from grokinterp.claims.check import MEANINGS as MEANINGS
from grokinterp.claims.check import Result as Result
from grokinterp.claims.check import check as check
from grokinterp.claims.check import check_one as check_one
from grokinterp.claims.check import dataset as dataset
from grokinterp.claims.claim import SOURCES as SOURCES
from grokinterp.claims.claim import Claim as Claim
from grokinterp.claims.claim import by_id as by_id
from grokinterp.claims.claim import claims as claims
from grokinterp.claims.evidence import Evidence as Evidence
from grokinterp.claims.evidence import NotAvailableError as NotAvailableError
from grokinterp.claims.evidence import curves_of as curves_of
from grokinterp.claims.evidence import evidence as evidence
from grokinterp.claims.published import across as across
from grokinterp.claims.published import figures as figures
from grokinterp.claims.published import published as published
from grokinterp.claims.published import seeds as seeds
from grokinterp.claims.published import seeds_of as seeds_of
from grokinterp.claims.spread import Tolerance as Tolerance
from grokinterp.claims.spread import spread_data as spread_data
from grokinterp.claims.spread import spread_of as spread_of
from grokinterp.claims.spread import tolerance as tolerance


__all__ = [
    "MEANINGS",
    "SOURCES",
    "Claim",
    "Evidence",
    "NotAvailableError",
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
    "published",
    "seeds",
    "seeds_of",
    "spread_data",
    "spread_of",
    "tolerance",
]
