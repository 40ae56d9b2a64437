"""Runs as Prometheus reads them: what a run folder says, at the moment that it is asked.

Nothing is counted in the run itself: a folder says it whether its run goes on, was killed or is
finished, on whatever runner, and who watches costs the run nothing. Rows and verdicts are those of
committed shards, tokens and rollouts those of progress.jsonl (a second old, surplus too).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from pipeline.errors import UserError
from pipeline.reporting.funnel import Record, read_record
from pipeline.shards import read_parquet

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_STATES = ("running", "unfinished", "finished")
_WORDS = {"rollouts": "verdict", "executions": "status"}  # step -> the column that is counted
_WORD_METRICS = {
    "verdict": ("tamis_verdicts", "Rollouts that count, by verdict"),
    "status": ("tamis_executions", "Programs on tests, by status"),
}
_CPU = "cpu_ms"


class Runs:
    """A collector of prometheus_client over run folders; register it, or print it."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders

    def collect(self) -> "Iterator[Metric]":
        """Yield every metric, a sample for each run; UserError for what is no run folder."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        families: dict[str, Any] = {}
        kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}
        for folder in self.folders:
            for kind, name, text, labels, value in _samples(read_record(folder)):
                if name not in families:
                    families[name] = kinds[kind](name, text, labels=["run", *labels])
                families[name].add_metric([str(folder), *labels.values()], value)
        yield from families.values()


Sample = tuple[str, str, str, dict[str, str], float]


def print_metrics(folders: Sequence[Path]) -> str:
    """Return the metrics of these runs in Prometheus' text format, as its textfiles have it."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(Runs(folders))
    return str(generate_latest(registry), "utf-8")


def serve_metrics(folders: Sequence[Path], host: str, port: int) -> Any:
    """Serve /metrics of these runs from a thread; return the server (0: a free port).

    UserError where the address cannot be had.
    """
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    registry.register(Runs(folders))
    print_metrics(folders)  # a folder that is no run is refused now, not at the first question
    try:
        server, _ = start_http_server(port, host, registry)
    except OSError as fault:
        raise UserError(
            f"{host}:{port} cannot be listened on ({fault}); give another --port"
        ) from fault
    return server


def _samples(record: Record) -> Iterator[Sample]:
    now = record.now
    for state in _STATES:
        text = "Whether the run is in this state"
        yield "gauge", "tamis_run_state", text, {"state": state}, float(record.state == state)
    for name, text in (
        ("prompts", "Prompts of the stage that is sampled"),
        ("finished", "Prompts of it that need no more rollouts"),
        ("covered", "Prompts of it with a correct rollout"),
    ):
        label = "" if name == "prompts" else f"_{name}"
        yield "gauge", f"tamis_prompts{label}", text, {}, now[name]
    yield "counter", "tamis_rollouts", "Rollouts generated", {}, now["rollouts"]
    for kind, name in (("completion", "tokens"), ("prompt", "prompt_tokens")):
        yield "counter", "tamis_tokens", "Tokens generated and read", {"kind": kind}, now[name]
    text = "Seconds that the run has worked"
    yield "counter", "tamis_working_seconds", text, {}, now.get("seconds", 0.0)
    yield from _steps(record)


def _steps(record: Record) -> Iterator[Sample]:
    for stage in record.stages:
        about = {"step": stage.name}
        fates = {("kept", ""): stage.rows, **{("dropped", w): n for w, n in stage.dropped.items()}}
        for (fate, reason), rows in fates.items():
            labels = {**about, "fate": fate, "reason": reason}
            text = "Rows of a step, kept or dropped for a reason"
            yield "gauge", "tamis_step_rows", text, labels, rows
        yield "gauge", "tamis_step_shards", "Shards of a step committed", about, stage.shards
        if (column := _WORDS.get(stage.step or stage.name)) is not None:
            yield from _words(record.folder / stage.name, about, column)


def _words(folder: Path, about: dict[str, str], column: str) -> Iterator[Sample]:
    counts: Counter[str] = Counter()
    cpu_ms = 0.0
    for file in folder.glob("commits/*.json"):
        data = orjson.loads(file.read_bytes())["data"]
        found, spent = _shard_words(folder / data["file"], data["xxh3"], column)
        counts += found
        cpu_ms += spent
    name, text = _WORD_METRICS[column]
    for word in sorted(counts):
        yield "gauge", name, text, {**about, column: word}, counts[word]
    if column == "status":
        text = "CPU seconds of executed programs"
        yield "gauge", "tamis_execution_cpu_seconds", text, about, cpu_ms / 1000


@lru_cache(maxsize=4096)
def _shard_words(file: Path, checksum: str, column: str) -> tuple[Counter[str], float]:
    """Count a shard's words and CPU ms, once for each version of it."""
    table = read_parquet(file, [column, *([_CPU] if column == "status" else [])])
    counts = table[column].value_counts().to_pylist()
    spent = table[_CPU].to_pylist() if column == "status" else []
    return Counter({one["values"]: one["counts"] for one in counts}), sum(filter(None, spent), 0.0)
