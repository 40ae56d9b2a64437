"""Duplicates among a prompt's completions: the same after normalisation, or nearly the same."""

import re
import unicodedata
from collections.abc import Sequence

_WORD = re.compile(r"\w+|[^\w\s]")


def normalise(text: str) -> str:
    """Reduce a text to what makes it the same text: NFKC, one space, no case, no edges."""
    return " ".join(unicodedata.normalize("NFKC", text).split()).casefold()


def words_of(text: str) -> list[str]:
    """Return words and single marks, without regard to case and width."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def shingles(text: str, size: int = 5) -> frozenset[tuple[str, ...]]:
    """Return the set of word `size`-grams (one shorter gram if the text is shorter)."""
    words = words_of(text)
    grams = zip(*(words[i:] for i in range(size)), strict=False)
    return frozenset(grams) or frozenset([tuple(words)])


def first_of_its_kind(texts: Sequence[str], *, near: float | None = None) -> list[int | None]:
    """For each text the place of the earlier one it repeats, None if it is the first of its kind.

    Exact after `normalise`; with `near`, also a Jaccard similarity of 5-gram shingles >= near with
    an earlier kept text. Quadratic in the number of kept texts: meant for one prompt's completions.
    """
    firsts: dict[str, int] = {}
    kept: list[tuple[int, frozenset[tuple[str, ...]]]] = []
    origins: list[int | None] = []
    for place, text in enumerate(texts):
        key = normalise(text)
        origin = firsts.get(key)
        if origin is None and near is not None:
            grams = shingles(text)
            origin = next((p for p, other in kept if jaccard(grams, other) >= near), None)
            if origin is None:
                kept.append((place, grams))
        firsts.setdefault(key, place if origin is None else origin)
        origins.append(origin)
    return origins


def jaccard(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    """Return the share of common shingles, 1.0 for two empty sets."""
    union = len(one | other)
    return len(one & other) / union if union else 1.0
