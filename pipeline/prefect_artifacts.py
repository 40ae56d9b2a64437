"""What Prefect's pages show of a run: progress while it goes on, then funnel, summary and plot.

The same is written beside the data (`reporting.summary`); artifacts are made only where a server
stays to show them.
"""

import base64
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.reporting.funnel import read_record
from pipeline.reporting.overview import funnel


def show_run(run: Path) -> None:
    """Make the artifacts of a finished run: a table, a text and the main plot."""
    if not _is_standing():
        return
    from prefect.artifacts import (
        create_image_artifact,
        create_markdown_artifact,
        create_table_artifact,
    )

    record = read_record(run)
    rows: list[dict[str, Any]] = [
        {
            "step": stage.name,
            "in": stage.rows_in,
            "out": stage.rows,
            "dropped": ", ".join(f"{n} {why}" for why, n in stage.dropped.items()),
            "in = kept + dropped": funnel(stage),
        }
        for stage in record.stages
    ]
    key = _key(record.recipe)
    create_table_artifact(rows, key=f"{key}-funnel", description=str(run))
    text = (run / "summary.md").read_text(encoding="utf-8")
    create_markdown_artifact(text, key=f"{key}-summary", description=str(run))
    if (run / "plot.svg").exists():
        plot = base64.b64encode((run / "plot.svg").read_bytes()).decode()
        create_image_artifact(f"data:image/svg+xml;base64,{plot}", key=f"{key}-plot")


@contextmanager
def following(step: str, futures: Sequence[Any]) -> Iterator[Iterator[Any]]:
    """Give the block the futures one by one as they end, with a bar on Prefect's page."""
    if not (_is_standing() and len(futures) > 1):
        yield iter(futures)
        return
    from prefect.artifacts import create_progress_artifact, update_progress_artifact

    bar = create_progress_artifact(0.0, key=f"{_key(step)}-progress", description=f"step {step}")

    def each() -> Iterator[Any]:
        for i, future in enumerate(futures, 1):
            yield future
            update_progress_artifact(bar, progress=100.0 * i / len(futures))

    yield each()


def _is_standing() -> bool:
    """Whether this is a flow run on a server that outlives it, whose pages somebody may look at."""
    from prefect.context import FlowRunContext

    from pipeline.prefect_home import STANDING

    return STANDING.get() and FlowRunContext.get() is not None


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
