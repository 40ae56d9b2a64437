"""Gates that a build must pass, and a pointer `latest` that never shows a half-written set.

    PLACE/sets/<digest>/   one published build each, never changed: a whole run folder
    PLACE/latest           a link to the newest of them, replaced by one rename

A set is made of hard links: every file of a run is replaced by a rename and never written in
place, so a later build cannot reach into it. The logs, which grow in place, are copied.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import xxhash

from pipeline.files import sync_folder
from pipeline.reporting.diff import find_changes
from pipeline.reporting.figures import measure
from pipeline.reporting.funnel import Record, read_record
from pipeline.reporting.wording import percent

_GROWING = ("progress.jsonl", "log.jsonl")
_LEFT_OUT = (".lock", "journal", "previous", "export", ".*.tmp", ".*.partial")


class Gates(NamedTuple):
    """What a build must keep to; the defaults let everything pass but a set of no rows.

    min_coverage: share of prompts with a correct rollout. max_drop: share of its rows that a step
    may drop (steps that make several rows of one are not asked). max_length_shift: relative change
    of the median tokens of kept rollouts against the last set. benchmark: prompts of which no row
    may hold one (a file or a hub dataset), by the `rule` of pipeline.decontaminate.
    """

    min_coverage: float = 0.0
    max_drop: float = 1.0
    max_length_shift: float | None = None
    benchmark: str = ""
    rule: str = "any_13gram"


def find_failures(run: Path, last: Path | None, gates: Gates) -> list[str]:
    """Return one sentence for each gate that the build in `run` fails, with the two numbers.

    `last` is the set published before, if there is one.
    """
    record = read_record(run)
    return [
        *_emptiness(record),
        *_coverage(record, gates),
        *_drops(record, gates),
        *(_shift(run, last, gates) if last else ()),
        *_contamination(record, gates),
    ]


def publish(run: Path, place: Path) -> Path:
    """Make the finished build in `run` the newest set of `place`; return the set's folder.

    Killed at any instant, `latest` leads to the old set or to the new one, whole; a build that was
    published before is not written again.
    """
    name = xxhash.xxh3_128_hexdigest((run / "manifest.json").read_bytes())[:12]
    target = place / "sets" / name
    if not target.exists():
        partial = target.with_name(f".{name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        ignored = shutil.ignore_patterns(*_LEFT_OUT)
        shutil.copytree(run, partial, ignore=ignored, copy_function=_link)
        for folder, _, _ in os.walk(partial):
            sync_folder(Path(folder))
        partial.rename(target)
        sync_folder(target.parent)
    link = place / ".latest.tmp"
    link.unlink(missing_ok=True)
    link.symlink_to(target.relative_to(place))
    link.replace(place / "latest")
    sync_folder(place)
    return target


def _link(source: str, target: str) -> None:
    if Path(source).name in _GROWING:
        shutil.copyfile(source, target)
        return
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _emptiness(record: Record) -> Iterator[str]:
    if record.final is not None and not record.final.rows:
        last = record.final.name
        yield f"the set has 0 rows (step {last}), and an empty one never replaces another"


def _coverage(record: Record, gates: Gates) -> Iterator[str]:
    figures = measure(record)
    if gates.min_coverage and figures.covered < gates.min_coverage * max(figures.prompts, 1):
        yield (
            f"coverage is {percent(figures.covered, figures.prompts)} of {figures.prompts} "
            f"prompts, below min_coverage = {percent(gates.min_coverage)}"
        )


def _drops(record: Record, gates: Gates) -> Iterator[str]:
    for stage in record.stages:
        dropped = sum(stage.dropped.values())
        if not stage.expands and dropped > gates.max_drop * stage.rows_in:
            yield (
                f"step {stage.name} dropped {percent(dropped, stage.rows_in)} of {stage.rows_in} "
                f"rows ({', '.join(stage.dropped)}), above max_drop = {percent(gates.max_drop)}"
            )


def _shift(run: Path, last: Path, gates: Gates) -> Iterator[str]:
    before, now = find_changes(last, run)["lengths"]["median"]
    if gates.max_length_shift is None or not before or now is None:
        return
    if abs(now - before) > gates.max_length_shift * before:
        yield (
            f"the median length went from {before:.0f} to {now:.0f} tokens, "
            f"{percent(abs(now - before), before)}, above max_length_shift = "
            f"{percent(gates.max_length_shift)}"
        )


def _contamination(record: Record, gates: Gates) -> Iterator[str]:
    opened = record.open(record.final.name) if gates.benchmark and record.final else None
    if opened is None:
        return
    from pipeline.decontaminate import decontaminate
    from pipeline.sources import read_prompts

    prompts = read_prompts(gates.benchmark, skip_bad=True).kept.to_pylist()
    import pyarrow as pa

    items = pa.table(
        {
            "bench": [Path(gates.benchmark).stem] * len(prompts),
            "item_id": [row["id"] for row in prompts],
            "prompt": [row["messages"][-1]["content"] for row in prompts],
        }
    )
    columns = [name for name in ("messages", "prompt") if name in record.columns(opened.path.name)]
    found = 0
    for i in range(len(opened)):
        rule: Any = gates.rule
        sifted = decontaminate(opened.shard(i, columns), items, rule=rule, columns=columns)
        found += sum(sifted.dropped.values())
    if found:
        yield (
            f"{found} of {opened.rows} rows hold one of {len(prompts)} items of "
            f"{gates.benchmark} (rule {gates.rule}), and none may"
        )
