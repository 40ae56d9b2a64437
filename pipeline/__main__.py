"""The command `tamis`: its arguments, and how what goes wrong is said."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline import commands as bodies
from pipeline.checkout import ROOT
from pipeline.errors import Stopped, TamisError, UserError

Command = Callable[[argparse.Namespace], int | None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0 done, 1 refused or failed, 130 interrupted."""
    # Before pyarrow is imported. Its own default hands pages back at once and faults them in anew:
    # 0.3 of the 1.6 CPU seconds that 100,000 rows take through two light steps.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")
    parser = _parser()
    chosen = parser.parse_args(arguments)
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setLevel(logging.WARNING)  # what is below goes to the run's log alone
    logging.basicConfig(format="%(message)s", handlers=[terminal])
    if not hasattr(chosen, "command"):
        parser.print_help()
        return 0
    try:
        _refuse_strangers()
        return int(chosen.command(chosen) or 0)
    except Stopped as error:
        print(f"tamis: {error}; the same command goes on from here", file=sys.stderr)
        return 130
    except TamisError as error:
        print(f"tamis: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("\ntamis: stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tamis", description="Prompts into verified training data."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_running(commands)
    _add_looking(commands)
    _add_selection(commands)
    _add_data(commands)
    _add_sandbox(commands)
    return parser


def _command(commands: Any, name: str, run: Command) -> argparse.ArgumentParser:
    text = (run.__doc__ or "").partition("\n")[0]
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=run)
    return parser


def _add_running(commands: Any) -> None:
    listing = _command(commands, "list", bodies.list_recipes)
    listing.add_argument("--json", action="store_true")
    run = _command(commands, "run", bodies.run_recipe)
    for command in (run, _command(commands, "preview", bodies.preview)):
        command.add_argument("recipe", nargs="?", help="a name of tamis list")
        command.add_argument("--config", type=Path, help="a config.yaml, as every run writes it")
        command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
        command.add_argument("--limit", type=int, help="prompts at most")
        _add_runner(command)
    run.add_argument("--out", type=Path, help="the run's folder (runs/RECIPE)")
    run.add_argument("--rows", type=int, default=0, help="print so many rows of the dataset too")
    modes = ["never", "always", "if-possible"]
    run.add_argument("--resume", choices=modes, default="if-possible")
    deploy = _command(commands, "deploy", bodies.deploy)
    deploy.add_argument("recipe", nargs="?", help="a name of tamis list")
    deploy.add_argument("--config", type=Path, help="a config.yaml, as every run writes it")
    deploy.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    deploy.add_argument("--cron", help="when to build, as in '0 3 * * *'")
    deploy.add_argument("--once", action="store_true", help="build now, without Prefect's schedule")
    deploy.add_argument("--gate", action="append", default=[], metavar="NAME=VALUE")
    deploy.add_argument("--pool", help="write PLACE/prefect.yaml for this work pool, serve nothing")
    deploy.add_argument("--out", type=Path, help="where builds and sets go (builds/RECIPE)")
    _add_runner(deploy)


def _add_runner(command: argparse.ArgumentParser) -> None:
    command.add_argument("--runner", default="threads", help="threads, dask or ray")
    command.add_argument("--workers", type=int, default=2, help="shards at a time")


def _add_selection(commands: Any) -> None:
    select = _command(commands, "select", bodies.select)
    select.add_argument("methods", nargs="+", metavar="METHOD", help="or: compare METHOD METHOD...")
    select.add_argument("--pool", required=True, help="a file, a hub dataset or nano_world")
    select.add_argument("--queries", help="rows to aim at, for methods that aim")
    select.add_argument("--n", type=int, help="rows to choose")
    select.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    select.add_argument("--out", type=Path, required=True, help="a folder")
    select.add_argument("--encoder", default="data/nano", help="compare: the model of the map")
    select.add_argument("--scorer", default="data/nano", help="compare: the model of difficulty")
    modes = ["never", "always", "if-possible"]
    select.add_argument("--resume", choices=modes, default="if-possible")
    select.add_argument("--rows", type=int, default=0, help="print so many rows of the choice too")


