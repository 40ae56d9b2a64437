"""Scripted models for tests of the code recipes: what they answer depends on the request alone."""

from pipeline.engines import Request


def echoes(request: Request) -> str:
    """Answer each stage of the chain in `test_execution`."""
    word, _, rest = request.messages[-1][1].partition(" ")
    if word == "TOPIC":
        return f"topic of {rest}"
    if word == "CODE":
        return f"```python\ndef f(x):\n    return x + {request.seed % 3}\n```"
    return "```python\nassert f(1) == 2\nassert f(0) == 1\n```"
