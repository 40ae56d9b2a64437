"""What the tests of the sandbox share: judging one program."""

from sandbox import Outcome, Program, Sandbox

ADD = "def add(a, b):\n    return a + b\n"


def judge(box: Sandbox, code: str, *tests, **more) -> Outcome:
    """The outcome of one program."""
    (outcome,) = box.run([Program("it", code, tests=tests, **more)])
    return outcome
