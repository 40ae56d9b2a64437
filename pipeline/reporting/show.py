"""A run in plain text: for `tamis show`, while it goes on and afterwards."""

from pathlib import Path

from pipeline.reporting.figures import Figures, measure
from pipeline.reporting.funnel import Record, read_record
from pipeline.reporting.overview import costs, funnel, headlines, list_files
from pipeline.reporting.wording import align, count, percent

_MAX_REASONS = 8


def summarise(run: str | Path) -> str:
    """Return funnel, pass rates, cost and files of a run as aligned text, without a final newline.

    Works on running, stopped and empty runs: what is not there yet is said or left out. Raises
    UserError if `run` is not a run folder.
    """
    record = read_record(run)
    figures = measure(record)
    blocks = [
        _title(record),
        align("<<<", [list(item) for item in headlines(record, figures)]),
        _funnel(record),
        _levels(figures),
        _verdicts(figures),
        _costs(record, figures),
        _files(record),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _title(record: Record) -> list[str]:
    said = {
        "running": f"running: {record.holder}",
        "unfinished": "stopped before its end; the same command finishes it",
        "finished": "finished",
    }
    facts = (record.recipe, record.model, record.paper)
    about = [" · ".join(fact for fact in facts if fact)]
    now = record.now
    if record.state != "finished" and now["prompts"]:
        about.append(f"{count(now['finished'])} of {count(now['prompts'])} prompts done")
    return [str(record.folder), *(line for line in about if line), said[record.state]]


def _funnel(record: Record) -> list[str]:
    if not record.stages:
        return ["No step has finished a shard yet."]
    head = ["  step", "in", "out", "dropped", "in = kept + dropped"]
    rows = []
    for stage in record.stages:
        dropped = sum(stage.dropped.values())
        counts = map(count, (stage.rows_in, stage.rows, dropped))
        rows.append([f"  {stage.name}", *counts, funnel(stage)])
        rows += [
            [f"    {reason}", "", "", count(rows_lost), ""]
            for reason, rows_lost in stage.dropped.items()
        ]
    return ["Funnel", *align("<>>><", [head, *rows])]


def _levels(figures: Figures) -> list[str]:
    if not figures.levels:
        return []
    head = [f"  {figures.by}", "prompts", "pass rate", "95 %", "rollouts", "correct", "kept"]
    rows = [
        [
            f"  {one.name}",
            count(one.prompts),
            percent(one.rate),
            f"{one.low:.0%}-{one.high:.0%}",
            *map(count, (one.spent, one.correct, one.kept)),
        ]
        for one in figures.levels
    ]
    return [f"Prompts by {figures.by}", *align("<>>>>>>", [head, *rows])]


def _verdicts(figures: Figures) -> list[str]:
    whole = figures.rollouts - figures.surplus
    if not whole:
        return []
    rows = [
        [
            f"  {one.name} {one.reason}".rstrip(),
            count(one.rollouts),
            percent(one.rollouts, whole),
        ]
        for one in figures.outcomes[:_MAX_REASONS]
    ]
    rest = sum(one.rollouts for one in figures.outcomes[_MAX_REASONS:])
    if rest:
        rows.append(["  rarer reasons", count(rest), percent(rest, whole)])
    return [
        "Verdicts of counted rollouts",
        *align("<>>", [["  verdict", "rollouts", "share"], *rows]),
    ]


def _costs(record: Record, figures: Figures) -> list[str]:
    rows = [[f"  {item.name}", item.value] for item in costs(record, figures)]
    return ["Cost", *align("<>", rows)] if rows else []


def _files(record: Record) -> list[str]:
    rows = [
        [f"  {record.folder / item.name}", item.value, item.note] for item in list_files(record)
    ]
    report = record.folder / "report.html"
    if report.is_file():
        rows.append([f"  {report}", "", "the report"])
    return ["Files", *align("<><", [["  path", "size", "what"], *rows])] if rows else []
