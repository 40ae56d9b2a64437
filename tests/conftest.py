"""Shared fixtures: a Prefect home of this session's own, one server for it, and toy tables."""

import os
import shutil
import tempfile
from collections.abc import Iterator

# Before anything imports prefect, which reads its settings once.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="tamis-prefect-")
os.environ.pop("PREFECT_API_URL", None)

import pyarrow as pa
import pytest
from hypothesis import settings

from pipeline.prefect_home import serving

settings.register_profile("quick", max_examples=40, deadline=None)
settings.load_profile("quick")


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[str]:
    """A Prefect API for the whole session, heartbeats off; the value is its URL."""
    from prefect.settings import PREFECT_API_URL

    with serving():
        yield PREFECT_API_URL.value()
    shutil.rmtree(os.environ["PREFECT_HOME"], ignore_errors=True)


@pytest.fixture
def numbers() -> pa.Table:
    """A hundred rows: id 'r0' ... 'r99', x 0 ... 99."""
    return pa.table({"id": [f"r{i}" for i in range(100)], "x": list(range(100))})
