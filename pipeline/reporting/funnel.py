"""A run folder as it lies on the disk, finished or not: its recipe, its steps and their counts."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
import yaml

from pipeline.errors import UserError
from pipeline.progress import read_progress
from pipeline.schema import canonical
from pipeline.shards import Shards

_COUNTERS = ("prompts", "finished", "covered", "rollouts", "tokens", "prompt_tokens", "correct")
_TRACES = ("config.yaml", "manifest.json", "progress.jsonl", ".lock")


@dataclass(frozen=True)
class Stage:
    """One step of a run. While it is unfinished, the counts are those of its finished shards."""

    name: str  # of its folder
    step: str = ""
    version: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()  # fingerprints
    rows_in: int = 0
    rows: int = 0
    aside: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    fingerprint: str = ""  # empty while unfinished
    shards: int = 0  # finished
    shards_of: int = 0  # 0: not known yet
    declared: bool = False  # to make rows of another kind: rollouts of prompts, pairs of rollouts

    @property
    def unaccounted(self) -> int:
        """Rows in - rows kept - rows dropped: 0 where every row is accounted for.

        A step that makes rows of another kind has no such balance; it has 0 as well.
        """
        lost = self.rows_in - self.rows - sum(self.dropped.values())
        return 0 if self.declared else max(0, lost)

    @property
    def expands(self) -> bool:
        """Whether it makes rows of another kind, as it says or as the counts show."""
        balance = self.rows + sum(self.dropped.values()) - self.rows_in
        return balance > 0 or (self.declared and balance != 0)


@dataclass(frozen=True)
class Record:
    """What a run folder says of itself."""

    folder: Path
    recipe: str
    paper: str
    model: str
    parameters: Mapping[str, Any]
    stages: tuple[Stage, ...]
    progress: tuple[Mapping[str, Any], ...]
    holder: str  # the process that works on it now; empty if none

    @property
    def state(self) -> str:
        """One of running, unfinished, finished."""
        if self.holder:
            return "running"
        done = self.stages and all(stage.fingerprint for stage in self.stages)
        return "finished" if done and self.final else "unfinished"

    @property
    def now(self) -> dict[str, Any]:
        """The last progress line; zeros, and no seconds, where there is none."""
        return {**dict.fromkeys(_COUNTERS, 0), **(self.progress[-1] if self.progress else {})}

    def stage(self, name: str) -> Stage | None:
        """Return the stage whose folder has this name."""
        return next((stage for stage in self.stages if stage.name == name), None)

    def open(self, name: str) -> Shards | None:
        """Open a step's rows; None while it is unfinished, or if there is no such step."""
        stage = self.stage(name)
        there = stage and (self.folder / name / "manifest.json").is_file()
        return Shards.open(self.folder / name) if there else None

    def columns(self, name: str) -> list[str]:
        """Return the column names of a finished step; none of an unfinished one."""
        opened = self.open(name)
        return opened.scan().collect_schema().names() if opened is not None and len(opened) else []

    @cached_property
    def final(self) -> Stage | None:
        """The stage that holds what the run is for.

        Its last finished one with row ids and parents, else its last one with picked rollouts.
        """
        for wanted in ({"row_id", "parents"}, {"rollout_id"}):
            for stage in reversed(self.stages):
                if stage.name != "rollouts" and wanted <= set(self.columns(stage.name)):
                    return stage
        return None


def read_record(run: str | Path) -> Record:
    """Read a run folder; UserError if it is not one."""
    folder = Path(run)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the --out of a run")
    stages = _read_stages(folder)
    if not stages and not any((folder / trace).exists() for trace in _TRACES):
        raise UserError(
            f"{folder}: not a run folder: it has none of {', '.join(_TRACES)} and no step; "
            "give the --out of a run"
        )
    manifest, config = _read_json(folder / "manifest.json"), _read_config(folder / "config.yaml")
    facts = {**config, **manifest}
    asked = next((stage for stage in stages if stage.name == "rollouts"), Stage("rollouts"))
    parameters = facts.get("parameters") or {}
    return Record(
        folder=folder,
        recipe=str(facts.get("recipe") or ""),
        paper=str(facts.get("paper") or ""),
        model=_as_text(
            facts.get("model") or asked.parameters.get("identity") or parameters.get("model")
        ),
        parameters=parameters,
        stages=stages,
        progress=tuple(read_progress(folder)),
        holder=_holder(folder / ".lock"),
    )


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Flatten nested parameters to `name.of.the.value`: text; lists stay JSON."""
    if isinstance(value, Mapping) and value:
        return {
            name: text
            for key in sorted(value)
            for name, text in flatten(value[key], f"{prefix}.{key}" if prefix else key).items()
        }
    return {prefix: value if isinstance(value, str) else canonical(value).decode()}


def _read_stages(folder: Path) -> tuple[Stage, ...]:
    """Read every step: in the order of the run's manifest if there is one, else by lineage."""
    found = {
        place.name: _read_stage(place) for place in sorted(folder.iterdir()) if _is_step(place)
    }
    listed = _read_json(folder / "manifest.json").get("steps") or []
    for step in listed:
        name = step.get("name") or step.get("step")
        if name not in found:
            known = {key: step[key] for key in _COUNTS if key in step}
            found[name] = Stage(name, step.get("step") or name, **known)
    names = [step.get("name") or step.get("step") for step in listed]
    rest = [stage for name, stage in found.items() if name not in names]
    return (*(found[name] for name in names), *_in_order(rest))


