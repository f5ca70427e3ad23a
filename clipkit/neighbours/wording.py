"""What two texts have in common, told from their words: so it means the same with every model.

The measure is the resemblance of A. Z. Broder, On the resemblance and containment of documents, SEQUENCES
1997: the share of the runs of letters in either text that are in both.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from clipkit.neighbours.kmeans import Ints
from clipkit.neighbours.looks import Mask

_RUN = 3  # letters: short captions have enough of them, and a changed word costs few
RESEMBLANCE = 0.6  # a sentence of ten words with one exchanged keeps it, with three it does not


def folded(text: str) -> str:
    """The words of `text`, without what case, width, blanks and punctuation add; all of it if it has none."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\w+", plain)) or plain.strip()


def rewritten(texts: Sequence[str], pairs: Ints) -> Mask:
    """Which pairs (p, 2) have the same words."""
    words = [folded(text) for text in texts]
    return np.array([words[one] == words[other] for one, other in pairs.tolist()], bool)


def resembling(texts: Sequence[str], pairs: Ints, least: float = RESEMBLANCE) -> Mask:
    """Which pairs (p, 2) have so large a share of their runs of letters in common."""
    runs: dict[int, frozenset[str]] = {}
    for place in np.unique(pairs).tolist():
        text = f" {folded(texts[place])} "
        runs[place] = frozenset(text[at : at + _RUN] for at in range(len(text) - _RUN + 1))
    shares = [len(runs[a] & runs[b]) / (len(runs[a] | runs[b]) or 1) for a, b in pairs.tolist()]
    return np.array(shares) >= least
