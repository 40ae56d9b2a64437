"""Word n-grams of many texts at once: as 64-bit hashes, and as MinHash signatures of these.

Words are those of `pipeline.dedup.words_of`. Plain ASCII is cut and hashed by whole arrays of
bytes, which takes a few microseconds a text; other texts are cut into words one by one first.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import xxhash

from pipeline.dedup import words_of

_SIZE = 5  # words a gram
_SEED = 1
_CHARACTERS = 1 << 18  # of texts at a time, so that what is made of them stays in the cache
_SPACE, _LETTER, _MARK = range(3)


class Grams(NamedTuple):
    """Hashed grams, uint64, one text after another, and where each text's begin, int64[n + 1]."""

    hashes: np.ndarray
    starts: np.ndarray

    def of(self, row: int) -> np.ndarray:
        """Return the distinct grams of one text, uint64, sorted."""
        return np.unique(self.hashes[self.starts[row] : self.starts[row + 1]])

    def only(self, rows: np.ndarray) -> "Grams":
        """Return the grams of some texts, in their order; rows: bool[n]."""
        sizes = np.diff(self.starts)
        return Grams(self.hashes[np.repeat(rows, sizes)], _starts(sizes[rows]))


def hash_grams(texts: Sequence[str]) -> Grams:
    """Hash every word 5-gram of each text; a text of fewer words has one gram, all of them.

    Equal grams have equal hashes; two different ones by a chance of the order of 2**-60.
    """
    words, counts = _hash_words([_plain(text) for text in texts])
    padded = np.maximum(counts, _SIZE)
    starts = _starts(padded)
    held = np.zeros(starts[-1], dtype=np.uint64)
    held[np.arange(len(words)) + np.repeat(starts[:-1] - _starts(counts)[:-1], counts)] = words
    count = max(len(held) - _SIZE + 1, 0)
    hashes = np.zeros(count, dtype=np.uint64)
    for place, factor in enumerate(_odd_numbers(_SIZE, _SEED)):
        hashes += held[place : place + count] * factor
    begins = np.ones(len(held), dtype=bool)
    for back in range(1, _SIZE):
        begins[starts[1:] - back] = False
    return Grams(mix(hashes[begins[:count]]), _starts(padded - _SIZE + 1))


def join(parts: Sequence[Grams]) -> Grams:
    """Return the grams of some texts after those of others."""
    sizes = [np.diff(part.starts) for part in parts]
    hashes = [np.zeros(0, np.uint64), *(part.hashes for part in parts)]
    return Grams(np.concatenate(hashes), _starts(np.concatenate([np.zeros(0, np.int64), *sizes])))


def sign(grams: Grams, size: int) -> np.ndarray:
    """Return MinHash signatures, uint64[size, n]: the least of each text's grams in `size` orders.

    The share of equal values of two texts estimates the Jaccard similarity of their sets. An order
    is that of a * gram + b modulo 2**64, a odd (Broder et al., 1998; Dietzfelbinger et al., 1997).
    """
    signatures = np.empty((size, len(grams.starts) - 1), dtype=np.uint64)
    if not signatures.size:
        return signatures
    ordered = np.empty_like(grams.hashes)
    shifts = mix(_odd_numbers(size, _SEED + 1))
    for line, factor, shift in zip(signatures, _odd_numbers(size, _SEED + 2), shifts, strict=True):
        np.multiply(grams.hashes, factor, out=ordered)
        np.add(ordered, shift, out=ordered)
        np.minimum.reduceat(ordered, grams.starts[:-1], out=line)
    return signatures


def portions(texts: Sequence[str]) -> Iterator[slice]:
    """Cut texts into runs of about a quarter of a million characters."""
    start, held = 0, 0
    for end, text in enumerate(texts, 1):
        held += len(text)
        if held >= _CHARACTERS or end == len(texts):
            yield slice(start, end)
            start, held = end, 0


def mix(values: np.ndarray) -> np.ndarray:
    """Scatter 64-bit numbers, one to one (the finaliser of MurmurHash3)."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        values = (values ^ (values >> np.uint64(33))) * np.uint64(factor)
    found: np.ndarray = values ^ (values >> np.uint64(33))
    return found


def _plain(text: str) -> bytes:
    """Return a text whose words are runs of letters and digits, and single ASCII marks."""
    return text.lower().encode() if text.isascii() else " ".join(words_of(text)).encode()


def _hash_words(texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Return a hash of every word, uint64, and how many each text has, int64[n]."""
    held = np.frombuffer(b"\n".join([*texts, b""]), dtype=np.uint8)
    kinds = _kinds()[held]
    is_mark, is_letter = kinds == _MARK, kinds == _LETTER
    apart = is_letter[1:] ^ is_letter[:-1]
    begins, ends = is_mark.copy(), is_mark
    begins[1:] |= apart & is_letter[1:]
    begins[:1] |= is_letter[:1]
    ends[:-1] |= apart & is_letter[:-1]
    begin, end = np.flatnonzero(begins), np.flatnonzero(ends) + 1
    # A word's polynomial in its bytes is a difference of prefix sums, moved to degree 0.
    base = int(_odd_numbers(1, _SEED + 3)[0])
    sums = np.zeros(len(held) + 1, dtype=np.uint64)
    np.cumsum(
        mix(np.arange(1, 257, dtype=np.uint64))[held] * _powers(base, len(held)), out=sums[1:]
    )
    hashes = (sums[end] - sums[begin]) * _powers(pow(base, -1, 1 << 64), len(held))[begin]
    bounds = np.searchsorted(begin, _starts(np.array([len(text) + 1 for text in texts], np.int64)))
    return mix(hashes), np.diff(bounds)


def _kinds() -> np.ndarray:
    """Return what each byte is; those of other scripts are letters, set apart by spaces before."""
    letters = [byte > 127 or chr(byte).isalnum() or chr(byte) == "_" for byte in range(256)]
    spaces = [byte < 128 and chr(byte).isspace() for byte in range(256)]
    return np.where(letters, _LETTER, np.where(spaces, _SPACE, _MARK)).astype(np.uint8)


def _powers(base: int, count: int) -> np.ndarray:
    found = np.full(count, base, dtype=np.uint64)
    found[:1] = 1
    return np.multiply.accumulate(found)


def _odd_numbers(count: int, seed: int) -> np.ndarray:
    drawn = [xxhash.xxh3_64_intdigest(place.to_bytes(8, "little"), seed) for place in range(count)]
    return np.array(drawn, dtype=np.uint64) | np.uint64(1)


def _starts(sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
