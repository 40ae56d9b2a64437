"""What people see of a run: report, terminal summary and comparison, from whole and broken runs."""

import os
import re
from html.parser import HTMLParser
from pathlib import Path

import orjson
import polars as pl
import pyarrow as pa
import pytest

from pipeline.errors import UserError
from pipeline.files import lock_folder
from pipeline.reporting.diff import compare, find_changes
from pipeline.reporting.figures import measure
from pipeline.reporting.funnel import read_record
from pipeline.reporting.report import write_report
from pipeline.reporting.show import summarise
from pipeline.reporting.wording import duration
from pipeline.schema import Sifted, canonical
from pipeline.shards import Shards, write_shard
from tests.toy_runs import RATES, build, commit


class Page(HTMLParser):
    """Collects tags and addresses, and fails on a page whose tags do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.links = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag and its addresses."""
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "br", "link", "img", "hr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that closes itself."""
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Check that tags close in order."""
        assert self.open.pop() == tag


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of its own for each test."""
    return build(tmp_path / "run")


def read(run: Path) -> str:
    """Write the report and return its text, once its tags are known to close."""
    text = write_report(run).read_text()
    Page(text)
    return text


def test_figures_recounted(run: Path) -> None:
    """The lazy aggregates equal a plain recount of the same tables."""
    figures = measure(read_record(run))
    rollouts = Shards.open(run / "rollouts")
    counted, surplus = rollouts.table().to_pylist(), rollouts.aside().collect().to_dicts()
    correct = [row for row in counted if row["verdict"] == "correct"]
    kept = {one for row in Shards.open(run / "sft").table().to_pylist() for one in row["parents"]}
    levels = {f"prompt-{i:03d}": str(list(RATES)[i % 5]) for i in range(40)}
    assert figures.rollouts == len(counted) + len(surplus)
    assert (figures.surplus, figures.correct) == (len(surplus), len(correct))
    assert figures.covered == len({row["id"] for row in correct})
    assert figures.tokens == sum(row["n_tokens"] for row in counted + surplus)
    assert figures.kept == len([row for row in counted if row["rollout_id"] in kept])
    for level in figures.levels:
        mine = [row for row in correct if levels[row["id"]] == level.name]
        assert level.correct == len(mine)
        assert level.kept == len([row for row in mine if row["rollout_id"] in kept])
    assert sum(fate.rollouts for fate in figures.fates) == figures.rollouts
    assert sum(fate.tokens for fate in figures.fates) == figures.tokens
    assert sum(figures.lengths.kept) == figures.kept


def test_pass_rate_by_hand(tmp_path: Path) -> None:
    """A level's rate is the mean over prompts, infra left out; its interval covers it."""
    run = build(tmp_path / "run", prompts=2, rates={1: 1.0}, until="prompts")
    words = {"prompt-000": ["correct", "infra"], "prompt-001": ["wrong", "correct"]}
    words["prompt-001"] += ["wrong", "wrong"]
    write_rollouts(run, words)
    (level,) = measure(read_record(run)).levels
    assert level.rate == pytest.approx((1.0 + 0.25) / 2)
    assert 0 < level.low < level.rate < level.high < 1


def write_rollouts(run: Path, words: dict[str, list[str]]) -> None:
    """Give a run rollouts with these verdicts, in trial order."""
    source = Shards.open(build(run.parent / "source", prompts=2) / "rollouts").shard(0)
    first = source.slice(0, 1).to_pylist()[0]
    rows = [
        first | {"id": prompt, "trial": i, "verdict": word, "rollout_id": f"{prompt}/{i}"}
        for prompt, verdicts in words.items()
        for i, word in enumerate(verdicts)
    ]
    table = pa.Table.from_pylist(rows, schema=source.schema)
    commit(run / "rollouts", Sifted(table), "rollouts", {}, [Shards.open(run / "prompts")])


