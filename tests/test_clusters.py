"""Clusters: k-means, its k and neighbours on planted blobs; draws by cluster; mixtures."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.selection.clusters import (
    assign,
    choose_k,
    k_means,
    neighbours,
    sample_vectors,
    silhouette,
)
from pipeline.selection.mixtures import (
    extrapolate,
    predicted_score,
    project_to_simplex,
    transport_slope,
)
from pipeline.selection.strata import band_by_cluster, draw_by_cluster, reweight
from pipeline.vectors import Identity, write_features

CORNER = np.array([[0, 0], [1, 0], [0, 1]], dtype=np.float32)
TRIPLES = np.vstack([CORNER + np.float32(move) for move in ((0, 0), (10, 10), (20, 0))])


def test_silhouettes_of_the_card() -> None:
    """The kMQ card: mean silhouettes of three L-shaped triples; three clusters win."""
    assert silhouette(TRIPLES, 3) == pytest.approx(0.918888, abs=1e-6)
    # Two ways to join, six to split a triple are equally good to k-means; the card shows one.
    assert silhouette(TRIPLES, 2) == pytest.approx(0.618204, abs=2e-3)
    assert silhouette(TRIPLES, 4) == pytest.approx(0.644588, abs=2e-2)
    assert choose_k(TRIPLES, [4, 2, 3]) == 3


def test_clusters_are_found_and_assigned() -> None:
    """Nine points fall into their triples; a row that is not finite belongs to none."""
    labels = assign(np.vstack([TRIPLES, [[np.nan, 0]]]), k_means(TRIPLES, 3, restarts=5))
    assert labels[-1] == -1 and len(set(labels[:9].tolist())) == 3
    assert all(len(set(labels[i : i + 3].tolist())) == 1 for i in (0, 3, 6))
    assert (k_means(TRIPLES, 3, seed=4) == k_means(TRIPLES, 3, seed=4)).all()


def test_impossible_k_is_explained() -> None:
    """More clusters than usable rows, or none, raise UserError with both numbers."""
    for k in (0, 10):
        with pytest.raises(UserError, match=f"k = {k} clusters of 9"):
            k_means(TRIPLES, k)


def test_a_sample_knows_no_shards(tmp_path: Path) -> None:
    """The rows drawn for training are the same ids under any shard size."""
    made = Identity("m", "r", 0, "mean", "none", 0, "float32", "t")
    names = [f"r{i}" for i in range(50)]
    vectors = np.arange(100, dtype=np.float32).reshape(50, 2)
    drawn = [
        sample_vectors(
            write_features(
                tmp_path / str(size), made, names, lambda r: vectors[list(r)], shard_rows=size
            ),
            11,
            seed=2,
        )
        for size in (7, 50)
    ]
    assert (drawn[0] == drawn[1]).all() and drawn[0].shape == (11, 2)


@given(st.integers(0, 1000))
def test_neighbours_are_the_nearest_others(seed: int) -> None:
    """Depth-3 neighbours have the three highest cosines to other rows, duplicates included."""
    vectors = np.random.default_rng(seed).normal(size=(12, 4))
    vectors[1] = vectors[0]
    rows, found = neighbours(vectors, 3)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    truth = units @ units.T
    np.fill_diagonal(truth, -2)
    assert found == pytest.approx(np.sort(truth, axis=1)[:, :-4:-1], abs=1e-5)
    assert all(i not in own for i, own in enumerate(rows.tolist()))


def test_rows_without_direction_have_no_neighbours() -> None:
    """A zero row has neighbours -1 and is nobody's neighbour."""
    rows, found = neighbours(np.array([[1.0, 0], [0, 0], [1, 1], [0, 1]]), 5)
    assert rows.shape == (4, 2) and rows[1].tolist() == [-1, -1] and np.isnan(found[1]).all()
    assert not (rows[[0, 2, 3]] == 1).any()


QUALITY = [4.9, 1.2, 3.3, 2.7, 5.5, 0.4, 2.2, 6.8, 1.1, 3.0]
LABELS = [0] * 6 + [1] * 3 + [2]


def test_kmq_static_code_of_the_card() -> None:
    """The kMQ card: the official draw at seed 42 gives 5 of 6 rows, and still 5 of 8."""
    for k in (6, 8):
        rows = draw_by_cluster(QUALITY, LABELS, k, seed=42, mode="code")
        assert rows.tolist()[:5] == [4, 2, 7, 6, 9] if k == 6 else len(rows) == 5


def test_kmq_static_paper_and_sound() -> None:
    """Budgets [4, 2, 0] of the card; ours are distinct rows, the paper's may repeat."""
    for mode in ("sound", "paper"):
        rows = draw_by_cluster(QUALITY, LABELS, 6, seed=1, mode=mode)
        assert np.bincount(np.array(LABELS)[rows], minlength=3).tolist() == [4, 2, 0]
    assert len(set(draw_by_cluster(QUALITY, LABELS, 6, seed=1).tolist())) == 6
    assert sorted(draw_by_cluster(QUALITY, LABELS, 99, seed=1).tolist()) == list(range(10))


