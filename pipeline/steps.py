"""`@step` lifts a function of tables to a function of datasets; `@recipe` makes a Prefect flow.

With `prefect_home` the only module that touches prefect. A step's shards are independent tasks:
flat, never cached by Prefect, taking a folder and a number and returning a commit record. What is
done is what the commit records say.
"""

import copyreg
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import UserError
from pipeline.files import lock_folder
from pipeline.plans import Plan, Scope, as_datasets, finish, finished, has_name, named
from pipeline.prefect_artifacts import following
from pipeline.prefect_home import serving, settle_environment, shard_task, show_cached
from pipeline.prefect_runners import naming_dead_workers, open_runner, taking
from pipeline.previous import Resume, settle
from pipeline.progress import leading
from pipeline.shards import Shards

Output = Literal["sft", "pairs", "unpaired", "stepwise", "scores"]


@dataclass(frozen=True)
class Run:
    """Where a flow writes and how: each step's output goes to `folder`/<step name>."""

    folder: Path
    resume: Resume = "if-possible"
    runner: str = "threads"  # or dask, ray
    workers: int = 2
    names: list[str] = field(default_factory=list, init=False, repr=False)  # steps so far
    pool: list[Any] = field(default_factory=list, init=False, repr=False)  # the open task runner
    after: list[Callable[[Any], Any]] = field(default_factory=list, init=False, repr=False)

    def claim(self, name: str) -> Path:
        """Reserve `folder`/`name` for one output; UserError if this run has one of that name."""
        if name in self.names:
            raise UserError(
                f"{self.folder / name}: this run already has a step '{name}'; "
                f"give the second one another name, as in {name}(..., into='{name}_2')"
            )
        self.names.append(name)
        return self.folder / name


_active: ContextVar[Run | None] = ContextVar("tamis_run", default=None)


@contextmanager
def running(run: Run) -> Iterator[Run]:
    """Run the flow of this block into `run.folder`, which is locked; leaves no server behind."""
    with serving(), _activated(run):
        yield run


def _current() -> Run | None:
    return _active.get()


def active_run() -> Run:
    """Return the run that a step is called in; UserError outside of one."""
    if (found := _active.get()) is None:
        raise UserError("no run is active; call steps inside a flow, or `with running(Run(...))`")
    return found


def step(
    *,
    version: int = 1,
    scope: Scope = "shard",
    retries: int = 0,
    expands: bool = False,
    journal: bool = False,
    free: tuple[str, ...] = (),
    whole: tuple[str, ...] = (),
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Lift `f(table, ..., *, **json) -> Table | Sifted` to datasets; with tables it stays `f`.

    The output goes to the run's folder under the function's name, or `into`. scope "shard" calls it
    once a shard on aligned inputs, "dataset" once on whole tables. Rows in (of the first input) =
    rows kept + rows dropped, unless it `expands`. `journal` gives it keywords `journal` and
    `previous` (rows of an earlier version, or None). `free` parameters do not enter the digest;
    `whole` inputs are given whole to each shard. Only EngineError and OSError are retried.
    """

    def lift(function: Callable[..., Any]) -> Callable[..., Any]:
        given = {"journal", "previous"} if journal else set()
        full = inspect.signature(function)
        own = full.replace(parameters=[p for n, p in full.parameters.items() if n not in given])

        @wraps(function)
        def lifted(*arguments: Any, into: str | None = None, **keywords: Any) -> Any:
            if not any(map(as_datasets, (*arguments, *keywords.values()))):
                return function(*arguments, **keywords)
            bound = own.bind(*arguments, **keywords)
            bound.apply_defaults()
            folder = active_run().claim(into or function.__name__)
            plan = Plan(function, bound, folder, version, scope, expands, journal, free, whole)
            return _run(plan, retries)

        lifted.version = version  # type: ignore[attr-defined]
        return lifted

    return lift


def recipe(*, paper: str, output: Output) -> Callable[[Callable[..., Any]], Any]:
    """Make a Prefect flow of the function, with `.paper` and `.output`.

    Called outside `running` it runs into runs/<its name>; started by a deployment of ours, it
    builds what that deployment says and publishes it.
    """
    settle_environment()
    from prefect import Flow, flow

    def make(function: Callable[..., Any]) -> Any:
        @wraps(function)
        def body(*arguments: Any, **keywords: Any) -> Any:
            if (run := _current()) is not None:
                result = function(*arguments, **keywords)
                for then in run.after:  # in the flow, so that its artifacts and failures are its
                    result = then(result)
                return result
            from pipeline.builds import build, deployed

            if (service := deployed()) is not None:
                given = inspect.signature(function).bind(*arguments, **keywords).arguments
                return str(build(made, given, service, body=function))
            with _activated(Run(Path("runs") / function.__name__)):
                return function(*arguments, **keywords)

        made = flow(body, name=function.__name__, persist_result=False)
        made.paper, made.output = paper, output
        return made

    copyreg.pickle(Flow, _reduce)
    return make


def _reduce(made: Any) -> Any:
    """Let a recipe travel to other processes by its name; its function is not under that name."""
    if hasattr(made, "paper") and has_name(made, made.fn):
        return named, (made.fn.__module__, made.fn.__name__)
    return object.__reduce_ex__(made, 4)


def _run(plan: Plan, retries: int) -> Shards:
    run = active_run()
    wanted = [plan.made_by(i) for i in range(len(plan))]
    settle(plan.folder, wanted, resume=run.resume, keep=plan.journal)
    records = {i: done for i in range(len(plan)) if (done := finished(plan, i)) is not None}
    if records:
        show_cached(plan.folder, len(records))
    missing = [i for i in range(len(plan)) if i not in records]
    work = shard_task(plan, retries)
    with taking(run.pool[0], engine=plan.journal):
        futures = [
            run.pool[0].submit(work, parameters={"folder": str(plan.folder), "i": i})
            for i in missing
        ]
    with following(plan.folder.name, futures) as ended:
        for future in ended:
            future.wait()
    with naming_dead_workers(plan.folder):
        records |= {i: future.result() for i, future in zip(missing, futures, strict=True)}
    return finish(plan, [records[i] for i in range(len(plan))])


@contextmanager
def _activated(run: Run) -> Iterator[None]:
    with (
        lock_folder(run.folder),
        leading(run.folder),
        open_runner(run.runner, run.workers) as pool,
    ):
        run.names.clear()
        run.pool[:] = [pool]
        token = _active.set(run)
        try:
            yield
        finally:
            _active.reset(token)
