"""What several selections took from one pool, side by side: overlap, sources, length, difficulty.

Measured once (`measure_picks`), said in the terminal (`tell`) and as a page (`write_page`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2
import numpy as np
import pyarrow as pa
from markupsafe import Markup

from pipeline.files import write_file
from pipeline.reporting import charts
from pipeline.reporting.charts import Series
from pipeline.reporting.wording import align, count, percent
from pipeline.selection.eligibility import chances

POOL = "the pool"
_DOTS = 1500  # of the pool on a map
_SOURCES = 12  # in the table; the rest are added up
_PLACES = 161  # of a curve: every two or three pixels a step


class Measure(NamedTuple):
    """One selection (or the pool): rows, sources, length in characters, loss in nats a token."""

    name: str
    rows: int
    sources: Mapping[str, int]
    chars: np.ndarray
    losses: np.ndarray


class Comparison(NamedTuple):
    """The measures (the pool's first), rows in common by pair, and a map of the pool."""

    measures: Sequence[Measure]
    common: np.ndarray
    places: np.ndarray  # float[rows, 2] in 0 .. 1, NaN where a row has no vector
    shown: np.ndarray  # rows of the pool on the map
    picks: Sequence[np.ndarray]
    kept: float  # share of the vectors' variance that the map shows


def measure_picks(
    facts: pa.Table, losses: np.ndarray, vectors: np.ndarray, picks: Mapping[str, Sequence[str]]
) -> Comparison:
    """Compare selections, given by name as ids of rows of the pool.

    facts: id, source, chars a row; losses: float[rows], NaN where there is none; vectors:
    float[rows, d].
    """
    ids = facts["id"].to_pylist()
    place = {one: i for i, one in enumerate(ids)}
    rows = [
        np.arange(len(ids)),
        *(np.array([place[i] for i in own], int) for own in picks.values()),
    ]
    sources, chars = np.array(facts["source"].to_pylist()), facts["chars"].to_numpy()
    measures = []
    for name, own in zip([POOL, *picks], rows, strict=True):
        names, counts = np.unique(sources[own], return_counts=True)
        mix = dict(zip(names.tolist(), counts.tolist(), strict=True))
        measures.append(Measure(name, len(own), mix, chars[own], losses[own]))
    common = np.array([[len(np.intersect1d(a, b)) for b in rows[1:]] for a in rows[1:]])
    places, kept = _map(vectors)
    shown = np.argsort(chances(ids, len(ids), 0))[:_DOTS]
    return Comparison(measures, common, places, shown, rows[1:], kept)


def _map(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the first two principal components, scaled to 0 .. 1, and the variance they keep."""
    from sklearn.decomposition import PCA

    usable = np.isfinite(vectors).all(axis=1)
    places = np.full((len(vectors), 2), np.nan)
    if usable.sum() < 3:
        return places, 0.0
    found = PCA(2, svd_solver="randomized", random_state=0).fit(vectors[usable])
    flat = found.transform(vectors[usable])
    low, high = np.percentile(flat, [0.5, 99.5], axis=0)
    places[usable] = np.clip((flat - low) / np.maximum(high - low, 1e-12), 0, 1)
    return places, float(found.explained_variance_ratio_.sum())


def tell(found: Comparison) -> str:
    """Say a comparison as aligned text."""
    blocks = [["What was taken", *_aligned(_summary(found))]]
    blocks.append(["Sources", *_aligned(_sources(found))])
    blocks.append(["Rows in common", *_aligned(_overlap(found))])
    return "\n\n".join("\n".join(block) for block in blocks)


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    return align("<" + ">" * (len(table[0]) - 1), [[f"  {row[0]}", *row[1:]] for row in table])


def _summary(found: Comparison) -> list[list[str]]:
    head = ["", "rows", "characters (median)", "25-75 %", "loss (median)", "25-75 %"]
    rows = []
    for one in found.measures:
        length = _quartiles(one.chars.astype(np.float64), ",.0f")
        rows.append([one.name, count(one.rows), *length, *_quartiles(one.losses, ".2f")])
    return [head, *rows]


def _quartiles(values: np.ndarray, form: str) -> tuple[str, str]:
    values = values[np.isfinite(values)]
    if not len(values):
        return "–", "–"
    low, middle, high = (format(v, form) for v in np.percentile(values, [25, 50, 75]))
    return middle, f"{low}-{high}"


def _sources(found: Comparison) -> list[list[str]]:
    pool = found.measures[0].sources
    named = sorted(pool, key=lambda name: (-pool[name], name))
    groups = [[name] for name in named[:_SOURCES]]
    if rest := named[_SOURCES:]:
        groups.append(rest)
    rows = []
    for group in groups:
        name = group[0] if len(group) == 1 else f"{len(group)} smaller ones"
        shares = [percent(sum(m.sources.get(s, 0) for s in group), m.rows) for m in found.measures]
        rows.append([name, *shares])
    return [["", *(m.name for m in found.measures)], *rows]


def _overlap(found: Comparison) -> list[list[str]]:
    names = [m.name for m in found.measures[1:]]
    rows = []
    for name, line, own in zip(names, found.common.tolist(), found.picks, strict=True):
        rows.append([name, *(f"{n:,} ({n / max(len(own), 1):.0%})" for n in line)])
    return [["", *names], *rows]


def write_page(file: Path, found: Comparison, facts: Mapping[str, str]) -> None:
    """Write the comparison as one HTML file that needs no network; `facts` go below the title."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    maps = [(one.name, Markup(_dots(found, i))) for i, one in enumerate(found.measures[1:])]
    page = environment.get_template("comparison.html.jinja").render(
        names=[one.name for one in found.measures[1:]],
        facts=facts,
        summary=_summary(found),
        sources=_sources(found),
        overlap=_overlap(found),
        maps=maps,
        charts=[_histogram(found, "chars"), _histogram(found, "losses")],
        kept=percent(found.kept),
        shown=count(len(found.shown)),
    )
    write_file(file, page.encode("utf-8", "replace"))


def _dots(found: Comparison, i: int) -> str:
    def placed(rows: np.ndarray) -> list[tuple[float, float]]:
        points = found.places[rows]
        return [(x, y) for x, y in points[np.isfinite(points).all(axis=1)].tolist()]

    name = found.measures[i + 1].name
    drawn = found.picks[i][:_DOTS]
    return charts.dots(f"Where {name} picks", [(POOL, placed(found.shown)), (name, placed(drawn))])


def _histogram(found: Comparison, what: str) -> tuple[str, str, list[str], Markup]:
    """Draw the cumulative shares of a measure: one step line a selection reads better than bars."""
    values = [getattr(one, what).astype(np.float64) for one in found.measures]
    values = [own[np.isfinite(own)] for own in values]
    top = float(np.percentile(np.concatenate([np.zeros(1), *values]), 99)) or 1.0
    edges = np.linspace(0, top, _PLACES)
    series = [
        Series(one.name, [float((own <= edge).mean()) if len(own) else None for edge in edges])
        for one, own in zip(found.measures, values, strict=True)
    ]
    title = "Length of the replies" if what == "chars" else "Difficulty"
    x_name = "characters" if what == "chars" else "loss, nats a token"
    svg = charts.curves(title, edges.tolist(), series, x_name, plain=True)
    return title, "Share of rows up to that value.", [one.name for one in series], Markup(svg)
