"""Numbers and tables as people read them: the report, the terminal and the passports agree."""

from collections.abc import Sequence


def count(value: float | None) -> str:
    """Write a count with thousands apart: 12,345; a dash for what is not known."""
    return "–" if value is None else f"{value:,.0f}"


def percent(part: float | None, whole: float = 1) -> str:
    """Write a share as 93.4 %; a dash where there is nothing to be a share of."""
    return "–" if part is None or not whole else f"{100 * part / whole:.1f} %"


def duration(seconds: float | None) -> str:
    """Write working time as 4.2 s, 3 min 07 s, 25 min or 2 h 05 min."""
    if seconds is None:
        return "–"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    if seconds < 599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def align(sides: str, lines: Sequence[Sequence[str]]) -> list[str]:
    """Set a text table; `sides` has < (flush left) or > (flush right) for each column."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=True)
        ).rstrip()
        for line in lines
    ]


def shorten(text: str, length: int = 100) -> str:
    """Put a text on one line of at most `length` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"
