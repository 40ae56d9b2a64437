"""What goes wrong and whose fault it is.

TamisError
├── UserError    the input, a parameter or the machine: one sentence that names the thing, the
│                place, the numbers and the remedy; the CLI prints it without a traceback
├── EngineError  the model stopped answering; finished work is kept and the same command resumes
└── Stopped      somebody ended the run; not a failure, and not to be tried again
"""


class TamisError(Exception):
    """Anything Tamis raises on purpose; the message is for people."""


class UserError(TamisError):
    """The user can mend it; the message says how."""


class EngineError(TamisError):
    """The engine cannot go on. Every finished rollout is in the journal."""


class Stopped(TamisError):
    """The run was told to stop. Every finished rollout is in the journal."""
