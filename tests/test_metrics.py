"""Runs as Prometheus reads them: the numbers of the tables, over a real socket."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.errors import UserError
from pipeline.reporting.metrics import print_metrics, serve_metrics
from pipeline.schema import EXECUTIONS, Sifted
from pipeline.shards import Shards
from tests.toy_runs import build, commit

ROOT = Path(__file__).resolve().parents[1]


def read(text: str) -> dict[tuple[str, ...], float]:
    """Parse Prometheus' text: (name, label values in the labels' order) -> value."""
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels) if name != "run")): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_say_what_the_tables_say(tmp_path):
    """Verdicts, rows by fate, tokens and state of a finished run are those of its files."""
    run = build(tmp_path / "run")
    found = read(print_metrics([run]))
    rows = Shards.open(run / "rollouts").table().to_pylist()
    for word in {row["verdict"] for row in rows}:
        count = sum(row["verdict"] == word for row in rows)
        assert found["tamis_verdicts", "rollouts", word] == count
    last = json.loads((run / "progress.jsonl").read_text().splitlines()[-1])
    assert found["tamis_tokens_total", "completion"] == last["tokens"]
    assert found["tamis_rollouts_total",] == last["rollouts"]
    assert found["tamis_run_state", "finished"] == 1
    assert found["tamis_step_rows", "dropped", "duplicate_prompt", "prompts"] == 2
    kept = {key[3]: n for key, n in found.items() if key[:2] == ("tamis_step_rows", "kept")}
    steps = ("prompts", "rollouts", "picked", "sft")
    assert kept == {one: Shards.open(run / one).rows for one in steps}


def test_executions_are_counted_by_status_with_their_cpu(tmp_path):
    """Three cells of 500 ms: two passed, one timed out; the run is not finished."""
    cells = [
        {"code_id": "c", "test_id": str(i), "status": status, "cpu_ms": 500.0}
        for i, status in enumerate(["pass", "timeout", "pass"])
    ]
    table = pa.Table.from_pylist(cells, EXECUTIONS)
    commit(tmp_path / "run/again", Sifted(table), "executions", {})
    found = read(print_metrics([tmp_path / "run"]))
    assert found["tamis_executions", "pass", "again"] == 2
    assert found["tamis_executions", "timeout", "again"] == 1
    assert found["tamis_execution_cpu_seconds", "again"] == pytest.approx(1.5)
    assert found["tamis_run_state", "unfinished"] == 1


def test_a_scrape_sees_the_run_as_it_is_now(tmp_path):
    """Two runs behind one address; a step committed between two scrapes is in the second."""
    runs = [build(tmp_path / name, until=until) for name, until in (("a", "sft"), ("b", "prompts"))]
    server = serve_metrics(runs, "127.0.0.1", 0)
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/metrics"
        before, _, after = (_get(url), build(tmp_path / "b", until="rollouts"), _get(url))
        with pytest.raises(UserError, match="cannot be listened on"):
            serve_metrics(runs, "127.0.0.1", server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
    line = f'tamis_step_shards{{run="{runs[1]}",step="rollouts"}} 1.0'
    assert line not in before and line in after
    assert f'tamis_verdicts{{run="{runs[0]}",step="rollouts",verdict="correct"}}' in before


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


def test_the_command_prints_a_textfile_and_refuses_what_is_no_run(tmp_path):
    """`tamis metrics RUN` prints what the collector says; an empty folder is a sentence."""
    run = build(tmp_path / "run")
    command = [sys.executable, "-m", "pipeline", "metrics"]
    done = subprocess.run([*command, str(run)], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == print_metrics([run])
    (tmp_path / "empty").mkdir()
    refused = subprocess.run(
        [*command, str(tmp_path / "empty")], cwd=ROOT, capture_output=True, text=True
    )
    assert refused.returncode == 1 and "not a run folder" in refused.stderr
