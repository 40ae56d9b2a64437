"""A recipe on a schedule: a Prefect deployment of its own flow, with its parameters as the form.

With `steps`, `prefect_home` and `prefect_artifacts` the only module that touches prefect.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import yaml

from pipeline.builds import SERVICE, Service
from pipeline.checkout import ROOT
from pipeline.errors import UserError
from pipeline.files import write_file
from pipeline.prefect_home import settle_environment


def serve_recipe(recipe: Any, parameters: Mapping[str, Any], cron: str, service: Service) -> None:
    """Register `recipe` at the Prefect server and run it when its time comes, until interrupted.

    One build at a time. Raises UserError without a standing server, since the schedule of a server
    that lives only as long as a run would never fire.
    """
    _check_cron(cron)
    _require_server()
    from prefect.deployments.runner import EntrypointType

    os.environ[SERVICE] = orjson.dumps(service._asdict()).decode()
    _find_flows()
    recipe.serve(
        name=Path(service.place).name,
        cron=cron,
        parameters=dict(parameters),
        description=f"Builds {Path(service.place).absolute()}; {recipe.paper}",
        limit=1,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def write_pool_file(
    recipe: Any, parameters: Mapping[str, Any], cron: str, service: Service, pool: str
) -> Path:
    """Write PLACE/prefect.yaml for a work pool and return it.

    It lies with the builds, not at the top of the repository: it names this deployment's folder,
    schedule and parameters, and a checkout may have several of them.
    """
    _check_cron(cron)
    words = {SERVICE: orjson.dumps(service._asdict()).decode(), "PYTHONPATH": str(ROOT)}
    deployment = {
        "name": Path(service.place).name,
        "entrypoint": recipe.fn.__module__.replace(".", "/") + f".py:{recipe.fn.__name__}",
        "schedules": [{"cron": cron, "active": True}],
        "concurrency_limit": 1,
        "parameters": dict(parameters),
        "work_pool": {"name": pool, "job_variables": {"env": words}},
    }
    step = {"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}
    content = {"name": "tamis", "pull": [step], "deployments": [deployment]}
    file = Path(service.place) / "prefect.yaml"
    write_file(file, yaml.safe_dump(content, sort_keys=False).encode())
    return file


def _check_cron(cron: str) -> None:
    settle_environment()
    from prefect.client.schemas.schedules import CronSchedule

    try:
        CronSchedule(cron=cron)
    except ValueError:
        raise UserError(
            f"--cron '{cron}' is no schedule; write five fields as in '0 3 * * *', every night at 3"
        ) from None


def _require_server() -> None:
    import httpx
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    remedy = (
        "start one with 'prefect server start' and set "
        "PREFECT_API_URL=http://127.0.0.1:4200/api, or give --pool for a work pool"
    )
    if not url:
        raise UserError(f"a schedule needs a Prefect server that stays, and none is set; {remedy}")
    try:
        httpx.get(f"{url}/health", timeout=10, trust_env=False).raise_for_status()
    except httpx.HTTPError as fault:
        raise UserError(f"no Prefect server answers at {url} ({fault}); {remedy}") from None


def _find_flows() -> None:
    """Let the processes that run the flow import `flows` from any folder."""
    known = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), known]))
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
