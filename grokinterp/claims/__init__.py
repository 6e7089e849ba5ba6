"""The paper, claim by claim: every published number of Nanda et al. 2023 that could be read, with ours beside it.

A claim is data (what, where it was read, the published value) and a function that gives our value for any run or
model. `check` compares the two: a published number may differ from ours by no more than runs rebuilt from the same
recipe differ from each other.
"""

from grokinterp.claims.claim import SOURCES as SOURCES
from grokinterp.claims.claim import Claim as Claim
from grokinterp.claims.claim import by_id as by_id
from grokinterp.claims.claim import claims as claims
from grokinterp.claims.records import across as across
from grokinterp.claims.records import figures as figures
from grokinterp.claims.records import published as published
from grokinterp.claims.records import seeds as seeds
from grokinterp.claims.records import seeds_of as seeds_of
from grokinterp.claims.spread import Tolerance as Tolerance
from grokinterp.claims.spread import spread_data as spread_data
from grokinterp.claims.spread import spread_of as spread_of
from grokinterp.claims.spread import tolerance as tolerance
from grokinterp.claims.subjects import Evidence as Evidence
from grokinterp.claims.subjects import NotAvailableError as NotAvailableError
from grokinterp.claims.subjects import curves_of as curves_of
from grokinterp.claims.subjects import evidence as evidence
from grokinterp.claims.verdicts import MEANINGS as MEANINGS
from grokinterp.claims.verdicts import Result as Result
from grokinterp.claims.verdicts import check as check
from grokinterp.claims.verdicts import check_one as check_one
from grokinterp.claims.verdicts import dataset as dataset


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
