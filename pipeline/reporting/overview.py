"""What the report and the terminal both say of a run: headline, funnel, cost, files, parameters."""

import math
from pathlib import Path
from typing import NamedTuple

import polars as pl

from pipeline.reporting.figures import Figures
from pipeline.reporting.funnel import Record, Stage
from pipeline.reporting.wording import count, duration, percent

_FOLDERS = {
    "prompts": "the prompts, with their references",
    "rollouts": "every trial, whatever its verdict; surplus trials in aside/",
    "picked": "the rollouts that were kept",
    "sft": "conversations with their lineage",
    "pairs": "chosen and rejected completions with their lineage",
}
_FILES = {
    "config.yaml": "the resolved parameters; runs again as it is",
    "manifest.json": "recipe, model, steps, counts and fingerprints",
    "progress.jsonl": "one line a second: time, tokens, coverage",
}


class Item(NamedTuple):
    """A named figure and what it means."""

    name: str
    value: str
    note: str = ""


def headlines(record: Record, figures: Figures) -> list[Item]:
    """Return the numbers to look at first; before the tables exist, those of progress."""
    now, final = record.now, record.final
    if not samples(record, figures):
        return _selection_headlines(record)
    prompts = figures.prompts or now.get("prompts", 0)
    covered = figures.covered if figures.rollouts else now.get("covered", 0)
    rollouts = figures.rollouts or now.get("rollouts", 0)
    tokens = figures.tokens or now.get("tokens", 0)
    rows = final.rows if final else None
    surplus = f"{percent(figures.surplus, rollouts)} surplus" if figures.rollouts else ""
    note = f"{count(covered)} with a correct rollout"
    is_judged = any(one.name != "unverified" for one in figures.outcomes) or not figures.outcomes
    origin = f"from {count(figures.with_rows)} prompts" if figures.with_rows else ""
    return [
        Item("Prompts", count(prompts)),
        *([Item("Coverage", percent(covered, prompts), note)] if is_judged else ()),
        Item("Rows kept", count(rows), origin),
        Item("Rollouts", count(rollouts), surplus),
        Item("Tokens", count(tokens), "generated"),
        Item("Tokens per row", count(tokens / rows if rows else None), "generated per row kept"),
        Item("Working time", duration(now.get("seconds")), "without pauses"),
        *_length_bias(record),
    ]


def _length_bias(record: Record) -> list[Item]:
    """Return how far chosen texts differ from rejected ones in length alone, if there are pairs."""
    from pipeline.pairs import bias_of

    wanted = {"row_id", "chosen", "rejected"}
    made = [stage.name for stage in record.stages if wanted <= set(record.columns(stage.name))]
    opened = record.open(made[-1]) if made else None
    if opened is None or not opened.rows:
        return []
    sides = [pl.col(name).str.len_chars() for name in ("chosen", "rejected")]
    found = bias_of(opened.scan().select(sides).collect(engine="streaming").rows())
    ratio = math.exp(found["log_ratio"] or 0.0)
    longer, shorter = percent(found["longer"]), percent(found["shorter"])
    note = (
        f"chosen / rejected, median; chosen longer in {longer}, shorter in {shorter} of the pairs"
    )
    return [Item("Length ratio", f"{ratio:.2f}", note)]


def samples(record: Record, figures: Figures) -> bool:
    """Say whether the run asks a model for rollouts; one that only selects does not."""
    asks = any(stage.name in ("prompts", "rollouts", "probes") for stage in record.stages)
    return bool(asks or figures.rollouts or record.progress)


def _selection_headlines(record: Record) -> list[Item]:
    read = record.stages[0].rows_in if record.stages else 0
    rows = record.final.rows if record.final else None
    return [
        Item("Rows read", count(read)),
        Item("Rows kept", count(rows), percent(rows, read) if rows and read else ""),
        Item("Steps", count(len(record.stages))),
    ]


def funnel(stage: Stage) -> str:
    """Say how a step's rows add up: in = kept + dropped, exactly, or what else happened."""
    if not stage.fingerprint:
        return f"unfinished: {count(stage.shards)} of {count(stage.shards_of) or '?'} shards done"
    if stage.unaccounted:
        return f"{count(stage.unaccounted)} rows unaccounted for"
    if stage.expands:
        aside = f", {count(stage.aside)} aside" if stage.aside else ""
        return f"{count(stage.rows_in)} made {count(stage.rows)}{aside}"
    parts = [count(stage.rows), *map(count, stage.dropped.values())]
    return f"{count(stage.rows_in)} = {' + '.join(parts)}"


def costs(record: Record, figures: Figures) -> list[Item]:
    """Return what the run cost; rates are per second of working time. Nothing for a selection."""
    if not samples(record, figures):
        return []
    now = record.now
    seconds = now.get("seconds") or 0
    rows = record.final.rows if record.final else 0
    rate = {name: now[name] / seconds if seconds else None for name in ("tokens", "rollouts")}
    tokens = figures.tokens or now["tokens"]
    spent = {fate.name: fate.tokens for fate in figures.fates}
    per_row = figures.rollouts / rows if rows else None
    return [
        Item("Tokens generated", count(tokens)),
        Item("of which in kept rollouts", percent(spent.get("kept"), figures.tokens)),
        Item("of which surplus", percent(spent.get("surplus"), figures.tokens)),
        Item("Prompt tokens", count(now["prompt_tokens"])),
        Item("Rollouts per kept row", _decimal(per_row)),
        Item("Surplus rollouts", percent(figures.surplus, figures.rollouts)),
        Item("Working time", duration(now.get("seconds"))),
        Item("Tokens per second", count(rate["tokens"])),
        Item("Rollouts per second", _decimal(rate["rollouts"])),
    ]


def list_files(record: Record) -> list[Item]:
    """Return the run's files and folders, relative to it: path, size, what is there."""
    items = [
        Item(f"{kind.relative_to(record.folder)}/", _size(kind), "for load_dataset and training")
        for kind in sorted(record.folder.glob("dataset/*"))
        if kind.is_dir() and not kind.name.startswith(".")
    ]
    for stage in record.stages:
        folder = record.folder / stage.name
        if folder.is_dir():
            what = _FOLDERS.get(stage.name, f"rows of step '{stage.step or stage.name}'")
            items.append(Item(f"{stage.name}/", _size(folder), what))
    present = {name: note for name, note in _FILES.items() if (record.folder / name).is_file()}
    return items + [Item(name, _size(record.folder / name), note) for name, note in present.items()]


def _decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}"


def _size(place: Path) -> str:
    files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    size, units = float(sum(file.stat().st_size for file in files)), ["kB", "MB", "GB", "TB"]
    unit = "bytes"
    while size >= 1000 and units:
        size, unit = size / 1000, units.pop(0)
    return f"{size:,.0f} bytes" if unit == "bytes" else f"{size:,.1f} {unit}"