def test_coverage_by_hand(tmp_path: Path) -> None:
    """Coverage after n trials counts first correct trials, and targets where their k-th was."""
    run = build(tmp_path / "run", prompts=2, rates={1: 1.0}, until="prompts")
    write_rollouts(run, {"prompt-000": ["wrong", "correct"] + ["correct"] * 3, "prompt-001": []})
    curve = measure(read_record(run)).coverage
    assert curve == [(1, 0, 0), (2, 0.5, 0), (3, 0.5, 0), (4, 0.5, 0), (5, 0.5, 0.5)]


def test_report_is_self_contained(run: Path) -> None:
    """The page has no script, no font, no image and no address outside of the run folder."""
    text = read(run)
    page = Page(text)
    assert not {"script", "img", "link", "iframe"} & set(page.tags)
    assert all((run / link).exists() for link in page.links)
    assert "http" not in re.sub(r"<pre>.*?</pre>", "", text, flags=re.S)
    assert "url(" not in text
    assert page.tags.count("svg") == page.tags.count("figure") == 6


def test_report_escapes_data(run: Path) -> None:
    """Markup in completions, reasons, levels and parameters reaches the reader as text."""
    config = run / "config.yaml"
    config.write_text(config.read_text() + "paper: '<script>paper</script>'\n")
    evil = "<script>alert(1)</script>"
    prompts = pl.from_arrow(Shards.open(run / "prompts").table()).with_columns(
        meta=pl.lit(canonical({"level": evil}).decode()), source=pl.lit(evil)
    )
    commit(run / "prompts", Sifted(prompts.to_arrow(), {evil: 1}), "import", {})
    rollouts = pl.from_arrow(Shards.open(run / "rollouts").table())
    rollouts = rollouts.with_columns(reason=pl.lit(evil), completion=pl.lit(evil * 100))
    commit(run / "rollouts", Sifted(rollouts.to_arrow()), "rollouts", {})
    text = read(run)
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(1)") > 100


def test_report_is_deterministic(run: Path) -> None:
    """Two reports of one run are equal bytes; another seed shows other examples."""
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first
    assert write_report(run, seed=1).read_bytes() != first


def test_funnel_adds_up(run: Path) -> None:
    """Each step's line is the sum of rows kept and dropped, and what does not add up is said."""
    text = summarise(run)
    stage = read_record(run).stage("picked")
    parts = [stage.rows, *stage.dropped.values()]
    assert sum(parts) == stage.rows_in
    assert f"{stage.rows_in} = {' + '.join(map(str, parts))}" in text
    file = run / "picked" / "manifest.json"
    file.write_bytes(orjson.dumps(orjson.loads(file.read_bytes()) | {"dropped": {}}))
    assert f"{sum(stage.dropped.values())} rows unaccounted for" in summarise(run)


def test_steps_follow_their_inputs(run: Path) -> None:
    """Without a run manifest, steps come in the order of their lineage, not of their names."""
    (run / "picked").rename(run / "a_later_step")
    assert [one.name for one in read_record(run).stages] == [
        "prompts",
        "rollouts",
        "a_later_step",
        "sft",
    ]


def test_run_manifest_orders_steps(run: Path) -> None:
    """The run's manifest gives order, model and paper, and steps that left no folder."""
    steps = [{"name": name} for name in ("sft", "picked", "rollouts", "prompts")]
    steps.append({"name": "emit", "rows_in": 9, "rows": 9, "dropped": {}, "fingerprint": "f"})
    facts = {"steps": steps, "model": {"engine": "vllm", "digest": "d"}, "paper": "arXiv 1"}
    (run / "manifest.json").write_bytes(orjson.dumps(facts))
    record = read_record(run)
    assert [one.name for one in record.stages] == [one["name"] for one in steps]
    assert (record.paper, record.model) == ("arXiv 1", "engine: vllm, digest: d")
    assert "9 = 9" in read(run)