def test_kmq_chances_of_the_card() -> None:
    """First draws in cluster 0 occur as the card's p: proportional to quality."""
    firsts = [int(draw_by_cluster(QUALITY, LABELS, 6, seed=s)[0]) for s in range(1500)]
    chances = [0.2722, 0.0667, 0.1833, 0.15, 0.3056, 0.0222]
    assert [firsts.count(row) / 1500 for row in range(6)] == pytest.approx(chances, abs=0.04)


def test_kmq_rounds_of_the_card() -> None:
    """The kMQ card: official weights, our renormalised ones twice, the paper's literal form."""
    gains, start = np.array([0.5, -0.5, 1.0]), np.full(3, 1 / 3)
    assert reweight(start, gains, mode="code") == pytest.approx(
        [0.331499, 0.121952, 0.546549], abs=1e-6
    )
    once = reweight(start, gains)
    assert once == pytest.approx([0.3315, 0.1220, 0.5465], abs=1e-4)
    assert reweight(once, gains) == pytest.approx([0.2595, 0.0351, 0.7054], abs=1e-4)
    assert reweight(start, gains, mode="paper").sum() == pytest.approx(1 / 3)
    with pytest.raises(UserError, match="1 missing"):
        reweight(start, np.array([1, np.nan, 2]), mode="code")


def test_unseen_clusters_keep_their_share() -> None:
    """A cluster that no row was drawn from neither gains nor loses weight."""
    after = reweight(np.array([0.2, 0.3, 0.5]), np.array([1.0, np.nan, 0.0]))
    assert after[1] == pytest.approx(0.3) and after.sum() == pytest.approx(1)
    assert after[0] / after[2] == pytest.approx(0.4 * np.e)


def test_cherry_cluster_sample_of_the_card() -> None:
    """IFD card: rows [2, 4] of the first cluster and none of the second."""
    perplexities, labels = [9, 1, 5, 3, 7, 2, 8, 4, 6, 5, 6], [0] * 9 + [1] * 2
    assert band_by_cluster(perplexities, labels, 2, mode="code").tolist() == [2, 4]
    assert band_by_cluster(perplexities, labels, 2).tolist() == [3, 2]
    assert band_by_cluster([1, 2, 3, 4, 5], [0] * 5, 4).tolist() == [1, 2, 3]
    assert not len(band_by_cluster([1, 2, 3, 4, 5], [0] * 5, 4, mode="code"))


def test_projektor_extrapolation_of_the_card() -> None:
    """The projektor card: the two pilot sizes give themselves, ten thousand rows give 0.860732."""
    for size, value in ((1000, 0.52), (1500, 0.58), (10_000, 0.860732)):
        assert extrapolate(0.52, 0.58, 1000, 1500, size) == pytest.approx(value, abs=1e-6)
    with pytest.raises(UserError, match="first < second"):
        extrapolate(0.5, 0.6, 1500, 1500, 10)


def test_projektor_slopes_of_the_card() -> None:
    """The projektor card: slopes, the constant that cancels, the identity of the sum."""
    f, sources = np.array([1.0, 2, 3, -1, -2, 0, 0, 1, 5, 4]), np.array([0] * 3 + [1] * 2 + [2] * 5)
    slopes = transport_slope(f, sources)
    assert slopes == pytest.approx([1.0, -3.5, 1.4])
    assert transport_slope(f + 10, sources) == pytest.approx(slopes)
    n = np.array([3, 2, 5])
    assert (n * (10 - n) / 10 * slopes).sum() == pytest.approx(0)
    assert transport_slope(f, np.zeros(10, int)) == pytest.approx([0])


def test_projektor_score_of_the_card() -> None:
    """The projektor card: 4.0483 with the constants counted once a source."""
    by_distance = np.array([[0.2, 0.1, -0.1], [0.5, -0.3, 0.4], [0.7] * 3])
    plain = np.array([[0.05, 0.02, 0.01], [-0.1, 0.2, 0.3], [0.1] * 3])
    shares = np.array([0.3, 0.2, 0.5])
    assert predicted_score(shares, 1.5, by_distance, plain) == pytest.approx(4.0483)
    by_distance[2], plain[2] = [0.7, 0, 0], [0.1, 0, 0]
    assert predicted_score(shares, 1.5, by_distance, plain) == pytest.approx(1.7483)


def test_simplex_projection_of_the_card() -> None:
    """The projektor card: [.7, .5, -.1] goes to [.6, .4, 0]; the centre stays."""
    assert project_to_simplex(np.array([0.7, 0.5, -0.1])) == pytest.approx([0.6, 0.4, 0])
    assert project_to_simplex(np.full(3, 1 / 3)) == pytest.approx(np.full(3, 1 / 3))


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6))
def test_projection_lies_on_the_simplex(values: list[float]) -> None:
    """Whatever comes in, shares are at least 0 and sum to 1, in the same order."""
    found = project_to_simplex(np.array(values))
    assert (found >= 0).all() and found.sum() == pytest.approx(1)
    assert (np.diff(found[np.argsort(values, kind="stable")]) >= -1e-12).all()
