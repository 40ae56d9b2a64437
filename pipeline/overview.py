"""What the report and the terminal both say of a run: headline, funnel, cost, files, parameters."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.figures import Figures
from pipeline.funnel import Record, Stage
from pipeline.schema import canonical
from pipeline.wording import count, duration, percent

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
    """Return the seven numbers to look at first; before the tables exist, those of progress."""
    now, final = latest(record), record.final
    prompts = figures.prompts or now.get("prompts", 0)
    covered = figures.covered if figures.rollouts else now.get("covered", 0)
    rollouts = figures.rollouts or now.get("rollouts", 0)
    tokens = figures.tokens or now.get("tokens", 0)
    rows = final.rows if final else None
    return [
        Item("Prompts", count(prompts)),
        Item("Coverage", percent(covered, prompts), f"{count(covered)} with a correct rollout"),
        Item("Rows kept", count(rows), f"from {count(figures.with_rows)} prompts" if rows else ""),
        Item("Rollouts", count(rollouts), f"{percent(figures.surplus, rollouts)} surplus"),
        Item("Tokens", count(tokens), "generated"),
        Item("Tokens per row", count(tokens / rows if rows else None), "generated per row kept"),
        Item("Working time", duration(now.get("seconds")), "without pauses"),
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
    """Return what the run cost; rates are per second of working time."""
    now = latest(record)
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


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Flatten nested parameters to `name.of.the.value`: text; lists stay JSON."""
    if isinstance(value, Mapping) and value:
        return {
            name: text
            for key in sorted(value)
            for name, text in flatten(value[key], f"{prefix}.{key}" if prefix else key).items()
        }
    return {prefix: value if isinstance(value, str) else canonical(value).decode()}


def latest(record: Record) -> dict[str, Any]:
    """Return the last progress line; zeros, and no seconds, where there is none."""
    names = ("prompts", "finished", "covered", "rollouts", "tokens", "prompt_tokens", "correct")
    return {**dict.fromkeys(names, 0), **(record.progress[-1] if record.progress else {})}


def _decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}"


def _size(place: Path) -> str:
    files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    size = float(sum(file.stat().st_size for file in files))
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            break
        size /= 1000
    else:
        unit = "TB"
    return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
