"""Papers whose published numbers can be checked on a run: one folder each, and modules that work for any of them.

A folder has the paper's `Paper` record, its data, and the functions that compute our values and draw its figures. This
is the only module that imports the folders; the public names are those of `grokinterp.claims`.
"""

from grokinterp.papers import nanda2023
from grokinterp.papers.paper import PAPERS


# The first paper is the default.
PAPERS.update({paper.name: paper for paper in (nanda2023.PAPER,)})
