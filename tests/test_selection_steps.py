"""What each selection recipe decides, on the worked checks of its card, without a model."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from flows.selection.baseline import choose_plainly
from flows.selection.color_filter import choose_by_fall
from flows.selection.dedup import find_paraphrases, find_repeats
from flows.selection.deita import choose_diverse
from flows.selection.got_d import choose_by_slope
from flows.selection.grape import choose_fittest, group_by_prompt
from flows.selection.ifd import choose_hard
from flows.selection.kmq import draw_from_clusters
from flows.selection.kmq_iterative import draw_round, reweigh
from flows.selection.less import choose_by_gradient
from flows.selection.meta_ranking import choose_reliable, draw_references
from flows.selection.rds_plus import take_turns
from flows.selection.sftmix import split_and_pair
from pipeline.errors import UserError
from pipeline.nano_pool import nano_pool
from pipeline.schema import Sifted
from pipeline.vectors import Features, Identity, write_features

MADE = Identity("m", "0", -1, "mean", "none", 0, "float32", "none")


@pytest.fixture
def store(tmp_path: Path) -> Any:
    """Write vectors under ids a, b, c ... into a new folder."""

    def write(vectors: Any, ids: Sequence[str] = "abcdefghijkl") -> Features:
        held = np.asarray(vectors, dtype=float)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        return write_features(folder, MADE, list(ids[: len(held)]), lambda at: held[list(at)])

    return write


def rows(ids: str, **columns: Any) -> pa.Table:
    """A light table of a pool."""
    return pa.table({"id": list(ids)} | columns)


def chosen(found: Sifted) -> str:
    """The ids chosen, in order."""
    table = found.kept.sort_by("rank")
    return "".join(r["id"] for r in table.to_pylist() if r["rank"] is not None)


def reasons(found: Sifted) -> dict[str, str]:
    """Why the others that are listed were left out."""
    return {r["id"]: r["reason"] for r in found.kept.to_pylist() if r["reason"]}


def losses(store: Any, *rows_: Sequence[float]) -> Features:
    """Token losses as they are stored: sum, count, not cut."""
    return store([[sum(own), len(own), 0] for own in rows_])


def test_rds_takes_turns_in_the_pool_only(store: Any) -> None:
    """Two tasks pick in turn by their best query; a stored row outside the pool is not picked."""
    pool = store([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9], [0.7, 0.7]])
    asked = store([[1, 0], [0, 1]], "xy")
    queries = rows("xy", task=["s", "t"])
    how = {"vectors": pool, "asked": asked, "n": 3}
    found = take_turns(rows("bcde"), queries, order="turns", **how)
    assert chosen(found) == "bcd"[0] + "c" + "e"
    picked = [r for r in found.kept.sort_by("rank").to_pylist() if r["rank"] is not None]
    assert [(r["picked_by"], r["round"]) for r in picked] == [("s", 0), ("t", 0), ("s", 1)]
    assert chosen(take_turns(rows("abcde"), queries, order="score", **how)) == "acb"


def test_deita_of_the_card(store: Any) -> None:
    """Rows kept and too similar at tau 0.9; an unrated row is counted apart."""
    vectors = store(
        [[1, 0, 0], [0.95, 0.31225, 0], [0, 1, 0], [0, 0.6, 0.8], [0.8, 0.6, 0], [0, 0, 1]]
    )
    scores = rows("abcdef", evol=[12.0, 16, 8, 3, 5, 8])
    found = choose_diverse(scores, vectors=vectors, n=6, tau=0.9)
    assert chosen(found) == "bcfd"
    assert reasons(found) == {"a": "too_similar", "e": "too_similar"}
    few = choose_diverse(scores, vectors=vectors, n=3, tau=0.9)
    assert chosen(few) == "bcf" and reasons(few) == {"a": "too_similar"}
    unrated = rows("abcdef", evol=pa.array([12.0, None, 8, 3, 5, 8]))
    assert reasons(choose_diverse(unrated, vectors=vectors, n=2, tau=0.9))["b"] == "no_score"


def test_color_of_the_card(store: Any) -> None:
    """The largest falls first, best first; a row without a loss is left out, short ones too."""
    prior = [3.2, 2.9, 3.5, 4.1, 2.0, 3.0, 3.8, 2.5]
    cond = [2.7, 3.0, 2.9, 4.2, 1.2, 2.6, 3.7, 2.5]
    before, after = (store([[8 * x, 8, 0] for x in own]) for own in (prior, cond))
    how = {"prior": before, "conditional": after, "least_tokens": 8}
    assert chosen(choose_by_fall(rows("abcdefgh"), n=4, **how)) == "ecaf"
    cond[3] = np.nan
    how["conditional"] = store([[8 * x, 8, 0] for x in cond])
    found = choose_by_fall(rows("abcdefgh"), n=2, **how)
    assert chosen(found) == "ec" and reasons(found) == {"d": "no_loss"}
    short = choose_by_fall(rows("abcdefgh"), n=8, **(how | {"least_tokens": 9}))
    assert chosen(short) == "" and set(reasons(short).values()) == {"no_loss", "too_short"}


def test_ifd_of_the_card(store: Any) -> None:
    """Each score's order and what it drops: c > a = d, c > d > a, b > d > a > c."""
    given = losses(store, [1, 1.5, 0.5], [2, 2.2], [0.9, 1.1, 1, 1], [0.2, 0.2])
    alone = losses(store, [2, 2.5, 1.5], [2.1, 1.9], [1.2, 1, 1.1, 1.1], [0.5, 0.3])
    asked = losses(store, [3, 2], [1, 1, 1], [5, 5], [1.5, 0.5])
    how = {"given": given, "alone": alone, "asked": asked, "vectors": None}
    how |= {"n": 4, "share": 0.0, "least_tokens": 1}
    found = choose_hard(rows("abcd"), score="cherry", **how)
    assert chosen(found) == "cad" and reasons(found) == {"b": "above_1"}
    assert chosen(choose_hard(rows("abcd"), score="superfiltering", **how)) == "cda"
    assert chosen(choose_hard(rows("abcd"), score="ic", **how)) == "bdac"
    with pytest.raises(UserError, match="less than 1 row"):
        choose_hard(rows("abcd"), score="cherry", **(how | {"share": 0.1}))
    unasked = how | {"asked": losses(store, [3, 2], [1, 1, 1], [], [1.5, 0.5])}
    found = choose_hard(rows("abcd"), score="cherry", **unasked)
    assert chosen(found) == "ad" and reasons(found) == {"b": "above_1", "c": "no_prompt"}
    apart = store(np.eye(4))
    assert len(chosen(choose_hard(rows("abcd"), score="ic", **(how | {"vectors": apart})))) == 4


