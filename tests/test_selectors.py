"""The selector contract over every selector, then the worked checks of the recipe cards."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.selection.coverage import facility_location, k_center
from pipeline.selection.eligibility import rows_for_share
from pipeline.selection.matching import per_group
from pipeline.selection.meaning import find_echoes
from pipeline.selection.similarity import cosines, unit_grid
from pipeline.selection.strata import draw_by_cluster
from pipeline.selection.transport import transport_gradient
from pipeline.selectors import apportion, draw, round_robin, spread, take_turns, top_k

# A planted pool: rows 0-4 are what each selector looks for, 55 others are not.
PLANTED = 5
ROWS = 60


def planted_vectors() -> np.ndarray:
    """Five rows far from a tight crowd and from each other."""
    rng = np.random.default_rng(3)
    crowd = np.array([1.0, 0, 0, 0, 0, 0]) + rng.normal(0, 0.01, (ROWS, 6))
    crowd[:PLANTED] = np.eye(6)[1:] * 3
    return crowd


def planted_scores() -> np.ndarray:
    """Five rows of high score."""
    scores = np.random.default_rng(4).uniform(0, 0.2, ROWS)
    scores[:PLANTED] = [0.9, 0.8, 0.95, 0.7, 0.85]
    return scores


def by_similarity(vectors: np.ndarray, k: int, ids: list[str]) -> np.ndarray:
    """Facility location needs a matrix; rows that are not finite have no similarity."""
    return facility_location(cosines(unit_grid(vectors), unit_grid(vectors)), k, ids=ids)


Selector = Callable[[np.ndarray, np.ndarray, int, list[str]], np.ndarray]
SELECTORS: dict[str, Selector] = {
    "top_k": lambda v, s, k, ids: top_k(s, k, ids=ids),
    "round_robin": lambda v, s, k, ids: round_robin(np.stack([s, s**2]), k, ids=ids),
    "tasks": lambda v, s, k, ids: round_robin(np.stack([s, s / 2, s]), k, tasks="aab", ids=ids),
    "draw": lambda v, s, k, ids: draw(s**4, k, seed=5, ids=ids),
    "spread": lambda v, s, k, ids: spread(v, s, k, threshold=2.0, ids=ids),
    "k_center": lambda v, s, k, ids: k_center(v, k, seed=6, ids=ids),
    "facility_location": lambda v, s, k, ids: by_similarity(v, k, ids),
    "transport": lambda v, s, k, ids: transport_gradient(v, np.eye(6)[1:] * 3, k, ids=ids),
    "clusters": lambda v, s, k, ids: draw_by_cluster(
        s**4, np.zeros(len(s), int), k, seed=7, ids=ids
    ),
}
each = pytest.mark.parametrize("select", SELECTORS.values(), ids=SELECTORS.keys())


def names(n: int) -> list[str]:
    """Ids that do not sort as row numbers do."""
    return [f"{(i * 37) % 101:03d}" for i in range(n)]


@each
@pytest.mark.parametrize("k", [0, 1, 7, ROWS])
def test_gives_k_distinct_rows_and_the_same_again(select: Selector, k: int) -> None:
    """Gives k distinct valid rows, and the same ones in the same order when asked again."""
    rows = select(planted_vectors(), planted_scores(), k, names(ROWS))
    assert len(rows) == len(set(rows.tolist())) == k
    assert all(0 <= row < ROWS for row in rows)
    assert rows.tolist() == select(planted_vectors(), planted_scores(), k, names(ROWS)).tolist()


@each
def test_more_than_there_are_gives_all(select: Selector) -> None:
    """With k above the number of rows gives every row once."""
    rows = select(planted_vectors(), planted_scores(), ROWS + 40, names(ROWS))
    assert sorted(rows.tolist()) == list(range(ROWS))


@each
@given(seed=st.integers(0, 10_000))
def test_order_of_rows_does_not_matter(select: Selector, seed: int) -> None:
    """Shuffled rows give the same ids in the same order, ties included."""
    vectors, scores, ids = planted_vectors(), planted_scores(), names(ROWS)
    vectors[10:14], scores[10:14] = vectors[10], 0.2
    order = np.random.default_rng(seed).permutation(ROWS)
    plain = [ids[row] for row in select(vectors, scores, 9, ids)]
    shuffled_ids = [ids[row] for row in order]
    shuffled = select(vectors[order], scores[order], 9, shuffled_ids)
    assert plain == [shuffled_ids[row] for row in shuffled]


@each
def test_beats_random_on_a_planted_pool(select: Selector) -> None:
    """Of ten rows at least four are among the five planted; random rows would hold 0.8."""
    rows = select(planted_vectors(), planted_scores(), 10, names(ROWS))
    assert sum(row < PLANTED for row in rows) >= 4


@each
def test_unusable_rows_are_never_chosen(select: Selector) -> None:
    """Rows of NaN or infinite score and vector are left out even when all rows are wanted."""
    vectors, scores = planted_vectors(), planted_scores()
    vectors[20], scores[20] = np.nan, np.nan
    vectors[21], scores[21] = np.inf, -np.inf
    rows = select(vectors, scores, ROWS, names(ROWS))
    assert sorted(rows.tolist()) == [row for row in range(ROWS) if row not in (20, 21)]


@each
def test_an_empty_pool_gives_nothing(select: Selector) -> None:
    """No rows in, no rows out, for k = 0 and k = 3."""
    for k in (0, 3):
        assert not len(select(np.zeros((0, 6)), np.zeros(0), k, []))


@each
def test_faulty_calls_are_explained(select: Selector) -> None:
    """A negative k and an id given twice raise UserError with the numbers."""
    with pytest.raises(UserError, match="k = -1"):
        select(planted_vectors(), planted_scores(), -1, names(ROWS))
    with pytest.raises(UserError, match="rows 0 and 7"):
        ids = names(ROWS)
        ids[7] = ids[0]
        select(planted_vectors(), planted_scores(), 3, ids)


# The cards' literal checks.
A = np.array(
    [
        [0.90, 0.80, 0.70, 0.10, 0.20, 0.30, 0.05, 0],
        [0.88, 0.15, 0.60, 0.85, 0.25, 0.20, 0.10, 0.05],
    ]
)
B = np.array(
    [[0.30, 0.40, 0.62, 0.20, 0.50, 0.61, 0.10, 0], [0.10, 0.20, 0.58, 0, 0.45, 0.30, 0.35, 0.05]]
)


def test_rds_rotation() -> None:
    """RDS+ card: single task, tasks in turn with scores, global maximum and mean variants."""
    assert round_robin(A, 4).tolist() == [0, 1, 3, 2]
    assert round_robin(B, 4).tolist() == [2, 5, 4, 6]
    assert top_k(A.max(axis=0), 4).tolist() == [0, 3, 1, 2]
    rows = round_robin(np.vstack([A, B]), 5, tasks=list("AABB"))
    tasks = per_group(np.vstack([A, B]).T, list("AABB"), how="max")
    picked = [(int(row), float(tasks[row, turn % 2])) for turn, row in enumerate(rows)]
    assert picked == [(0, 0.90), (2, 0.62), (3, 0.85), (5, 0.61), (1, 0.80)]
    means = A.mean(axis=0)
    assert top_k(means, 2).tolist() == [0, 2] and means[[0, 2, 1, 3]] == pytest.approx(
        [0.89, 0.65, 0.475, 0.475]
    )


@given(st.integers(0, 1000), st.integers(1, 6))
def test_rotation_grows_by_prefix(seed: int, queries: int) -> None:
    """The rows for n lead the rows for n + 1, and a repeated query changes nothing."""
    scores = np.random.default_rng(seed).integers(0, 5, (queries, 12)).astype(float)
    full = round_robin(scores, 12).tolist()
    assert all(round_robin(scores, n).tolist() == full[:n] for n in range(12))
    twice = np.vstack([scores, scores[-1:]])
    assert round_robin(twice, 12).tolist() == full


def test_turns_say_who_picked() -> None:
    """A list whose next row is taken loses the turn; picker and round tell."""
    turns = take_turns(np.array([[0, 1, 2], [0, 3, 1]]), 4)
    assert turns.rows.tolist() == [0, 1, 3, 2]
    assert turns.pickers.tolist() == [0, 0, 1, 0] and turns.rounds.tolist() == [0, 1, 1, 2]


EMBEDDED = [[1, 0, 0], [0.95, 0.31225, 0], [0, 1, 0], [0, 0.6, 0.8], [0.8, 0.6, 0], [0, 0, 1]]
EVOL = [12, 16, 8, 3, 5, 8]


def test_deita_filter() -> None:
    """DEITA card: rows kept at two thresholds and a budget; the tie of rows 2 and 5 goes by id."""
    assert spread(np.array(EMBEDDED), EVOL, threshold=0.9).tolist() == [1, 2, 5, 3]
    assert spread(np.array(EMBEDDED), EVOL, 3).tolist() == [1, 2, 5]
    assert spread(np.array(EMBEDDED), EVOL, threshold=0.7).tolist() == [1, 2, 5]
    assert spread(np.array(EMBEDDED), EVOL, threshold=0.8).tolist() == [1, 2, 5, 3]


@pytest.mark.parametrize("block", [1, 2, 3, 100])
def test_deita_compares_with_kept_rows_only(block: int) -> None:
    """Angles 0, 20, 40 at 0.9 keep [0, 2] in any block; the official code at batch 3 keeps [0]."""
    angles = np.radians([0, 20, 40])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert spread(vectors, np.array([3, 2, 1]), block=block).tolist() == [0, 2]


@given(st.integers(0, 1000), st.integers(1, 40))
def test_spread_does_not_know_blocks(seed: int, block: int) -> None:
    """Any block size keeps what a row-by-row loop keeps; zero vectors are never kept."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, (30, 3)).astype(float)
    scores = rng.integers(0, 5, 30).astype(float)
    kept: list[int] = []
    for row in np.lexsort((np.arange(30), -scores)).tolist():
        length = np.linalg.norm(vectors[row])
        if not length:
            continue
        near = [vectors[row] @ vectors[o] / length / np.linalg.norm(vectors[o]) for o in kept]
        if not any(np.float32(one) > np.float32(0.7) for one in near):
            kept.append(row)
    assert spread(vectors, scores, threshold=0.7, block=block).tolist() == kept


