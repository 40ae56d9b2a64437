"""report.html: one file with everything a person wants to see of a run, readable without a network.

The figures are functions of the data; only seconds and rates come from the clock.
"""

import heapq
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
import xxhash

from pipeline.figures import measure
from pipeline.files import write_file
from pipeline.funnel import Record, flatten, read_record
from pipeline.overview import costs, funnel, headlines, list_files
from pipeline.plots import plot
from pipeline.schema import canonical
from pipeline.trials import REJECTED, collect, scan_trials
from pipeline.wording import count, duration, percent

_EXAMPLES = 5
_SHOWN = 420  # characters of a text that are seen without a click
_LONGEST = 20_000  # characters of a text that are in the file at all
_MAX_REASONS = 20
_HERE = Path(__file__).parent


def write_report(run: str | Path, *, seed: int = 0) -> Path:
    """Write RUN/report.html and return it. `seed` chooses the example rows.

    Works on unfinished runs too: what is not there yet is left out. Raises UserError if `run` is
    not a run folder.
    """
    record = read_record(run)
    figures = measure(record)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (count, percent, duration, funnel):
        environment.filters[function.__name__] = function
    page = environment.get_template("report.html.jinja").render(
        record=record,
        name=record.folder.resolve().name,
        figures=figures,
        headlines=headlines(record, figures),
        costs=costs(record, figures),
        files=list_files(record),
        parameters=flatten(record.parameters) if record.parameters else {},
        plots=plot(record, figures),
        outcomes=figures.outcomes[:_MAX_REASONS],
        more_outcomes=figures.outcomes[_MAX_REASONS:],
        examples={side: _examples(record, side, seed) for side in ("kept", "rejected")},
        shown=_SHOWN,
    )
    target = record.folder / "report.html"
    write_file(target, page.encode("utf-8", "replace"))
    return target


def _examples(record: Record, side: str, seed: int) -> list[dict[str, Any]]:
    """Return a few rollouts at random, with their prompts; the same ones for the same seed."""
    trials, opened = scan_trials(record), record.open("rollouts")
    if trials is None or opened is None:
        return []
    chosen = trials.filter(pl.col("kept") if side == "kept" else pl.col("counted") & REJECTED)
    ids = collect(chosen.select("rollout_id"))["rollout_id"]
    drawn = heapq.nsmallest(
        _EXAMPLES, ids, key=lambda one: (xxhash.xxh3_64_intdigest(canonical([seed, one])), one)
    )
    rows = opened.scan().filter(pl.col("rollout_id").is_in(drawn)).sort("rollout_id").collect()
    asked = _prompts(record, rows["id"].unique().to_list())
    return [_example(row, asked.get(row["id"], {})) for row in rows.iter_rows(named=True)]


def _prompts(record: Record, ids: list[str]) -> dict[str, dict[str, Any]]:
    opened = record.open("prompts")
    if opened is None:
        return {}
    rows = opened.scan().filter(pl.col("id").is_in(ids)).collect()
    return {row["id"]: row for row in rows.iter_rows(named=True)}


def _example(row: dict[str, Any], prompt: dict[str, Any]) -> dict[str, Any]:
    turns = prompt.get("messages") or []
    texts = {
        "Prompt": turns[-1]["content"] if turns else "",
        "Completion": (row["prefix"] or "") + (row["completion"] or ""),
    }
    reference = prompt.get("answer")
    return {
        **{name: row[name] for name in ("rollout_id", "id", "trial", "verdict", "reason")},
        "tokens": count(row["n_tokens"]),
        "extracted": row["extracted"],
        "reference": reference if isinstance(reference, str) else None,
        "texts": [(name, text[:_LONGEST], len(text)) for name, text in texts.items() if text],
    }