def _add_looking(commands: Any) -> None:
    trace = _command(commands, "trace", bodies.trace)
    why = _command(commands, "why-not", bodies.why_not)
    show = _command(commands, "show", bodies.show)
    for command in (show, trace, why):
        command.add_argument("run", type=Path)
    show.add_argument("--rows", type=int, default=0, help="print so many rows of the dataset too")
    show.add_argument("--follow", action="store_true", help="again every 2 s while the run goes on")
    trace.add_argument("row_id")
    why.add_argument("prompt_id")
    metrics = _command(commands, "metrics", bodies.metrics)
    metrics.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    metrics.add_argument("--port", type=int, help="serve http://HOST:PORT/metrics (0: a free one)")
    metrics.add_argument("--host", default="127.0.0.1")
    diff = _command(commands, "diff", bodies.diff)
    diff.add_argument("run_a", type=Path)
    diff.add_argument("run_b", type=Path)
    doctor = _command(commands, "doctor", bodies.doctor)
    doctor.add_argument("--json", action="store_true")


def _add_data(commands: Any) -> None:
    export = _command(commands, "export", bodies.export)
    export.add_argument("run", type=Path)
    trainers = ["trl", "axolotl", "llamafactory", "open-instruct"]
    export.add_argument("--to", choices=trainers, required=True)
    export.add_argument("--kind", choices=["sft", "pairs", "unpaired", "stepwise", "scores"])
    forms = ["messages", "prompt-completion", "implicit"]
    export.add_argument("--form", choices=forms, default="messages")
    export.add_argument("--out", type=Path)
    push = _command(commands, "push", bodies.push)
    push.add_argument("run", type=Path)
    push.add_argument("repo", help="OWNER/NAME, a dataset of the Hugging Face hub")
    push.add_argument("--kind", choices=["sft", "pairs", "unpaired", "stepwise"])
    push.add_argument("--private", action="store_true", help="where the repository is made anew")
    check = _command(commands, "check", bodies.check)
    check.add_argument("export", type=Path)
    audit = _command(commands, "audit", bodies.audit)
    audit.add_argument("prompts", help="a file, a hub dataset or nano_world")
    audit.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    audit.add_argument("--limit", type=int, default=0)
    rank = _command(commands, "rank", bodies.rank)
    rank.add_argument("--codes", type=Path, required=True, help="JSONL: id or prompt, samples")
    rank.add_argument("--tests", type=Path, required=True, help="JSONL: id or prompt, tests")
    methods = ["b4", "codet", "codedpo", "mbr", "maxpass", "dstc"]
    rank.add_argument("--method", choices=methods, required=True)
    rank.add_argument("--out", type=Path, required=True, help="JSONL, a line a task")
    counts = ["programs", "samples"]
    rank.add_argument("--count", choices=counts, default=counts[0], help="what identical ones are")
    rank.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    rank.add_argument("--workers", type=int, default=2, help="programs at a time")


def _add_sandbox(commands: Any) -> None:
    text = "Run untrusted programs: run, doctor, serve."
    group = commands.add_parser("sandbox", help=text, description=text)
    inner = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    run = _command(inner, "run", bodies.sandbox_run)
    run.add_argument("programs", type=Path, metavar="IN.jsonl")
    run.add_argument("--out", type=Path, required=True, metavar="OUT.jsonl")
    run.add_argument("--tier", choices=["A", "A-", "B"])
    run.add_argument("--timeout-s", type=_positive, help="CPU seconds per test (5)")
    run.add_argument("--memory-mb", type=_count, help="address space of a process (1024)")
    run.add_argument("--resume", action="store_true", help="go on where OUT.jsonl ends")
    run.add_argument("--cache", type=Path, help="a folder in which verdicts are kept")
    run.add_argument("--url", help="a tamis sandbox serve to run them on")
    doctor = _command(inner, "doctor", bodies.sandbox_doctor)
    doctor.add_argument("--json", action="store_true")
    doctor.add_argument("--require", choices=["A", "A-", "B"], help="the weakest tier that is fine")
    serve = _command(inner, "serve", bodies.sandbox_serve)
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8790)
    for command in (run, serve):
        command.add_argument("--workers", type=_count, default=os.cpu_count() or 2)
        command.add_argument("--token-file", type=Path, help="a file that holds the server's token")


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _refuse_strangers() -> None:
    """Refuse to run when somebody else's `flows`, `scorers` or `sandbox` would be imported."""
    from importlib.util import find_spec

    for name in ("flows", "scorers", "sandbox"):
        spec = find_spec(name)
        places = (
            [Path(p).resolve() for p in (spec.submodule_search_locations or [])] if spec else []
        )
        if places and ROOT / name not in places:
            raise UserError(
                f"'{name}' in {places[0]} hides Tamis's own in {ROOT / name}; run tamis from "
                "another folder, or take that one off the import path"
            )


if __name__ == "__main__":
    sys.exit(main())