@pytest.mark.parametrize("until", ["prompts", "rollouts", "picked"])
def test_half_finished_run(tmp_path: Path, until: str) -> None:
    """A run that stopped after any step is told as far as it went."""
    run = build(tmp_path / "run", until=until)
    text = summarise(run)
    assert (until == "picked") == ("unfinished" not in read(run))
    assert until in text


def test_step_stopped_midway(tmp_path: Path) -> None:
    """Committed shards of an unfinished step are counted, and coverage comes from the progress."""
    run = build(tmp_path / "run", until="rollouts")
    table = Shards.open(run / "rollouts").shard(0)
    record = {"step": "rollouts", "version": 1, "parameters": {}, "rows_in": 40, "of": 4}
    write_shard(run / "rollouts", 0, table, key="k", made_by=record)  # takes the manifest back
    text = summarise(run)
    assert "unfinished: 1 of 4 shards done" in text
    assert "stopped before its end" in text
    assert re.search(r"Coverage +\d", text)
    assert "Coverage over time" in read(run)


def test_run_in_progress(run: Path) -> None:
    """While another live process holds the folder, the summary names it; never this one."""
    with lock_folder(run):
        mine = (run / ".lock").read_text()
        assert "finished" in summarise(run)
    for pid, said in [(os.getppid(), "running: process"), (2**22 + 1, "finished")]:
        (run / ".lock").write_text(mine.replace(str(os.getpid()), str(pid)))
        assert said in summarise(run)
    (run / ".lock").write_text("process 1 on elsewhere, 2026")
    assert "running: process 1 on elsewhere" in summarise(run)


def test_torn_progress(run: Path) -> None:
    """A progress file cut anywhere leaves the lines before the cut."""
    file = run / "progress.jsonl"
    file.write_bytes(file.read_bytes()[:-30])
    assert "Working time" in summarise(run)
    file.write_bytes(b'{"sec')
    assert "Coverage over time" not in read(run)
    file.unlink()
    assert re.search(r"Working time +–", summarise(run))


def test_resumed_coverage_never_falls(run: Path) -> None:
    """A resumed run counts its covered prompts anew; the curve does not fall."""
    lines = [orjson.loads(line) for line in (run / "progress.jsonl").read_bytes().splitlines()]
    again = [line | {"covered": 1, "seconds": line["seconds"] + 999} for line in lines[:1]]
    (run / "progress.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines + again)))
    last = read(run).partition("Coverage over time")[2].partition("</tbody>")[0]
    shares = [float(share) for share in re.findall(r"([\d.]+) %</td></tr>", last)]
    assert shares == sorted(shares)
    assert shares[-1] > 50


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ({3: 0.5}, "Prompts by level"),
        ({None: 0.5}, "Prompts by pass rate"),
        ({"easy": 0.9, "hard": 0.2}, "Prompts by level"),
        ({n: 0.5 for n in range(20)}, "Prompts by pass rate"),
    ],
)
def test_levels_of_any_kind(tmp_path: Path, rates: dict, said: str) -> None:
    """One level, none, named levels and too many of them to be levels."""
    run = build(tmp_path / "run", rates=rates)
    assert said in summarise(run)
    assert sum(level.prompts for level in measure(read_record(run)).levels) == 40
    read(run)


def test_levels_in_order(tmp_path: Path) -> None:
    """Levels sort as numbers where they are numbers, and prompts without one come last."""
    run = build(tmp_path / "run", rates={10: 0.5, 9: 0.5, None: 0.5})
    assert [one.name for one in measure(read_record(run)).levels] == ["9", "10", "no level"]


def test_nothing_correct(tmp_path: Path) -> None:
    """A run in which every answer is wrong has a report with zeros and no kept row."""
    run = build(tmp_path / "run", rates={1: 0.0})
    figures = measure(read_record(run))
    assert (figures.covered, figures.kept, figures.correct) == (0, 0, 0)
    assert "No row has been kept." in read(run)
    assert re.search(r"Coverage +0.0 %", summarise(run))


