"""MinHash against exact Jaccard similarity, increments, and the curation card's figures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dedup import jaccard, shingles
from pipeline.errors import UserError
from pipeline.selection.grams import Grams, hash_grams, sign
from pipeline.selection.minhash import Bands, Match, NearIndex, best_bands, candidate_chance

TEXT = "Write a Python function that returns the sum of all even numbers in a list."


@pytest.mark.parametrize(
    "shape, chances",
    [
        ((14, 8), [0.0533, 0.2111, 0.5645, 0.7716, 0.9235, 0.9884, 0.9996]),
        ((20, 13), [0.0024, 0.0258, 0.1769, 0.3818, 0.6773, 0.924, 0.9972]),
        ((24, 10), [0.0232, 0.1355, 0.4973, 0.7512, 0.9345, 0.9948, 1.0]),
        ((25, 10), [0.0241, 0.1407, 0.5115, 0.7652, 0.9416, 0.9958, 1.0]),
        ((9, 13), [0.0011, 0.0117, 0.0839, 0.1946, 0.3988, 0.6864, 0.9286]),
    ],
)
def test_candidate_chances_of_the_card(shape: tuple[int, int], chances: list[float]) -> None:
    """Curation card: the S-curve of five tools at seven similarities."""
    points = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9)
    assert [candidate_chance(s, Bands(*shape)) for s in points] == pytest.approx(chances, abs=5e-5)


def test_bands_of_selfcodealign() -> None:
    """SelfCodeAlign card: 250 values at threshold 0.7 give 25 bands of 10; text-dedup: 240, 24."""
    assert best_bands(0.7, 250) == Bands(25, 10)
    assert best_bands(0.7, 240) == Bands(24, 10)


def test_minhash_estimates_as_the_toy_does() -> None:
    """Curation card: the toy hash family's signatures, and their estimate 1/4 of a true 2/4."""
    a, b = np.array([3, 7, 11, 2]), np.array([1, 4, 6, 10])
    one, other = (
        ((a * np.array(rows)[:, None] + b) % 31).min(axis=0) for rows in ([1, 5, 9], [5, 9, 14])
    )
    assert (one.tolist(), other.tolist()) == ([4, 5, 12, 12], [12, 5, 5, 7])
    assert (one == other).mean() == 0.25 and jaccard({1, 5, 9}, {5, 9, 14}) == 0.5


@pytest.mark.parametrize("shared, size", [(60, 100), (90, 100), (10, 40)])
def test_signatures_estimate_jaccard(shared: int, size: int) -> None:
    """Over 2,000 values the share of equal ones is within 5 standard errors of the truth."""
    values = np.random.default_rng(shared).integers(0, 2**63, 2 * size).astype(np.uint64)
    one, two = values[:size], np.concatenate([values[:shared], values[size : 2 * size - shared]])
    one_after_other = Grams(np.concatenate([one, two]), np.array([0, size, 2 * size]))
    signatures = sign(one_after_other, 2000).T
    truth = jaccard(frozenset(one.tolist()), frozenset(two.tolist()))
    assert abs((signatures[0] == signatures[1]).mean() - truth) < 5 * np.sqrt(
        truth * (1 - truth) / 2000
    )


def test_jaccards_of_the_card() -> None:
    """Curation card: one changed word in a short prompt, by words of 5, 3 and 1."""
    # The card counts words; here the full stop is a token of its own, in both texts.
    plain, other = TEXT.rstrip("."), TEXT.rstrip(".").replace("even", "odd")
    for size, value in ((5, 6 / 16), (3, 0.625), (1, 0.8667)):
        assert jaccard(shingles(plain, size), shingles(other, size)) == pytest.approx(
            value, abs=5e-5
        )


def test_a_match_is_named_and_checked() -> None:
    """A near copy names its original with the exact similarity; a text below threshold stays."""
    words = [f"word{i}" for i in range(60)]
    near = [*words[:30], "other", *words[31:]]
    far = [*words[:25], *[f"new{i}" for i in range(35)]]
    found = NearIndex(0.8).add(["a", "b", "c"], [" ".join(t) for t in (words, near, far)])
    assert found == [None, Match("a", pytest.approx(51 / 61)), None]


def test_short_texts_count_only_when_equal() -> None:
    """Texts below five words are duplicates only if equal, case and space ignored."""
    found = NearIndex(0.5).add(["a", "b", "c"], ["2 + 2", " 2 +  2 ", "2 + 3"])
    assert found == [None, Match("a", 1.0), None]


def test_increments_yield_to_what_is_there() -> None:
    """New rows are compared with the index and each other; old rows win whatever their ids."""
    index = NearIndex(0.7)
    assert index.add(["z"], [TEXT]) == [None]
    assert index.add(["a", "b"], [TEXT.upper(), "quite another text of some words"]) == [
        Match("z", 1.0),
        None,
    ]
    assert "b" in index and "a" not in index
    with pytest.raises(UserError, match="1 of them in the index"):
        index.add(["z"], ["x"])