def test_apportion_of_the_cards() -> None:
    """The kMQ card: 3.6, 1.8, 0.6 give [4, 2, 0]. projektor card: with and without caps."""
    assert apportion(6, [6, 3, 1]).tolist() == [4, 2, 0]
    assert apportion(10, [0.35, 0.33, 0.32]).tolist() == [4, 3, 3]
    assert apportion(10, [0.35, 0.33, 0.32], [2, 10, 10]).tolist() == [2, 4, 4]


@given(
    st.integers(0, 200),
    st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 50)), min_size=1, max_size=12),
)
def test_apportion_is_exact(total: int, parts: list[tuple[float, int]]) -> None:
    """Shares add up to the total, or to the caps if those are less, and none exceeds its cap."""
    weights, caps = zip(*parts, strict=True)
    shares = apportion(total, weights, caps)
    assert shares.sum() == min(total, sum(caps))
    assert all(0 <= share <= cap for share, cap in zip(shares, caps, strict=True))


@given(st.integers(0, 100), st.lists(st.floats(0.01, 10), min_size=1, max_size=8))
def test_apportion_keeps_to_its_quota(total: int, weights: list[float]) -> None:
    """Without caps each share is its quota rounded down or up."""
    quotas = total * np.array(weights) / sum(weights)
    assert (np.abs(apportion(total, weights) - quotas) < 1 + 1e-6).all()