def test_empty_run(tmp_path: Path) -> None:
    """A run over no prompts at all is a run with zeros."""
    run = build(tmp_path / "run", prompts=0)
    assert re.search(r"Prompts +0", summarise(run))
    read(run)


def test_run_that_has_just_begun(tmp_path: Path) -> None:
    """A folder with nothing but its configuration is a run; any other folder is none."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "other").mkdir()
    (run / "other" / "manifest.json").write_text('{"of": "another program"}')
    with pytest.raises(UserError, match="not a run folder"):
        summarise(run)
    (run / "config.yaml").write_text("recipe: rejection.toy\n")
    assert "No step has finished a shard yet." in summarise(run)
    read(run)
    with pytest.raises(UserError, match="no such folder"):
        summarise(tmp_path / "missing")


def test_broken_configuration(run: Path) -> None:
    """A configuration that is not YAML is named in one sentence."""
    (run / "config.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"config.yaml: not YAML"):
        write_report(run)


def test_long_text_is_folded(run: Path) -> None:
    """A long completion shows its beginning, folds the rest, and is cut at a bound."""
    rollouts = pl.from_arrow(Shards.open(run / "rollouts").table())
    rollouts = rollouts.with_columns(completion=pl.lit("word " * 100_000))
    commit(run / "rollouts", Sifted(rollouts.to_arrow()), "rollouts", {})
    text = read(run)
    assert "all 500,000 characters" in text
    assert "480,000 more characters" in text
    assert len(text) < 400_000


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (599.4, "9 min 59 s"),
        (599.6, "10 min"),
        (3599.9, "1 h 00 min"),
        (90061, "25 h 01 min"),
        (None, "–"),
    ],
)
def test_durations(seconds: float | None, said: str) -> None:
    """No duration says 60 seconds or 60 minutes."""
    assert duration(seconds) == said


def test_same_run_has_no_changes(run: Path) -> None:
    """A run compared with itself has all rollouts in both and no parameter changed."""
    facts = find_changes(run, run)
    assert facts["parameters"] == facts["gone"] == facts["new"] == {}
    kept = measure(read_record(run)).kept
    assert facts["kept"] == {"in_both": kept, "only_a": 0, "only_b": 0}
    assert all(one == other for one, other in facts["totals"].values())


@pytest.mark.parametrize(
    "change", [{"k": 2}, {"seed": 8}, {"prompts": 25}, {"temperature": 1.0}, {"cap": 3}]
)
def test_changes_add_up(tmp_path: Path, change: dict) -> None:
    """Whatever changed, the reasons account for every rollout that left or came."""
    one, other = build(tmp_path / "one"), build(tmp_path / "other", **change)
    facts = find_changes(one, other)
    kept = [measure(read_record(run)).kept for run in (one, other)]
    both = facts["kept"]["in_both"]
    assert both + sum(facts["gone"].values()) == kept[0]
    assert both + sum(facts["new"].values()) == kept[1]
    assert compare(one, other).splitlines()[0] == f"A  {one}"


def test_change_of_parameter_is_named(tmp_path: Path) -> None:
    """A changed temperature is named, and explains rollouts of another identity."""
    one = build(tmp_path / "one")
    other = build(tmp_path / "other", temperature=1.0)
    facts = find_changes(one, other)
    assert facts["parameters"] == {"sampling.temperature": ["0.7", "1.0"]}
    (why,) = facts["gone"]
    assert "of another identity" in why
    assert orjson.dumps(facts)


def test_compare_with_unfinished(tmp_path: Path, run: Path) -> None:
    """A run without rollouts has everything to gain, and says why."""
    young = build(tmp_path / "young", until="prompts")
    facts = find_changes(run, young)
    assert facts["gone"] == {"there are no rollouts": facts["kept"]["only_a"]}
    assert "there are no rollouts" in compare(run, young)
