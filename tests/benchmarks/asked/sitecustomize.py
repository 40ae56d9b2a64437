"""Writes the id of every rollout that an engine is asked to the file $TAMIS_REQUESTS, one a line.

Python imports it at its start where this folder is on PYTHONPATH, and so do the workers of a
cluster that a run starts. Nothing of ours is imported before the run itself does.
"""

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

ENGINES = {
    "pipeline.engines.replay": "Replay",
    "pipeline.engines.vllm_offline": "VllmOffline",
}


class Noting(SourceFileLoader):
    """Loads an engine's module and has the engine note what it is asked."""

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module; then wrap `submit`."""
        super().exec_module(module)
        engine = getattr(module, ENGINES[module.__name__])
        handle = os.open(os.environ["TAMIS_REQUESTS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def submit(self: Any, request: Any, inbox: Any, really: Any = engine.submit) -> None:
            os.write(handle, request.rollout_id.encode() + b"\n")
            really(self, request, inbox)

        engine.submit = submit


class Finder:
    """Finds the engines' modules before anybody else does."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return the module's spec with our loader; None for all others."""
        if name not in ENGINES or (spec := PathFinder.find_spec(name, path)) is None:
            return None
        spec.loader = Noting(name, str(spec.origin))
        return spec


if "TAMIS_REQUESTS" in os.environ:
    sys.meta_path.insert(0, Finder)
