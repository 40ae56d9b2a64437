"""Answers from an earlier run, so that all that follows generation can be run again.

`replay:RUN_DIR` takes the identity of the model that the run recorded, so that rollout ids agree;
`replay:RUN_DIR#MODEL` chooses one where a run used several. A rollout id that the run does not hold
comes back as the error "not recorded".
"""

import asyncio
import random
from bisect import bisect_left
from functools import cached_property
from pathlib import Path

import polars as pl

from pipeline.engines import Completion, Request
from pipeline.engines.in_flight import Inbox, InFlight, failed
from pipeline.errors import UserError

_COLUMNS = ("rollout_id", "completion", "finish_reason", "n_tokens", "sum_logprob")


class Replay:
    """An engine that looks answers up. It holds Arrow columns sorted by id, no Python strings.

    `delay_s`: each completion waits a time between 0 and this, drawn from the request's seed.
    """

    batch_invariant = True

    def __init__(self, what: str, *, delay_s: float = 0.0, slots: int = 256) -> None:
        self.name = f"replay:{what}"
        self.slots = slots
        self.shared = ""
        self.dead = ""
        self._delay_s = delay_s
        run_dir, _, self._wanted = what.partition("#")
        self._run_dir = Path(run_dir)
        self._in_flight = InFlight(self._answer)

    @cached_property
    def model(self) -> str:
        """The recorded model; UserError if the run used several and none was chosen."""
        names = self._rollouts().select(pl.col("model").unique()).collect()["model"]
        recorded = sorted(names.drop_nulls())
        if self._wanted in recorded:
            return self._wanted
        if len(recorded) == 1 and not self._wanted:
            return str(recorded[0])
        raise UserError(
            f"{self._run_dir}: the rollouts come from {len(recorded)} models "
            f"({', '.join(recorded)}), and '{self._wanted}' names none of them; write "
            f"replay:{self._run_dir}#MODEL"
        )

    async def start(self) -> None:
        """Read the recorded rollouts of the model."""
        await asyncio.to_thread(self._load)

    def submit(self, request: Request, inbox: Inbox) -> None:
        """Take a request; see `Engine.submit`."""
        self._in_flight.add(request, inbox)

    async def close(self) -> None:
        """Cancel what is in flight."""
        await self._in_flight.close()

    def _rollouts(self) -> pl.LazyFrame:
        from pipeline.shards import Shards

        parts = []
        for folder in self._sampled():
            recorded = Shards.open(folder)
            parts += [recorded.scan(), *([] if (aside := recorded.aside()) is None else [aside])]
        return pl.concat([part.select(*_COLUMNS, "model") for part in parts])

    def _sampled(self) -> list[Path]:
        """The folders of the run that hold rollouts: a recipe may sample in several stages."""
        from pipeline.shards import Shards

        main = self._run_dir / "rollouts"
        places = [file.parent for file in sorted(self._run_dir.glob("*/manifest.json"))]
        others = [one for one in places if Shards.open(one).lineage["step"] == "rollouts"]
        return [main, *(one for one in others if one != main)]

    def _load(self) -> None:
        mine = self._rollouts().filter(pl.col("model") == self.model).select(_COLUMNS)
        rows = mine.unique("rollout_id").sort("rollout_id").collect().to_arrow().combine_chunks()
        self._columns = [rows.column(name).combine_chunks() for name in _COLUMNS]

    async def _answer(self, request: Request) -> Completion:
        if self._delay_s:
            await asyncio.sleep(random.Random(request.seed).random() * self._delay_s)
        ids = self._columns[0]
        row = bisect_left(range(len(ids)), request.rollout_id, key=lambda i: str(ids[i].as_py()))
        if row == len(ids) or ids[row].as_py() != request.rollout_id:
            return failed(request, "not recorded", retry=False)
        text, reason, n_tokens, sum_logprob = (column[row].as_py() for column in self._columns[1:])
        if reason == "error":
            return failed(request, "recorded as an error", retry=False)
        return Completion(
            request.rollout_id, text, reason, n_tokens=n_tokens, sum_logprob=sum_logprob
        )