@settings(max_examples=15)
@given(st.integers(0, 1000))
def test_outcome_knows_no_order(seed: int) -> None:
    """Shuffled rows give each id the same match; priority, then id, decides who is kept."""
    rng = np.random.default_rng(seed)
    pool = [f"w{i}" for i in range(30)]
    texts = [" ".join(rng.permutation(pool)) for _ in range(4)]
    texts += [text.replace("w7", "x7") for text in texts] + texts[:2]
    ids, priority = [f"i{i}" for i in range(10)], rng.integers(0, 3, 10).tolist()
    plain = dict(zip(ids, NearIndex(0.5).add(ids, texts, priority=priority), strict=True))
    order = rng.permutation(10).tolist()
    shuffled = NearIndex(0.5).add(
        [ids[i] for i in order], [texts[i] for i in order], priority=[priority[i] for i in order]
    )
    assert {ids[i]: match for i, match in zip(order, shuffled, strict=True)} == plain


def test_planted_copies_are_found_as_the_curve_says() -> None:
    """Of 200 copies at similarity 0.9 at least 97 % are found; of 200 strangers none."""
    rng = np.random.default_rng(5)
    originals = [[f"{i}_{w}" for w in rng.integers(0, 10**6, 100)] for i in range(200)]
    copies = [[*words[:99], "changed"] for words in originals]
    index = NearIndex(0.8)
    index.add([f"o{i:03d}" for i in range(200)], [" ".join(words) for words in originals])
    found = index.add([f"x{i:03d}" for i in range(200)], [" ".join(words) for words in copies])
    assert sum(match is not None for match in found) >= 194
    assert all(m.duplicate_of[1:] == f"{i:03d}" for i, m in enumerate(found) if m)
    strangers = [" ".join(f"z{i}_{w}" for w in range(50)) for i in range(200)]
    assert index.add([f"s{i}" for i in range(200)], strangers) == [None] * 200


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 12), max_size=6), st.booleans())
def test_kept_and_named_as_by_comparing_all(seed: int, calls: list[int], first: bool) -> None:
    """64 bands of one value miss nothing: any split into calls matches as comparing all would."""
    rng = np.random.default_rng(seed)
    base = [[f"w{w}" for w in rng.integers(0, 12, rng.integers(1, 14))] for _ in range(8)]
    texts = [
        " ".join(w if rng.random() < 0.95 else "other," for w in base[i % 8]) for i in range(40)
    ]
    ids = [f"i{i:02d}" for i in rng.permutation(40)]
    index, start, kept = NearIndex(0.5, Bands(64, 1)), 0, list[tuple[str, frozenset]]()
    for size in [*calls, 40]:
        part = slice(start, min(start := start + size, 40))
        ranks = rng.integers(0, 3, 40)[part].tolist() if first else None
        found = dict(zip(ids[part], index.add(ids[part], texts[part], priority=ranks), strict=True))
        ranks = ranks or [0] * len(found)
        for _, one, text in sorted(zip([-r for r in ranks], ids[part], texts[part], strict=True)):
            grams = shingles(text)
            near = sorted((-jaccard(grams, theirs), other) for other, theirs in kept)
            match = next((Match(other, -value) for value, other in near if value <= -0.5), None)
            assert found[one] == match
            if match is None:
                kept.append((one, grams))


@given(st.lists(st.text(st.sampled_from("ab _-,.’é¼ﬁ\t\x1f\x00世Bß"), max_size=40), max_size=8))
def test_hashed_grams_are_the_shingles(texts: list[str]) -> None:
    """Whole arrays of any texts have the grams of single ones: as many, and as many in common."""
    grams = hash_grams(texts)
    assert len(grams.starts) == len(texts) + 1
    for i, one in enumerate(texts):
        assert len(grams.of(i)) == len(shingles(one))
        for j, other in enumerate(texts):
            shared = len(np.intersect1d(grams.of(i), grams.of(j)))
            assert shared == len(shingles(one) & shingles(other))


def test_a_repeat_of_a_call_before_keeps_nothing() -> None:
    """A call that keeps no row changes nothing for the next."""
    index = NearIndex()
    index.add(["a"], [TEXT])
    assert index.add(["b"], [TEXT]) == index.add(["c"], [TEXT]) == [Match("a", 1.0)]


def test_nothing_in_nothing_out() -> None:
    """An empty increment is empty; a threshold outside (0, 1] is refused."""
    assert NearIndex().add([], []) == []
    with pytest.raises(UserError, match=r"threshold 1\.5"):
        NearIndex(1.5)
