r"""One spelling for what is written in many: LaTeX spacing, unicode signs, `$...$`, `\text{}`.

`clean` changes how an answer is written and never what it says; whatever it does not know it leaves
for the parsers to refuse. In cleaned text a `$` is always the currency.
"""

import re

_SIGNS = str.maketrans(
    {
        **dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\u2014\ufe63\uff0d", "-"),
        **dict.fromkeys("\u00a0\u2002\u2003\u2007\u2008\u2009\u200a\u202f\u3000", " "),
        **dict.fromkeys("\u200b\u2060\ufeff", ""),
        "×": r"\times ",
        "÷": "/",
        "⁄": "/",
        "·": r"\cdot ",
        "²": "^2",
        "³": "^3",
        "°": r"^\circ",
        "π": r"\pi ",
        "∞": r"\infty ",
        "≤": r"\le ",
        "≥": r"\ge ",
        "≠": r"\ne ",
        "∪": r"\cup ",
        "∩": r"\cap ",
        "∅": r"\emptyset ",
        "∈": r"\in ",
        "½": r"\frac{1}{2}",
        "¼": r"\frac{1}{4}",
        "¾": r"\frac{3}{4}",
        "⅓": r"\frac{1}{3}",
        "⅔": r"\frac{2}{3}",
        "％": "%",
        "，": ",",
        "’": "'",
    }
)
_REWRITES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<!\\)\\[()\[\]]", ""),  # \( \) \[ \], but not the row break \\[
        (r"\*\*([^*]+)\*\*", r"\1"),  # bold in Markdown
        (r"\{,\}|,\\!", ","),  # thousands as LaTeX writes them
        (r"(?<!\\)\\!", ""),
        (r"(?<!\\)\\[,;: ]|\\q?quad(?![a-zA-Z])|~", " "),
        (r"\\(?:left|right|displaystyle|limits|bigl?|bigr?|Bigl?|Bigr?)(?![a-zA-Z])", ""),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z])|\\degree)|\\degree", r"^\\circ "),
        (r"\\%", "%"),
        (r"\s+", " "),
    )
)
_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf|tt)|mbox|operatorname|emph)\*?"
    r"\s*\{([^{}]*)\}"
)
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_ENDS = " \t\n.,;:\"'`"
_STARTS = " \t\n;:\"'`"  # not the point of .5


def clean(text: str) -> str:
    """Write `text` the one way that the parsers read; empty if nothing is left."""
    if text.isdigit() and text.isascii():  # by far the commonest answer
        return text
    text = _without_math_mode(text.translate(_SIGNS))
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = text.rstrip(_ENDS + "\\").lstrip(_STARTS)
    if text.startswith("{") and text.endswith("}") and _closes(text, 0) == len(text) - 1:
        text = text[1:-1].rstrip(_ENDS).lstrip(_STARTS)
    return text


def unwrap(text: str) -> str:
    r"""Replace `\text{...}` and its kin by what they hold, set off by spaces."""
    while "\\" in text and (plain := _TEXT.sub(r" \1 ", text)) != text:
        text = plain
    return " ".join(text.split()).rstrip(_ENDS).lstrip(_STARTS)


def braced(text: str, start: int) -> str | None:
    """Return what stands between the brace at `start` and its partner; None if it has none."""
    end = _closes(text, start)
    return None if end is None else text[start + 1 : end]


def _closes(text: str, start: int) -> int | None:
    r"""Find the partner of the brace at `start`; `\{` and `\}` are signs, not braces."""
    depth = 0
    for token in _BRACES.finditer(text, start):
        depth += (token[0] == "{") - (token[0] == "}")
        if depth == 0 and token[0] == "}":
            return token.start()
    return None


def _without_math_mode(text: str) -> str:
    r"""Drop the `$` that delimit formulas (they come in pairs); keep `\$` and a lone `$`."""
    if "$" not in text:
        return text
    text = text.replace(r"\$", "\0")
    if text.count("$") % 2 == 0:
        text = text.replace("$", "")
    return text.replace("\0", "$")
