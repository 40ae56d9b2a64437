"""Runs untrusted programs and says what came of them; standard library only."""

from sandbox.outcomes import Outcome, TestResult
from sandbox.programs import Limits, Program, StdioTest

__all__ = ["Limits", "Outcome", "Program", "StdioTest", "TestResult"]