def test_grape_of_the_card(store: Any) -> None:
    """By mean b wins, by sum a; replies equal but for space are one, and one is no choice."""
    said = ["aa", "bb", "cc", "x", "x ", "y", "z", "z "]
    asked = ["p"] * 3 + ["q"] * 3 + ["r"] * 2
    turns = [
        [{"role": "user", "content": p}, {"role": "assistant", "content": s}]
        for p, s in zip(asked, said, strict=True)
    ]
    grouped = group_by_prompt(rows("abcdefgh", messages=turns))
    kept = losses(
        store, [0.2, 0.3, 0.1], [0.05] * 20, [1.2, 0.4], [0.5], [0.5], [0.1], [0.1], [0.1]
    )
    how = {"kept": kept, "at_most": 1, "least_tokens": 1}
    found = choose_fittest(grouped, rule="mean", **how)
    assert chosen(found) == "bf"
    assert reasons(found) == {
        "a": "less_likely", "c": "less_likely", "d": "less_likely", "e": "same_reply",
        "g": "one_reply", "h": "same_reply",
    }  # fmt: skip
    assert chosen(choose_fittest(grouped, rule="sum", **how)) == "af"


def test_got_d_of_the_card(store: Any) -> None:
    """The two of the most negative slope, the most positive with contrast, and again in parts."""
    how = {"vectors": store([[0.0], [1], [2], [6]]), "target": store([[5.0], [6], [7]], "xyz")}
    how |= {"epsilon": 0.1, "parts": 1}
    found = choose_by_slope(rows("abcd"), n=2, contrast=False, **how)
    assert chosen(found) == "dc"
    assert found.kept["score"].to_pylist() == pytest.approx([-32.9268, -1.0732], abs=1e-3)
    assert chosen(choose_by_slope(rows("abcd"), n=2, contrast=True, **how)) == "ab"
    assert chosen(choose_by_slope(rows("abcd"), n=2, contrast=False, **how | {"parts": 2})) == "dc"
    whole = choose_by_slope(rows("abcd"), n=9, contrast=False, **how | {"parts": 4})
    assert chosen(whole) == "dcba"


def test_kmq_of_the_card() -> None:
    """Six rows over three clusters: 4, 2, 0 by largest remainder; the official code gives five."""
    quality = [4.9, 1.2, 3.3, 2.7, 5.5, 0.4, 2.2, 6.8, 1.1, 3.0]
    scored = rows("abcdefghij", evol=quality, cluster=[0] * 6 + [1] * 3 + [2])
    found = draw_from_clusters(scored, n=6, mode="sound", seed=0)
    assert sorted(c for i in chosen(found) for c in [0 if i < "g" else 1]) == [0] * 4 + [1] * 2
    assert chosen(draw_from_clusters(scored, n=6, mode="code", seed=42)) == "echgj"
    assert 1 <= len(chosen(draw_from_clusters(scored, n=6, mode="paper", seed=0))) <= 6