_COUNTS = ("version", "rows_in", "rows", "dropped", "fingerprint")


def _is_step(place: Path) -> bool:
    worked = any((place / part).exists() for part in ("commits", "journal"))
    return worked or "fingerprint" in _read_json(place / "manifest.json")


def _read_stage(place: Path) -> Stage:
    manifest = _read_json(place / "manifest.json")
    if not manifest:
        return _read_commits(place)
    rows = sum(shard["rows"] for shard in manifest["shards"])
    dropped = manifest.get("dropped") or {}
    return Stage(
        name=place.name,
        step=manifest.get("step", ""),
        version=manifest.get("version", 0),
        parameters=manifest.get("parameters") or {},
        inputs=tuple(manifest.get("inputs") or ()),
        rows_in=manifest.get("rows_in", rows + sum(dropped.values())),
        rows=rows,
        aside=_read_commits(place).aside,
        dropped=dict(sorted(dropped.items())),
        fingerprint=manifest["fingerprint"],
        shards=len(manifest["shards"]),
        shards_of=len(manifest["shards"]),
        declared=bool(manifest.get("expands")),
    )


def _read_commits(place: Path) -> Stage:
    """Add up the shards that an unfinished step has committed."""
    records = [record for file in place.glob("commits/*.json") if (record := _read_json(file))]
    dropped: dict[str, int] = {}
    for record in records:
        for reason, rows in record["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + rows
    made_by = [record["made_by"] for record in records]
    return Stage(
        name=place.name,
        step=next((made["step"] for made in made_by if "step" in made), ""),
        version=next((made["version"] for made in made_by if "version" in made), 0),
        parameters=next((made["parameters"] for made in made_by if "parameters" in made), {}),
        rows_in=sum(made.get("rows_in", 0) for made in made_by),
        rows=sum(record["data"]["rows"] for record in records),
        aside=sum(record["aside"]["rows"] for record in records if record["aside"]),
        dropped=dict(sorted(dropped.items())),
        shards=len(records),
        shards_of=max((made.get("of", 0) for made in made_by), default=0),
        declared=any(made.get("expands") for made in made_by),
    )


def _in_order(stages: list[Stage]) -> list[Stage]:
    """Sort stages so that each follows those it was made from; unfinished ones come last."""
    done = [stage for stage in stages if stage.fingerprint]
    ordered: list[Stage] = []
    while done:
        waiting = {stage.fingerprint for stage in done}
        ready = [s for s in done if not (waiting - {s.fingerprint}).intersection(s.inputs)]
        # A step that changed nothing has its input's fingerprint: it comes after that input.
        chosen = min(ready or done, key=lambda s: (s.fingerprint in s.inputs, s.name))
        ordered.append(chosen)
        done.remove(chosen)
    return [*ordered, *(stage for stage in stages if not stage.fingerprint)]


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = orjson.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except orjson.JSONDecodeError as fault:
        raise UserError(f"{file}: not JSON ({fault.msg}); run the same command again") from fault
    return value if isinstance(value, dict) else {}


def _read_config(file: Path) -> dict[str, Any]:
    try:
        value = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, UnicodeDecodeError) as fault:
        reason = str(fault).splitlines()[0]
        raise UserError(f"{file}: not YAML ({reason}); mend the file") from fault
    return value if isinstance(value, dict) else {}


def _holder(lock: Path) -> str:
    """Say which other process works on the run: this one may be writing its own report.

    The lock itself is not tried, so that a run that starts right now is not refused.
    """
    text = lock.read_text(errors="replace") if lock.is_file() else ""
    words = text.replace(",", "").split()  # process 123 on HOST, TIME
    if len(words) < 4 or not words[1].isdigit():
        return ""
    if words[3] != socket.gethostname():
        return text
    if int(words[1]) == os.getpid():
        return ""
    try:
        os.kill(int(words[1]), 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return text


def _as_text(model: Any) -> str:
    if isinstance(model, Mapping):
        return ", ".join(f"{key}: {value}" for key, value in model.items())
    return str(model or "")
