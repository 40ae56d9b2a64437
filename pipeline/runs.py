"""One run of a recipe: its folder, its resolved configuration, its summary.

DIR/config.yaml     the recipe and every parameter; runs again as it is
DIR/manifest.json   the steps with their counts and fingerprints, the model, the dataset
DIR/log.jsonl       what was logged, with run, step and shard
DIR/<step>/         what each step made
DIR/dataset/<kind>/ the set to train on, with its card
DIR/report.html     the run as a page; summary.md and plot.svg the same in short
"""

import gc
import importlib.metadata
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import yaml

from pipeline import progress
from pipeline.catalog import resolve
from pipeline.checkout import ROOT
from pipeline.engines import open_engine
from pipeline.errors import Stopped, UserError
from pipeline.files import require_space, write_file
from pipeline.interrupts import minding_interrupts, stopping
from pipeline.run_log import logging_to
from pipeline.shards import Shards
from pipeline.sources import BUILT_IN
from pipeline.steps import Run, running
from pipeline.trainers.card import Card, Funnel
from pipeline.trainers.formats import Kind

_LEAST_SPACE = 256 << 20  # bytes free before a run starts: a full disk later costs finished work
_log = logging.getLogger(__name__)


def execute(
    function: Any,
    given: Mapping[str, Any],
    run: Run,
    body: Callable[..., Any] | None = None,
) -> Path:
    """Run a recipe into `run.folder`; return the folder of the dataset it emitted.

    A recipe may return several datasets, by kind; the one it is declared to emit is returned.
    `body` is called in place of the recipe where its flow is running already. Raises Stopped where
    Ctrl-C came before there was anything to emit.
    """
    parameters = resolve(function, given)
    name = str(function.name)
    _check_folder(run, name)
    require_space(run.folder, _LEAST_SPACE)
    wrap_up = partial(_wrap_up, run, function, parameters)
    with minding_interrupts(), running(run), logging_to(run.folder), _sparing_imports():
        write_file(
            run.folder / "config.yaml",
            yaml.safe_dump({"recipe": name, "parameters": parameters}, sort_keys=False).encode(),
        )
        _log.info("%s: into %s", name, run.folder.absolute())
        try:
            if body is not None:
                return wrap_up(body(**parameters))
            run.after[:] = [wrap_up]
            dataset: Path = function(**parameters)
            return dataset
        except UserError as fault:
            if stopping():
                raise Stopped(f"stopped before there was a set to write ({fault})") from fault
            raise
        finally:
            _let_go(run)


@contextmanager
def _sparing_imports() -> Iterator[None]:
    """Keep the garbage collector off what is imported: a third of the CPU time of sampling."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _wrap_up(
    run: Run,
    function: Any,
    parameters: Mapping[str, Any],
    made: Shards | Mapping[Kind, Shards],
) -> Path:
    """Write the sets, the manifest and what people look at; return the declared set's folder.

    What is as it was stays as it lies: writing a large set again takes minutes.
    """
    from pipeline.prefect_artifacts import show_run
    from pipeline.reporting.report import write_report
    from pipeline.reporting.summary import write_summary
    from pipeline.trainers.export import emit, is_emitted

    _let_go(run)
    sets = made if isinstance(made, Mapping) else {function.output: made}
    manifest = _manifest(run, function, parameters)
    text = orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    file, page, last = (run.folder / one for one in ("manifest.json", "report.html", "summary.md"))
    same = all(one.exists() for one in (file, page, last)) and file.read_bytes() == text
    if not (same and all(is_emitted(run.folder, kind, rows) for kind, rows in sets.items())):
        last.unlink(missing_ok=True)  # written last: where it is, all that is said here is done
        write_file(file, text)
        for kind, rows in sets.items():
            tables = (rows.shard(i) for i in range(len(rows)))
            emit(run.folder, kind, tables, card=_card(run, manifest))
        write_report(run.folder)
        write_summary(run.folder)
    show_run(run.folder)
    return run.folder / "dataset" / str(function.output)


def _let_go(run: Run) -> None:
    from pipeline.engines.host import close_engines

    progress.finish(run.folder)
    close_engines()


def read_config(file: Path) -> tuple[str, dict[str, Any]]:
    """Read a config.yaml: the recipe's name and its parameters."""
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
        return str(found["recipe"]), dict(found["parameters"] or {})
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; every run folder has a config.yaml") from None
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} is not a configuration ({error}); it needs the keys recipe and parameters"
        ) from None