def test_kmq_rounds_take_what_is_left() -> None:
    """Every round draws its whole part, by the clusters' weights, from rows not drawn before."""
    scored = rows("abcdefghij", evol=[1.0] * 10, cluster=[0] * 5 + [1] * 5)
    one = draw_round(scored, (), weights=[0.5, 0.5], n=4, seed=1)
    two = draw_round(scored, (one.kept,), weights=[0.0, 1.0], n=3, seed=2)
    assert len(chosen(one)) == 4 and not set(chosen(one)) & set(chosen(two))
    assert len(chosen(two)) == 3 and set(chosen(two)) <= set("fghij")
    none = draw_round(scored, (one.kept, two.kept), weights=[0.0, 1.0], n=0, seed=3)
    assert chosen(none) == "" and none.kept.schema == one.kept.schema


def test_clusters_weigh_by_their_mean_gain() -> None:
    """Card: mean gains .5, -.5 and 1 of two rows each give the softmax; an unanswered row counts
    for nothing and an undrawn cluster keeps its share.
    """
    gained = rows("abcdefg", cluster=[0, 0, 1, 1, 2, 2, 2], gain=[1.0, 0, 0, -1, 2, 0, None])
    how = {"mode": "sound", "scale": 1.0}
    table = reweigh(gained, weights=[1 / 3] * 3, **how).to_pydict()
    assert table["rows"] == [2, 2, 2] and table["gain"] == [0.5, -0.5, 1.0]
    assert table["weight"] == pytest.approx([0.331499, 0.121952, 0.546549], abs=1e-6)
    more = reweigh(gained, weights=[0.25] * 4, **how).to_pydict()
    assert more["gain"][3] is None and more["weight"][3] == pytest.approx(0.25)


