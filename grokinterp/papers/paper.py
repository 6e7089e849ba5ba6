"""What the library knows about a paper: one record, kept in the paper's own folder."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from types import ModuleType
from typing import Any, Final

import plotly.graph_objects as go

from grokinterp import arguments
from grokinterp.config import RunConfig
from grokinterp.measures import Measure


# A figure's title, the function that draws it, and its caption.
Figure = tuple[str, Callable[[], go.Figure], str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Paper:
    """A paper whose published numbers can be checked on a run.

    Attributes:
        name: Its name in `PAPERS` and on the command line; a bundled run has the same name.
        title: The title of the dossier.
        citation: Authors, year and identifier.
        config: Returns the config of the paper's run. Published numbers are compared only with a run of this config.
        data: The folder with `claims.json`, and with `spread.json` (reruns), `curves.json` (published figures),
            `seeds.json` and `across.json` if the paper has them.
        modules: The modules with the claims' functions, by the name that `claims.json` uses.
        curves: Returns the measures over training that claims and figures need, given the key frequencies.
        figures: Yields the figures of the dossier, given `Evidence` with key frequencies.
        line_name: Returns our name for a line of a published figure, given the names of the figure and the line.
        axes: The settings that vary in `across.json`, with their axis titles.
        frequency_claims: Claim functions that return frequencies or say which are key. Such values are compared for
            equality, and only with reruns from the paper's seed.
    """

    name: str
    title: str
    citation: str
    config: Callable[[], RunConfig]
    data: Traversable
    modules: Mapping[str, ModuleType]
    curves: Callable[[tuple[int, ...]], Sequence[Measure]] = lambda _: ()
    figures: Callable[[Any], Iterator[Figure]] = lambda _: iter(())
    line_name: Callable[[str, str], str] = lambda _, line: line
    axes: Mapping[str, str] = field(default_factory=dict)
    frequency_claims: Collection[str] = ()

    def read(self, name: str) -> Any:
        """The contents of a JSON file of the paper's data folder."""
        return json.loads(self.data.joinpath(name).read_text(encoding="utf-8"))


AnyPaper = Paper | str
# Filled by `grokinterp.papers`, the only module that knows which papers there are; the first one is the default.
PAPERS: Final[dict[str, Paper]] = {}


def find_paper(paper: AnyPaper | None = None) -> Paper:
    """A paper by name.

    Args:
        paper: A name from `PAPERS`, or a `Paper`, which is returned; default: the first of `PAPERS`.

    Raises:
        ValueError: If there is no paper of this name.

    Examples:
        >>> import grokinterp as gi
        >>> gi.claims.find_paper().name
        'nanda2023'
    """
    if isinstance(paper, Paper):
        return paper
    return PAPERS[next(iter(PAPERS)) if paper is None else arguments.one_of(paper, PAPERS, "paper")]
