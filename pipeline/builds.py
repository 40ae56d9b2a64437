"""A build that comes back: the same recipe again, only what is new, published if it is good.

PLACE/build/     the run folder that every build goes on with
PLACE/latest     the newest published set (`publishing`)
PLACE/build.md   what the last build changed, and whether it was published or why not
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from pipeline.errors import Stopped, UserError
from pipeline.files import lock_folder, write_file
from pipeline.interrupts import stopping
from pipeline.publishing import Gates, find_failures, publish

# What a deployment hands to the process that runs its flow: a Service as JSON.
SERVICE = "TAMIS_SERVICE"


class Service(NamedTuple):
    """Where a recipe's builds live and what they must keep to."""

    place: str
    gates: Mapping[str, Any] = {}
    runner: str = "threads"
    workers: int = 2


def build(
    recipe: Any,
    given: Mapping[str, Any],
    service: Service,
    body: Callable[..., Any] | None = None,
) -> Path:
    """Run the recipe again on what it has, check the gates, publish; return the published set.

    `body` is called in place of the recipe where its flow is running already. Raises UserError
    naming each gate that failed; what was published before stays as it is.
    """
    from pipeline.runs import execute
    from pipeline.steps import Run

    place = Path(service.place).absolute()
    run = Run(place / "build", runner=service.runner, workers=service.workers)
    with lock_folder(place):
        execute(recipe, given, run, body)
        if stopping():
            raise Stopped(f"{place}: a partial build is not published")
        last = (place / "latest").resolve() if (place / "latest").exists() else None
        failures = find_failures(run.folder, last, Gates(**service.gates))
        write_file(place / "build.md", _describe(run.folder, last, failures).encode())
        if failures:
            stays = f"{place / 'latest'} stays as it was" if last else "nothing is published yet"
            raise UserError(f"{place}: this build is not published: {'; '.join(failures)}; {stays}")
        return publish(run.folder, place)


def deployed() -> Service | None:
    """Return the service that this process builds for, if a deployment started it."""
    text = os.environ.get(SERVICE)
    return Service(**orjson.loads(text)) if text else None


def _describe(run: Path, last: Path | None, failures: list[str]) -> str:
    from pipeline.reporting.diff import compare
    from pipeline.reporting.show import summarise

    said = [f"- {failure}" for failure in failures] or ["Every gate was passed."]
    changes = compare(last, run) if last else "There is no earlier set."
    head = "# Not published" if failures else "# Published"
    parts = [head, *said, "", "## Since the last set", "```", changes, "```"]
    return "\n".join([*parts, "", "## The build", "```", summarise(run), "```", ""])
