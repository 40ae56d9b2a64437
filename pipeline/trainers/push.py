"""A run's dataset to a repository of the Hugging Face hub: its files and its card, one commit."""

from pathlib import Path

import orjson

from pipeline.errors import UserError
from pipeline.trainers.export import find_kind
from pipeline.trainers.formats import Kind


def push(
    run_folder: Path | str, repo: str, kind: Kind | None = None, *, private: bool = False
) -> str:
    """Upload RUN/dataset/<kind>/ to the dataset repository `repo`; return the commit's address.

    The repository is made if it is not there (private if asked for); files that a published set
    had before and has no more are deleted by the same commit. The token is huggingface_hub's own
    (HF_TOKEN or `hf auth login`). Raises UserError for a run that was stopped early, and in one
    sentence for what the hub refuses.
    """
    run = Path(run_folder)
    kind = find_kind(run, kind)
    manifest = _read_manifest(run)
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    hub = HfApi(library_name="tamis")
    try:
        hub.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
        done = hub.upload_folder(
            repo_id=repo,
            repo_type="dataset",
            folder_path=run / "dataset" / kind,
            commit_message=f"{manifest['recipe']}: {manifest['steps'][-1]['fingerprint'][:12]}",
            delete_patterns=["data/*"],
        )
    except (HFValidationError, LocalTokenNotFoundError) as fault:
        raise UserError(f"'{repo}' on the hub: {_first_line(fault)}") from None
    except HfHubHTTPError as fault:
        status = fault.response.status_code if fault.response is not None else "nothing"
        hint = (
            "log in with 'hf auth login' or set HF_TOKEN" if status in (401, 403) else "try again"
        )
        raise UserError(
            f"the hub answers {status} for '{repo}' ({_first_line(fault)}); {hint}"
        ) from None
    except httpx.HTTPError as fault:
        raise UserError(f"the hub at {hub.endpoint} cannot be reached ({fault})") from None
    return str(done.commit_url)


def _read_manifest(run: Path) -> dict[str, list[dict[str, str]]]:
    try:
        manifest: dict[str, list[dict[str, str]]] = orjson.loads(
            (run / "manifest.json").read_bytes()
        )
    except (FileNotFoundError, orjson.JSONDecodeError):
        raise UserError(f"{run} has no whole manifest.json; finish the run first") from None
    if "stopped" in manifest:
        raise UserError(f"{run} was stopped early and its set is partial; finish the run first")
    return manifest


def _first_line(fault: Exception) -> str:
    return next((line.strip() for line in str(fault).splitlines() if line.strip()), "no reason")
