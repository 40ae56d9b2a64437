"""CoRNStack's consistency filter and negatives against the worked check of its card."""

import numpy as np
import pytest

from pipeline.contrastive import (
    anneal,
    is_consistent,
    mine,
    negative_candidates,
    negative_chances,
    strict_ranks,
)

SIMILAR = np.array(
    [
        [0.90, 0.30, 0.20, 0.72, 0.10],
        [0.40, 0.65, 0.80, 0.20, 0.10],
        [0.20, 0.85, 0.80, 0.10, 0.30],
        [0.10, 0.95, 0.90, 0.75, 0.20],
        [0.05, 0.10, 0.20, 0.30, 0.71],
    ]
)
OWN = np.arange(5)


def test_both_conditions_keep_what_the_card_keeps() -> None:
    """Ranks 0 1 1 2 0; by rank {0,1,2,4}, by score {0,2,3,4}, by both {0,2,4}."""
    ranks, scores = strict_ranks(SIMILAR, OWN), SIMILAR.diagonal()
    assert ranks.tolist() == [0, 1, 1, 2, 0]
    kept = [is_consistent(scores, ranks, **options) for options in ({"least": -1}, {"k": 9}, {})]
    assert [np.flatnonzero(one).tolist() for one in kept] == [[0, 1, 2, 4], [0, 2, 3, 4], [0, 2, 4]]


def test_likely_answers_are_no_negatives() -> None:
    """Row 2: above 0.76 lies document 1, which leaves; its own document is never a candidate."""
    allowed = negative_candidates(SIMILAR, OWN)
    assert np.flatnonzero(allowed[2]).tolist() == [0, 3, 4]


@pytest.mark.parametrize(
    ("temperature", "chances"),
    [
        (0.05, [0.518351, 0.347461, 0.127824, 0.006364]),
        (0.02, [0.715260, 0.263129, 0.021599, 0.000012]),
        (0.005, [0.982013, 0.017986, 0.000001, 0]),
        (0.001, [1, 0, 0, 0]),
    ],
)
def test_colder_draws_are_harder(temperature, chances) -> None:
    """The card's chances; the coldest does not overflow."""
    assert negative_chances([0.62, 0.60, 0.55, 0.40], temperature) == pytest.approx(
        chances, abs=1e-6
    )


def test_temperature_falls_linearly() -> None:
    """Five moments of training."""
    found = [anneal(share) for share in (0, 0.25, 0.5, 0.75, 1)]
    assert found == pytest.approx([0.05, 0.03775, 0.0255, 0.01325, 0.001])


def test_equal_documents_do_not_push_the_own_down() -> None:
    """A document that ties with two others has rank 0."""
    tied = [[0.8, 0.8, 0.8], [0.1, 0.9, 0.2], [0.1, 0.2, 0.9]]
    assert strict_ranks(tied, np.arange(3)).tolist() == [0, 0, 0]


def unit(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Random vectors of length one."""
    vectors = rng.normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_mining_is_the_same_in_any_block_and_keeps_its_word() -> None:
    """Blocks change nothing; negatives are distinct, never the own, and below the margin."""
    rng = np.random.default_rng(2)
    documents = unit(rng, (70, 8))
    queries = documents[:60] + 0.2 * unit(rng, (60, 8))
    queries[7] = np.nan
    ids = [f"q{i}" for i in range(60)]
    whole = mine(queries, documents, np.arange(60), ids, seed=4, temperature=0.1)
    parts = mine(queries, documents, np.arange(60), ids, seed=4, temperature=0.1, block=7)
    assert whole.negatives == parts.negatives and (whole.ranks == parts.ranks).all()
    for place, taken in enumerate(whole.negatives):
        assert len(set(taken)) == len(taken) and place not in taken
        limit = 0.95 * whole.scores[place]
        assert all(score < limit for score in whole.negative_scores[place])
    assert whole.negatives[7] == [] and not is_consistent(whole.scores, whole.ranks)[7]
    cold = mine(queries, documents, np.arange(60), ids, seed=9, temperature=1e-4, negatives=1)
    similar = queries[3] @ documents.T
    allowed = negative_candidates(similar[None], [3])[0]
    assert cold.negatives[3] == [int(np.argmax(np.where(allowed, similar, -1)))]
