"""What each subcommand of `tamis` does; heavy imports inside, so that --help is at once."""

import argparse
import json
import signal
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.errors import UserError

_INTERRUPTED = 130  # what a shell says of a command that Ctrl-C ended
_FOLLOW_S = 2.0
_SHOWN = 20  # faulty references that audit prints
_NANO = (
    "No model was named: using the built-in nano model (data/nano), which is small and often "
    "wrong; name another with --set model=..."
)


def list_recipes(chosen: argparse.Namespace) -> None:
    """List the recipes: name, what they emit, paper."""
    from pipeline.catalog import find_recipes

    recipes = find_recipes()
    if chosen.json:
        print(json.dumps([recipe._asdict() for recipe in recipes], indent=2))
        return
    width = max(len(recipe.name) for recipe in recipes)
    for recipe in recipes:
        print(f"{recipe.name:{width}}  {recipe.output:8}  {recipe.paper:17}  {recipe.title}")
        print(f"{'':{width}}  ran on: {recipe.ran_on or 'nothing yet'}")


def _settings(chosen: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """Return the recipe's flow and the parameters given by file and flags; flags win."""
    from pipeline.catalog import load_recipe, parameters_of, read_settings
    from pipeline.runs import read_config

    configured, given = read_config(chosen.config) if chosen.config else (None, {})
    name = chosen.recipe or configured
    if name is None:
        raise UserError("name a recipe (see tamis list) or give --config FILE")
    if configured is not None and configured != name.replace("-", "_"):
        raise UserError(f"{chosen.config} is of '{configured}', but '{name}' was named; drop one")
    given |= read_settings(chosen.set)
    if chosen.limit is not None:
        given["limit"] = chosen.limit
    recipe = load_recipe(name)
    if "model" in parameters_of(recipe) and "model" not in given:
        print(_NANO, file=sys.stderr)
    return recipe, given


def run_recipe(chosen: argparse.Namespace) -> int:
    """Run a recipe, or finish a run that was stopped."""
    from pipeline.interrupts import stopping
    from pipeline.reporting.show import summarise
    from pipeline.runs import execute
    from pipeline.steps import Run

    recipe, given = _settings(chosen)
    folder = chosen.out or Path("runs") / recipe.name
    run = Run(folder, chosen.resume, chosen.runner, chosen.workers)
    started = time.monotonic()
    dataset = execute(recipe, given, run)
    _print_rows(dataset, chosen.rows)
    print(summarise(folder))
    if stopping():
        said = "tamis: stopped early with a valid, partial set; the same command goes on from here"
        print(said, file=sys.stderr)
        return _INTERRUPTED
    print(f"done in {time.monotonic() - started:.0f} s", file=sys.stderr)
    return 0


def deploy(chosen: argparse.Namespace) -> None:
    """Build a recipe again and again: only what is new, published when it passes the gates."""
    from pipeline.builds import Service, build
    from pipeline.catalog import read_settings, resolve
    from pipeline.prefect_deploy import serve_recipe, write_pool_file
    from pipeline.publishing import Gates

    if not chosen.once and not chosen.cron:
        raise UserError("say when to build: --cron '0 3 * * *', or --once for now")
    chosen.limit = None
    recipe, given = _settings(chosen)
    gates = resolve(Gates, read_settings(chosen.gate))
    place = (chosen.out or Path("builds") / recipe.name).absolute()
    service = Service(str(place), gates, chosen.runner, chosen.workers)
    if chosen.once:
        print(build(recipe, given, service))
    elif chosen.pool:
        file = write_pool_file(recipe, resolve(recipe, given), chosen.cron, service, chosen.pool)
        print(f"prefect deploy --all --prefect-file {file}")
    else:
        serve_recipe(recipe, resolve(recipe, given), chosen.cron, service)


def select(chosen: argparse.Namespace) -> None:
    """Choose rows of your own pool by a method, or compare methods."""
    from pipeline import selecting
    from pipeline.catalog import read_settings
    from pipeline.reporting.show import summarise
    from pipeline.shards import Shards
    from pipeline.steps import Run

    given = read_settings(chosen.set) | {"pool": chosen.pool}
    given |= {k: v for k in ("queries", "n") if (v := getattr(chosen, k)) is not None}
    method, *others = chosen.methods
    if method == "compare":
        models = {"encoder": chosen.encoder, "scorer": chosen.scorer}
        print(selecting.compare(others, given, chosen.out, **models))
        print(f"\n{chosen.out / 'report.html'}")
        return
    if others:
        raise UserError(f"one method at a time, not {len(chosen.methods)}; or: select compare ...")
    selecting.select(method, given, Run(chosen.out, chosen.resume))
    for dataset in sorted((chosen.out / "dataset").glob("*")):
        _print_rows(dataset, chosen.rows)
    print(summarise(chosen.out))
    if chosen.n and (rows := Shards.open(chosen.out / "to_rows").rows) < chosen.n:
        print(
            f"{rows} of the {chosen.n} rows asked for could be chosen; the funnel above says why "
            "the others were left out",
            file=sys.stderr,
        )


def preview(chosen: argparse.Namespace) -> None:
    """Run a recipe on 10 prompts, print the rows, keep nothing."""
    from pipeline.runs import execute
    from pipeline.steps import Run

    chosen.limit = chosen.limit or 10
    recipe, given = _settings(chosen)
    with tempfile.TemporaryDirectory(prefix="tamis-preview-") as folder:
        dataset = execute(recipe, given, Run(Path(folder), "never", chosen.runner, chosen.workers))
        _print_rows(dataset, 10)


def _print_rows(dataset: Path, n: int) -> None:
    from pipeline.shards import read_parquet

    files = sorted((dataset / "data").glob("*.parquet"))
    rows = [row for file in files for row in read_parquet(file).slice(0, n).to_pylist()][:n]
    for row in rows:
        print(f"--- {row.get('row_id', '')}")
        for turn in row.get("messages") or []:
            print(f"[{turn['role']}] {turn['content']}")
    if n and not rows:
        print("no rows were kept; raise --limit, or see tamis run with tamis show")


def show(chosen: argparse.Namespace) -> None:
    """Show the funnel, pass rates, cost and files of a run."""
    from pipeline.reporting.funnel import read_record
    from pipeline.reporting.show import summarise

    while chosen.follow and read_record(chosen.run).state == "running":
        clear = "\x1b[H\x1b[2J" if sys.stdout.isatty() else ""
        print(f"{clear}{summarise(chosen.run)}", flush=True)
        time.sleep(_FOLLOW_S)
    print(summarise(chosen.run))
    for dataset in sorted((chosen.run / "dataset").glob("*")):
        _print_rows(dataset, chosen.rows)


def metrics(chosen: argparse.Namespace) -> None:
    """Say of runs what Prometheus reads: as text, or served until interrupted."""
    from pipeline.reporting.metrics import print_metrics, serve_metrics

    if chosen.port is None:
        print(print_metrics(chosen.runs), end="")
        return
    server = serve_metrics(chosen.runs, chosen.host, chosen.port)
    address, port = server.server_address[:2]
    print(f"http://{address}:{port}/metrics", file=sys.stderr, flush=True)
    signal.pause()


def trace(chosen: argparse.Namespace) -> None:
    """Show where one row comes from."""
    from pipeline.reporting.passport import trace

    print(trace(chosen.run, chosen.row_id))


def why_not(chosen: argparse.Namespace) -> None:
    """Say why a prompt has no row, or fewer than it was to have."""
    from pipeline.reporting.why_not import why_not

    print(why_not(chosen.run, chosen.prompt_id))


def diff(chosen: argparse.Namespace) -> None:
    """Say what changed between two runs, and why."""
    from pipeline.reporting.diff import compare

    print(compare(chosen.run_a, chosen.run_b))


def export(chosen: argparse.Namespace) -> None:
    """Write a run's dataset in a trainer's format."""
    from pipeline.trainers.export import export

    print(export(chosen.run, chosen.to, chosen.kind, chosen.out, chosen.form))


def push(chosen: argparse.Namespace) -> None:
    """Upload a run's dataset and its card to the Hugging Face hub."""
    from pipeline.trainers.push import push

    print(push(chosen.run, chosen.repo, chosen.kind, private=chosen.private))


def check(chosen: argparse.Namespace) -> int:
    """Load an export with the trainers' own converters."""
    from pipeline.trainers.preflight import check

    findings = check(chosen.export)
    for finding in findings:
        print(finding)
    return int(any(finding.severity == "error" for finding in findings))


def audit(chosen: argparse.Namespace) -> int:
    """Put the reference answers through the verifier, before any token is spent."""
    from pipeline.catalog import read_settings, resolve
    from pipeline.sources import read_prompts

    given = {"source": chosen.prompts, "limit": chosen.limit, "skip_bad": True}
    found = read_prompts(**resolve(read_prompts, given | read_settings(chosen.set)))
    # Loaded by name: the command line stands above all floors, this file does not.
    rows = import_module("scorers.answers").audit(found.kept).to_pylist()
    faults = [row for row in rows if row["verdict"] != "correct"]
    for row in faults[:_SHOWN]:
        print(f"{row['id']}  {row['verdict']:10}  {row['answer']!r}  {row['reason']}")
    if len(faults) > _SHOWN:
        print(f"... and {len(faults) - _SHOWN} more")
    left_out = "".join(f", {count} {why}" for why, count in found.dropped.items())
    print(f"{len(rows) - len(faults)} of {len(rows)} references verify{left_out}")
    return int(bool(faults or found.dropped))


def rank(chosen: argparse.Namespace) -> None:
    """Choose each task's program by tests that a model wrote."""
    from pipeline.catalog import read_settings

    found = import_module("scorers.ranking").rank(
        chosen.codes,
        chosen.tests,
        chosen.out,
        method=chosen.method,
        settings=read_settings(chosen.set),
        count=chosen.count,
        workers=chosen.workers,
    )
    print(f"{chosen.out}: {found.chosen} of {found.tasks} tasks have a chosen program")
    for number, text in (
        (found.reused, "were ranked before"),
        (found.without_tests, "have no tests"),
        (found.without_codes, "have tests but no samples"),
    ):
        if number:
            print(f"{number} {text}")


def doctor(chosen: argparse.Namespace) -> int:
    """Say what this machine offers: GPU, vLLM, sandbox, disk, Prefect."""
    from pipeline.doctor import examine

    text, sound = examine(as_json=chosen.json)
    print(text)
    return int(not sound)


def sandbox_run(chosen: argparse.Namespace) -> int:
    """Judge the programs of a JSONL file, in input order."""
    from sandbox import commands

    return commands.run(chosen)


def sandbox_doctor(chosen: argparse.Namespace) -> int:
    """Try what this machine's sandbox can promise."""
    from sandbox import commands

    return commands.doctor(chosen)


def sandbox_serve(chosen: argparse.Namespace) -> int:
    """Serve the sandbox over HTTP until interrupted."""
    from sandbox import commands

    return commands.serve(chosen)
