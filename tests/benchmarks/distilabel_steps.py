"""The steps of the distilabel contender: its worker processes look them up in a module."""

from distilabel.steps import StepInput, step


@step(inputs=["instruction"], outputs=["prompt"])
def AddPrompt(inputs: StepInput):  # the decorator makes a class of it
    """Add the column `prompt`."""
    yield [{**row, "prompt": f"Answer: {row['instruction']}"} for row in inputs]


@step(inputs=["text"], outputs=["text"])
def KeepLong(inputs: StepInput):
    """Keep rows with at least 400 characters of text."""
    yield [row for row in inputs if len(row["text"]) >= 400]
