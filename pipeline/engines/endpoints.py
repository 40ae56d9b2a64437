"""Several servers of one model: each request goes to the one with the least to do.

An endpoint that fails rests, twice as long each time; then a single request tries it, and only when
that is answered do others follow. Where every endpoint rests, the one that is back first is taken.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

_log = logging.getLogger(__name__)
_LONGEST_REST_S = 30.0


@dataclass
class Endpoint:
    """One server: how many requests it has, and since how many answers it fails."""

    address: str
    busy: int = 0
    failures: int = 0
    rests_until: float = 0.0  # on the monotonic clock


class Endpoints:
    """The servers behind an engine; used from one event loop."""

    def __init__(self, addresses: Sequence[str], rest_s: float) -> None:
        self.all = [Endpoint(address) for address in addresses]
        self._rest_s = rest_s

    def pick(self) -> Endpoint:
        """Return the least busy endpoint that is well, by its place among equals."""
        now = time.monotonic()
        ready = [one for one in self.all if self._is_ready(one, now)]
        if ready:
            return min(ready, key=lambda one: one.busy)
        return min(self.all, key=lambda one: (one.rests_until, one.busy))

    def has_ready(self) -> bool:
        """Whether some endpoint can be asked now."""
        now = time.monotonic()
        return any(self._is_ready(one, now) for one in self.all)

    def note_failure(self, endpoint: Endpoint, why: str, wait_s: float = 0.0) -> None:
        """Let an endpoint rest, at least `wait_s`; with a single one the engine's wait serves."""
        if len(self.all) == 1:
            return
        if not endpoint.failures:
            _log.warning("%s fails (%s); its requests go elsewhere", endpoint.address, why)
        endpoint.failures += 1
        rest = min(_LONGEST_REST_S, self._rest_s * 2 ** min(endpoint.failures - 1, 10))
        endpoint.rests_until = time.monotonic() + max(rest, wait_s)

    def note_answer(self, endpoint: Endpoint) -> None:
        """An endpoint that answers is well."""
        if endpoint.failures:
            _log.warning("%s answers again", endpoint.address)
        endpoint.failures = 0

    def _is_ready(self, one: Endpoint, now: float) -> bool:
        return not one.failures or (now >= one.rests_until and not one.busy)
