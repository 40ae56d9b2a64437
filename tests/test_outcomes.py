"""How the statuses of tests make a verdict."""

import pytest

from sandbox.outcomes import TestResult, conclude


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        ([], "unverified"),
        (["pass"], "correct"),
        (["pass", "not_run"], "unverified"),
        (["not_run", "fail"], "wrong"),
        (["pass", "timeout", "fail"], "timeout"),
        (["fail", "timeout"], "wrong"),
        (["oom"], "error"),
        (["killed"], "error"),
        (["protocol", "pass"], "error"),
        (["fail", "infra"], "infra"),
    ],
)
def test_missing_is_never_pass(statuses, verdict):
    """Correct needs a test and every pass; our own trouble is nobody's wrong answer."""
    assert conclude(tuple(TestResult(status) for status in statuses)) == verdict