def test_draw_follows_the_weights() -> None:
    """First draws occur in proportion to the weights; zero weights come last."""
    firsts = [int(draw([1, 2, 0, 5], 4, seed=seed)[0]) for seed in range(2000)]
    assert [firsts.count(row) / 2000 for row in range(4)] == pytest.approx(
        [0.125, 0.25, 0, 0.625], abs=0.04
    )
    assert draw([1, 2, 0, 5], 4, seed=1)[-1] == 2
    with pytest.raises(UserError, match="-1 is below 0"):
        draw([1, -1], 1, seed=0)


def test_semantic_duplicates_of_the_card() -> None:
    """SemDeDup card: official rule at two epsilons, the rule of kept rows, and the similarities."""
    angles = np.radians([0, 15, 30, 80, 82])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = find_echoes(vectors, epsilon=0.05, rule="earlier")
    assert np.flatnonzero(found.duplicate_of >= 0).tolist() == [1, 2, 4]
    assert found.similarity.tolist() == pytest.approx(
        [0, 0.965926, 0.965926, 0.642788, 0.999391], abs=1e-6
    )
    close = find_echoes(vectors, epsilon=0.005, rule="earlier")
    assert np.flatnonzero(close.duplicate_of >= 0).tolist() == [4]
    ours = find_echoes(vectors, epsilon=0.05)
    assert np.flatnonzero(ours.duplicate_of < 0).tolist() == [0, 2, 3]


@given(st.integers(0, 1000), st.sampled_from(["earlier", "kept_only"]), st.integers(1, 30))
def test_semantic_duplicates_do_not_know_blocks(seed: int, rule: str, block: int) -> None:
    """Any block size finds the same matches, and none across clusters."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, (25, 3)).astype(float)
    clusters = rng.integers(0, 3, 25)
    small = find_echoes(vectors, epsilon=0.1, rule=rule, clusters=clusters, block=block)
    whole = find_echoes(vectors, epsilon=0.1, rule=rule, clusters=clusters)
    assert small.duplicate_of.tolist() == whole.duplicate_of.tolist()
    repeats = np.flatnonzero(whole.duplicate_of >= 0)
    assert (clusters[repeats] == clusters[whole.duplicate_of[repeats]]).all()


def test_color_filter_card_selection() -> None:
    """CoLoR card: tau 2, 4 and 7, best first; NaN is dropped, k is from all; tau 16 raises."""
    ids = np.array([17, 3, 42, 8, 5, 29, 11, 2])
    color = np.array([0.5, -0.1, 0.6, -0.1, 0.8, 0.4, 0.1, 0])

    def chosen(tau: int, scores: np.ndarray, names: np.ndarray) -> list[int]:
        k = rows_for_share(len(scores), 1 / tau)
        return names[top_k(scores, k, ids=names)].tolist()

    assert chosen(2, color, ids) == [5, 42, 17, 29]
    assert chosen(4, color, ids) == [5, 42]
    assert chosen(7, color, ids) == [5]
    broken = np.where(ids == 8, np.nan, color)
    assert chosen(4, broken, ids) == [5, 42]
    assert chosen(4, color, np.where(ids == 2, 0, ids)) == [5, 42]
    with pytest.raises(UserError, match="less than 1 row"):
        chosen(16, color, ids)
    with pytest.raises(UserError, match="more than all 8 rows"):
        rows_for_share(8, 1.5)
