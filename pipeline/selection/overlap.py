"""How much of a benchmark item a text holds: the measures behind `pipeline.decontaminate`."""

import re
import unicodedata
from collections.abc import Sequence

import xxhash

_TOKEN = re.compile(r"\w+")
_LCS_TOKENS = 2_000


def tokenise(text: str) -> list[str]:
    """Return lower-case words, punctuation and symbols dropped; CJK one character a word."""
    lowered = unicodedata.normalize("NFKC", text).lower()
    return [part for word in _TOKEN.findall(lowered) for part in _split_cjk(word)]


def gram_hashes(tokens: Sequence[str], size: int) -> list[int]:
    """Return the xxh3-64 of each run of `size` tokens, in order; none if there are fewer."""
    grams = (" ".join(tokens[i : i + size]) for i in range(len(tokens) - size + 1))
    return [xxhash.xxh3_64_intdigest(gram.encode()) for gram in grams]


def covered(grams: Sequence[int], shared: frozenset[int] | set[int], size: int) -> list[bool]:
    """Say of each token of an item whether it lies in a shared run of `size` tokens."""
    marks = [False] * (len(grams) + size - 1)
    for start, gram in enumerate(grams):
        if gram in shared:
            marks[start : start + size] = [True] * size
    return marks


def common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence of the first 2,000 tokens of each.

    Bit-parallel (Crochemore et al. 2001): one addition of long integers a token.
    """
    one, other = one[:_LCS_TOKENS], other[:_LCS_TOKENS]
    places: dict[str, int] = {}
    for i, token in enumerate(one):
        places[token] = places.get(token, 0) | 1 << i
    full = (1 << len(one)) - 1
    state = full
    for token in other:
        matched = state & places.get(token, 0)
        state = ((state + matched) | (state - matched)) & full
    return len(one) - state.bit_count()


def anchor(text: str) -> int:
    """Return the hash of a word that every text containing `text` has: its longest inner one.

    0 if all its words touch its ends, where the other text may go on.
    """
    inner = [m.group() for m in _TOKEN.finditer(text) if 0 < m.start() and m.end() < len(text)]
    return xxhash.xxh3_64_intdigest(max(inner, key=len).encode()) if inner else 0


def anchors_in(text: str) -> set[int]:
    """Return what `anchor` may be of the strings that `text` contains."""
    return {0} | {xxhash.xxh3_64_intdigest(word.encode()) for word in set(_TOKEN.findall(text))}


def _split_cjk(word: str) -> list[str]:
    if not any("\u3040" <= c <= "\u9fff" or "\uac00" <= c <= "\ud7a3" for c in word):
        return [word]
    return re.findall(r"[\u3040-\u9fff\uac00-\ud7a3]|[^\u3040-\u9fff\uac00-\ud7a3]+", word)
