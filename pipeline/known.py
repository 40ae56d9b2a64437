"""What earlier runs know of a shard's trials: from a torn run's journal, or from its older tables.

An answer is the engine's, and holds as long as the rollout's identity does. A verdict holds only
while it would be found again: by the same verifier, from the same reference (`judged_by`).
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.engines import Completion
from pipeline.schema import Verdict, Verifier, digest


class Known(NamedTuple):
    """A trial that an earlier run finished; `verdict` is None where it was not judged yet."""

    id: str
    trial: int
    completion: Completion
    verdict: Verdict | None
    judged_by: str | None = None


def judged_by(verifier: Verifier | None, row: Mapping[str, Any]) -> str:
    """Digest of the verifier and of what it reads of a prompt, 32 hex digits."""
    if verifier is None:
        return digest(None)
    read = {name: row.get(name) for name in verifier.needs}
    return digest(verifier.__name__, verifier.version, read)


def read_journal(records: Iterable[Mapping[str, Any]]) -> dict[str, Known]:
    """Rebuild the finished trials of a journal, by rollout id; of two verdicts the later one."""
    known: dict[str, Known] = {}
    for record in records:
        fields = dict(record)
        rollout_id = fields["rollout_id"]
        if fields.get("verdict") == "infra":
            continue  # the verifier failed: to be judged again
        if "verdict" in fields:
            del fields["rollout_id"]
            by = fields.pop("judged_by", None)
            known[rollout_id] = known[rollout_id]._replace(verdict=Verdict(**fields), judged_by=by)
        else:
            prompt_id, trial = fields.pop("id"), fields.pop("trial")
            known[rollout_id] = Known(prompt_id, trial, Completion(**fields), None)
    return known


def read_rollouts(table: pa.Table | None) -> dict[str, Known]:
    """Rebuild the finished trials of a table of rollouts, by rollout id."""
    known: dict[str, Known] = {}
    for row in table.to_pylist() if table is not None else ():
        if row["finish_reason"] == "error":
            continue  # never answered: to be asked again
        completion = Completion(
            row["rollout_id"],
            row["completion"],
            row["finish_reason"],
            n_tokens=row["n_tokens"],
            sum_logprob=row["sum_logprob"],
        )
        judged = row["verdict"] != "infra"  # else the verifier failed: to be judged again
        verdict = Verdict(row["verdict"], row["reason"], row["extracted"]) if judged else None
        by = row.get("judged_by")
        known[row["rollout_id"]] = Known(row["id"], row["trial"], completion, verdict, by)
    return known