def _manifest(run: Run, function: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Sum the run up for DIR/manifest.json; equal content gives equal bytes."""
    steps = [_step_facts(Shards.open(run.folder / name)) for name in run.names]
    manifest = {
        "recipe": str(function.name),
        "paper": function.paper,
        "output": function.output,
        "tamis": _version(),
        "parameters": dict(parameters),
        # Where this is false, a run from the start may be answered otherwise; a resumed one is not.
        "same_answers_in_any_batch": _is_batch_invariant(parameters),
        "steps": steps,
    }
    if stopping():
        manifest["stopped"] = True  # valid, but partial: the same command goes on
    return manifest


def _is_batch_invariant(parameters: Mapping[str, Any]) -> bool:
    if "model" not in parameters:
        return True
    return open_engine(parameters["model"], **(parameters.get("engine") or {})).batch_invariant


def _card(run: Run, manifest: Mapping[str, Any]) -> Card:
    """Gather what the dataset's card says of the run."""
    facts = {
        **_source_facts(str(manifest["parameters"].get("prompts", ""))),
        **_rollout_facts(run.folder / "rollouts"),
    }
    card = Card(
        name=manifest["recipe"],
        recipe=manifest["recipe"],
        paper=manifest["paper"],
        funnel=[
            Funnel(
                step=step["name"],
                rows_in=step["rows_in"],
                kept=step["rows"],
                dropped=step["dropped"],
                expands=step["expands"],
            )
            for step in manifest["steps"]
        ],
        command=f"tamis run {manifest['recipe']} --config config.yaml",
    )
    card.update(facts)  # type: ignore[typeddict-item]
    return card


def _source_facts(source: str) -> dict[str, Any]:
    """Return the prompts' name (of a local file, without its path) and their licence if known."""
    built_in = source in BUILT_IN
    name = Path(source).name if Path(source).suffix else source
    return {
        "source_datasets": [name] if source and not built_in else [],
        "license": "apache-2.0" if built_in else "unknown",
    }


def _rollout_facts(folder: Path) -> dict[str, Any]:
    """Return models, sampling, template and verdict counts of a run that sampled; else nothing."""
    if not (folder / "manifest.json").exists():
        return {}
    shards = Shards.open(folder)
    counts = shards.scan().group_by("verdict").len().sort("verdict").collect()
    made_with = shards.lineage["parameters"]
    return {
        "models": [made_with["identity"]],
        "sampling": made_with["sampling"],
        "prompts": {"prompt": made_with["template"]},
        "verdicts": dict(counts.iter_rows()),
    }


def _step_facts(shards: Shards) -> dict[str, Any]:
    lineage = shards.lineage
    return {
        "name": shards.path.name,
        "version": lineage["version"],
        "rows_in": shards.manifest.get("rows_in"),
        "rows": shards.rows,
        "dropped": lineage["dropped"],
        "expands": bool(shards.manifest.get("expands")),
        "fingerprint": shards.fingerprint,
        "inputs": lineage["inputs"],
    }


def _check_folder(run: Run, name: str) -> None:
    """Refuse a folder of another recipe, and `always` where there is nothing to resume."""
    config = run.folder / "config.yaml"
    if config.exists() and run.resume != "never":
        earlier, _ = read_config(config)
        if earlier != name:
            raise UserError(
                f"{run.folder} holds a run of '{earlier}', not of '{name}'; give another --out, "
                "or --resume never to replace it"
            )
    if run.resume == "always" and not config.exists():
        raise UserError(f"{run.folder} holds no run to resume; leave --resume always out")


def _version() -> str:
    try:
        return importlib.metadata.version("tamis")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
        text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        return text.split('version = "', 1)[1].split('"', 1)[0]
