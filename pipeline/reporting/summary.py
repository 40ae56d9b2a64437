"""A run in a page of markdown and one picture, beside its data: summary.md and plot.svg."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.files import write_file
from pipeline.reporting.figures import Figures, measure
from pipeline.reporting.funnel import Record, read_record
from pipeline.reporting.overview import funnel, headlines
from pipeline.reporting.plots import Plot, plot
from pipeline.reporting.wording import count

# The report's light colours; alone, a chart has no page around it.
_STYLE = """<style>
text { font: 11px sans-serif; fill: #626a73; text-anchor: middle } text.y { text-anchor: end }
.grid { stroke: #e3e1dc } .base { stroke: #626a73 }
.s0 { fill: #2f6690 } .s1 { fill: #d17a22 } .s2 { fill: #a3a9b0 }
</style><rect width="100%" height="100%" fill="#fff"/>"""


def write_summary(run: str | Path) -> Path:
    """Write RUN/summary.md, and RUN/plot.svg if the run sampled; return the former."""
    record = read_record(run)
    figures = measure(record)
    target = record.folder / "summary.md"
    plots = plot(record, figures)
    if plots:
        svg = str(plots[0].svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
        head, mark, rest = svg.partition(">")
        write_file(record.folder / "plot.svg", (head + mark + _STYLE + rest).encode())
    write_file(target, _text(record, figures, plots).encode())
    return target


def _text(record: Record, figures: Figures, plots: Sequence[Plot]) -> str:
    lines = [f"# {record.recipe}", "", f"{record.model} · {record.paper}".strip(" ·"), ""]
    lines += ["| figure | value | |", "| --- | --: | --- |"]
    # Working time is the clock's; everything else is a function of the data.
    shown = [item for item in headlines(record, figures) if item.name != "Working time"]
    lines += [f"| {item.name} | {item.value} | {item.note} |" for item in shown]
    lines += ["", "| step | in | out | in = kept + dropped | dropped |"]
    lines += ["| --- | --: | --: | --- | --- |"]
    for stage in record.stages:
        why = ", ".join(f"{count(n)} {reason}" for reason, n in stage.dropped.items())
        counts = f"{count(stage.rows_in)} | {count(stage.rows)}"
        lines.append(f"| {stage.name} | {counts} | {funnel(stage)} | {why} |")
    for one in plots[:1]:
        lines += ["", f"plot.svg: {one.title}; bars from left: {', '.join(one.legend)}"]
    return "\n".join([*lines, ""])
