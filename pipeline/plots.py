"""The charts of a run: each with its caption, its legend and a table that says the same."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from pipeline import charts
from pipeline.charts import Series
from pipeline.figures import Figures
from pipeline.funnel import Record
from pipeline.wording import count, duration, percent

_POINTS = 60  # of a curve over time


class Plot(NamedTuple):
    """A chart for people who see it (`svg`) and for those who do not (`head`, `rows`)."""

    title: str
    caption: str
    legend: Sequence[str]
    svg: Markup
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def plot(record: Record, figures: Figures) -> list[Plot]:
    """Draw every chart that the run has numbers for."""
    plots = []
    if figures.rollouts:
        drawn = (_effort, _pass_rates, _over_trials, _lengths, _spending)
        plots = [draw(figures) for draw in drawn]
    lines = _thin(record.progress)
    if lines:
        plots.insert(3, _over_time(lines, figures))
    return plots


def _pass_rates(figures: Figures) -> Plot:
    by_level = figures.by == "level"
    title = "Pass rate by difficulty level" if by_level else "Pass rates of the prompts"
    levels = figures.levels
    points = [None if one.rate is None else (one.rate, one.low, one.high) for one in levels]
    svg = charts.intervals(title, [one.name for one in levels], points, _by(figures))
    rows = [
        (one.name, count(one.prompts), percent(one.rate), f"{one.low:.1%} to {one.high:.1%}")
        for one in levels
    ]
    caption = (
        "Mean over prompts of the share of judged rollouts that are correct, with its 95 % Wilson "
        "interval; the prompt is the unit."
    )
    if not by_level:
        caption += " The prompts have no level, so they are grouped by their own pass rate."
    return Plot(
        title, caption, [], Markup(svg), [figures.by, "prompts", "pass rate", "interval"], rows
    )


def _effort(figures: Figures) -> Plot:
    """Where the rollouts went and where the rows came from (the plot of DART-Math, figure 1)."""
    title = f"Rollouts spent and kept by {_by(figures)}"
    levels = figures.levels
    columns = {
        "rollouts spent": [one.spent for one in levels],
        "rollouts kept": [one.kept for one in levels],
        "prompts": [one.prompts for one in levels],
    }
    series = _shares(columns)
    svg = charts.bars(title, [one.name for one in levels], series, _by(figures))
    rows = [
        (
            one.name,
            *map(count, (one.prompts, one.spent, one.correct, one.kept)),
            f"{one.spent / one.prompts:.1f}",
            f"{one.kept / one.prompts:.1f}",
        )
        for one in levels
    ]
    head = [figures.by, "prompts", "spent", "correct", "kept", "spent a prompt", "kept a prompt"]
    caption = (
        "Shares of the whole run. Where the kept share falls below the prompts' share, that group "
        "is under-represented in the data; where rollouts exceed it, the run spent extra on it."
    )
    return Plot(title, caption, [one.name for one in series], Markup(svg), head, rows)


def _over_trials(figures: Figures) -> Plot:
    title = "Coverage over trials"
    trials = [float(n) for n, _, _ in figures.coverage]
    series = [Series("a correct rollout", [share for _, share, _ in figures.coverage])]
    if figures.wanting:
        series.append(Series("its target reached", [share for *_, share in figures.coverage]))
    svg = charts.curves(title, trials or [1.0], series, "trials a prompt (log scale)", log=True)
    rows = [(count(n), percent(one), percent(two)) for n, one, two in figures.coverage]
    caption = "Share of prompts that have, after so many trials each, "
    caption += "a correct rollout, or as many as they were to reach."
    head = ["trials a prompt", "a correct rollout", "target reached"]
    return Plot(title, caption, [one.name for one in series], Markup(svg), head, rows)


def _over_time(lines: Sequence[Mapping[str, Any]], figures: Figures) -> Plot:
    title, best = "Coverage over time", 0
    whole = figures.prompts or max(line["prompts"] for line in lines) or 1
    seconds, shares = [], []
    for line in lines:
        best = max(best, line["covered"])  # a resumed run counts anew what it reuses
        seconds.append(float(line["seconds"]))
        shares.append(min(1.0, best / whole))
    series = [Series("a correct rollout", shares)]
    svg = charts.curves(title, seconds, series, "working time")
    rows = [
        (duration(line["seconds"]), count(line["rollouts"]), count(line["tokens"]), percent(share))
        for line, share in zip(lines, shares, strict=True)
    ]
    caption = "Share of prompts with a correct rollout, by working time; pauses are left out."
    return Plot(title, caption, [], Markup(svg), ["time", "rollouts", "tokens", "covered"], rows)


def _thin(progress: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Return some progress lines, evenly spread, the last one always among them."""
    lines = [line for line in progress if {"seconds", "covered", "prompts"} <= set(line)]
    every = -(-len(lines) // _POINTS) or 1
    return lines[::-1][::every][::-1]


def _lengths(figures: Figures) -> Plot:
    title, (width, *sides) = "Length of completions", figures.lengths
    series = _shares(dict(zip(("kept", "rejected"), sides, strict=True)))
    svg = charts.histogram(title, width, series, "generated tokens")
    rows = [
        (f"{i * width:,}–{(i + 1) * width - 1:,}", count(kept), count(rejected))
        for i, (kept, rejected) in enumerate(zip(*sides, strict=True))
        if kept or rejected
    ]
    caption = "Tokens a completion, each side as a share of its own rollouts. "
    caption += "Rejected: judged, and not correct."
    return Plot(
        title, caption, ["kept", "rejected"], Markup(svg), ["tokens", "kept", "rejected"], rows
    )


def _spending(figures: Figures) -> Plot:
    title = "Where the tokens went"
    columns = {
        "tokens": [one.tokens for one in figures.fates],
        "rollouts": [one.rollouts for one in figures.fates],
    }
    series = _shares(columns)
    svg = charts.bars(title, [one.name for one in figures.fates], series, "")
    rows = [(one.name, count(one.rollouts), count(one.tokens)) for one in figures.fates]
    caption = "What became of every rollout. Not picked: correct, but a duplicate or one too many. "
    caption += "Not judged: the engine failed, or there is no verifier."
    head = ["fate", "rollouts", "tokens"]
    return Plot(title, caption, [one.name for one in series], Markup(svg), head, rows)


def _shares(columns: Mapping[str, Sequence[int]]) -> list[Series]:
    return [
        Series(name, [value / (sum(values) or 1) for value in values])
        for name, values in columns.items()
    ]


def _by(figures: Figures) -> str:
    return "difficulty level" if figures.by == "level" else "pass rate of the prompt"
