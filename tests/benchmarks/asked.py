"""The command `tamis`, with each rollout id that an engine is asked written to a file first.

`python -m tests.benchmarks.asked LOG run dart_math ...`; one line a request, one write a line.
"""

import os
import sys
from pathlib import Path
from typing import Any

from pipeline.__main__ import main
from pipeline.engines.replay import Replay
from pipeline.engines.vllm_offline import VllmOffline


def note_requests(log: Path) -> None:
    """Have both engines append the id of every request to `log`."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for engine in (Replay, VllmOffline):

        def submit(self: Any, request: Any, inbox: Any, really: Any = engine.submit) -> None:
            os.write(handle, request.rollout_id.encode() + b"\n")
            really(self, request, inbox)

        engine.submit = submit


if __name__ == "__main__":
    note_requests(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
