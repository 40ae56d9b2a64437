"""Runs untrusted programs and says what came of them; standard library only."""

from sandbox.box import Sandbox
from sandbox.outcomes import Outcome, TestResult
from sandbox.programs import Limits, Program, StdioTest
from sandbox.supervisor import SandboxUnavailable

__all__ = [
    "Limits",
    "Outcome",
    "Program",
    "Sandbox",
    "SandboxUnavailable",
    "StdioTest",
    "TestResult",
]