def test_less_of_the_card(store: Any) -> None:
    """Weights .75 and .25, mean in a task, largest over tasks: row a wins.

    A gradient of 0, a row's or a query's, has cosine 0; a row without a gradient has no score.
    """
    pools = [
        store([[3, 4, 0, 0], [0, 0, 5, 0], [1, 1, 1, 1], [0, 0, 0, 0], [np.nan] * 4]),
        store([[4, 3, 0, 0], [0, 0, 0, 2], [2, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]),
    ]
    aims = [
        store([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 3]], "wxyz"),
        store([[0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], "wxyz"),
    ]
    queries = rows("wxyz", task=["s", "s", "t", "t"])
    how = {"steps": pools, "aims": aims, "weights": [0.75, 0.25]}
    found = choose_by_gradient(rows("abcde"), queries, n=9, **how)
    assert chosen(found) == "abcd" and reasons(found) == {"e": "no_gradient"}
    assert found.kept["score"].to_pylist()[:4] == pytest.approx([0.7, 0.5, 0.5, 0], abs=1e-6)
    assert found.kept["best_task"].to_pylist()[:2] == ["s", "t"]
    known = [store(np.where(np.arange(4)[:, None] == 1, 0, one.array()), "wxyz") for one in aims]
    found = choose_by_gradient(rows("abcde"), queries, n=2, **how | {"aims": known})
    assert chosen(found) == "bc"
    assert found.kept["score"].to_pylist()[:2] == pytest.approx([0.5, 0.375], abs=1e-6)
    lost = [store(np.full((4, 4), np.nan), "wxyz")] * 2
    with pytest.raises(UserError, match="4 of 4 queries have no reply that fits"):
        choose_by_gradient(rows("abcde"), queries, n=2, **how | {"aims": lost})


def test_less_first_order_of_the_card(store: Any) -> None:
    """Card D: cosines of three rows' gradients with a query's; E: copies tie, length is nothing."""
    pool = store([[-2, 0], [0, 0.75], [0, 0], [0, 7.5], [-2, 0]])
    how = {"aims": [store([[-1, -2]], "q")], "weights": [1.0]}
    queries = rows("q", task=["t"])
    found = choose_by_gradient(rows("abcde"), queries, n=9, steps=[pool], **how)
    assert chosen(found) == "aecbd"
    said = [0.447214, 0.447214, 0, -0.894427, -0.894427]
    assert found.kept["score"].to_pylist() == pytest.approx(said, abs=1e-6)
    turned = store(pool.array()[::-1], "edcba")
    again = choose_by_gradient(rows("edcba"), queries, n=9, steps=[turned], **how)
    assert chosen(again) == "aecbd"


def test_sftmix_halves_and_partners(store: Any) -> None:
    """The card's halves; every pair joins them, and its two weights sum to 1."""
    nll = {"a": [1, 0.8, 0.6], "b": [2, 1.5, 1.2], "c": [0.5, 0.4, 0.4], "d": [3, 2.9, 2]}
    nll |= {"e": [1.1, 1, 0.9], "f": [1.5, 1.5, 1.4]}
    checkpoints = [losses(store, *([own[i]] for own in nll.values())) for i in range(3)]
    how = {"checkpoints": checkpoints, "alpha": 0.5, "seed": 3}
    found = split_and_pair(rows("abcdef"), keep="both", **how)
    assert chosen(found) == "caefbd"
    said = {r["id"]: r for r in found.kept.to_pylist()}
    assert {one for one in said if said[one]["half"] == "confident"} == set("ace")
    for one, row in said.items():
        other = said[row["partner"]]
        assert other["half"] != row["half"] and other["partner"] == one
        assert row["mix"] + other["mix"] == pytest.approx(1)
    assert chosen(split_and_pair(rows("abcdef"), keep="unconfident", **how)) == "fbd"


def test_references_are_balanced() -> None:
    """As many reliable as unreliable references are drawn, none that fills the judge's context."""
    pool = nano_pool(80)
    how = {"label": "sound", "count": 6, "judge": "data/nano", "seed": 1}
    first = draw_references(pool, **how).kept
    assert first["reliable"].to_pylist() == [True] * 3 + [False] * 3
    texts = pool["messages"].to_pylist()
    long = texts[pool["id"].to_pylist().index(first["id"][0].as_py())]
    long[0]["content"] *= 99
    drawn = draw_references(pool.set_column(1, pool.schema.field(1), [texts]), **how).kept
    assert drawn["id"].to_pylist()[:2] == first["id"].to_pylist()[1:3]
    assert drawn["reliable"].to_pylist() == [True] * 3 + [False] * 3
    sound = pool.filter(pa.array([json.loads(m)["sound"] for m in pool["meta"].to_pylist()]))
    with pytest.raises(UserError, match="is true on 3 and false on 0 references"):
        draw_references(sound, **how)


def test_reliable_rows_are_above_the_threshold() -> None:
    """At the threshold is not above it; a row not judged is not called unreliable."""
    judged = rows("abcd", votes=pa.array([0.5, 0.0, None, 2.0]), contrary=[0.0] * 4)
    found = choose_reliable(judged, threshold=0.0, share=0.0)
    assert chosen(found) == "da" and reasons(found) == {"b": "unreliable", "c": "not_judged"}
    assert chosen(choose_reliable(judged, threshold=0.0, share=1.0)) == "dab"


def test_repeats_name_what_they_repeat(store: Any) -> None:
    """Rows kept already win, a near copy is told from an equal one, and meaning is by cosine."""
    text = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"

    def said(*texts: str) -> list[list[dict[str, str]]]:
        return [[{"role": "assistant", "content": one}] for one in texts]

    held = rows("k", messages=said("kept long ago"))
    pool = rows("abcd", messages=said(text, text + " more", "Kept long  ago", "another"))
    found = find_repeats(pool, [held], near=0.8)
    assert chosen(found) == "ad"
    assert reasons(found) == {"b": "near_duplicate", "c": "duplicate"}
    by_id = {r["id"]: r["duplicate_of"] for r in found.kept.to_pylist()}
    assert by_id == {"a": None, "b": "a", "c": "existing k", "d": None}
    angles = np.radians([0, 15, 30, 80, 82])
    vectors = store(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    how = {"vectors": vectors, "epsilon": 0.05, "clusters": 1, "seed": 0}
    assert chosen(find_paraphrases(rows("abcde"), rule="kept_only", **how)) == "acd"
    assert chosen(find_paraphrases(rows("abcde"), rule="earlier", **how)) == "ad"


def test_baselines_take_what_they_say(store: Any) -> None:
    """Longest, least likely, middling and balanced rows; chance differs with the seed."""
    pool = rows("abcdef", chars=[5, 9, 1, 7, 3, 2], source=["s"] * 5 + ["t"])
    kept = losses(store, [1.0], [2.0], [3.0], [4.0], [5.0], [6.0])
    how = {"losses": kept, "n": 2, "seed": 0}
    assert chosen(choose_plainly(pool, by="longest", **how | {"losses": None})) == "bd"
    assert chosen(choose_plainly(pool, by="perplexity", **how)) == "fe"
    assert sorted(chosen(choose_plainly(pool, by="mid_perplexity", **how))) == ["c", "d"]
    assert "f" in chosen(choose_plainly(pool, by="balanced", **how))
    drawn = {chosen(choose_plainly(pool, by="random", **how | {"seed": i})) for i in range(9)}
    assert len(drawn) > 3
