r"""Find the final answer in a response.

In order, the first that is there decides, and of several of a kind the last counts:

1. `\boxed{...}` with matched braces: the most explicit, and what most prompts ask for. A box that
   never closes was cut off: it is no answer, and nothing else is looked for.
2. the rest of the line after `####` (the mark of GSM8K).
3. a phrase: "the answer is ...", "answer: ...", "... is the answer", up to the end of the sentence.
4. the whole response, if it is one short line, hence nothing but an answer.
5. only if `lenient`: the last formula between dollar signs, else the last number. A guess: running
   text is full of numbers, so that a right answer is found, and a wrong one as well.

Only the last 64 Ki characters are looked at, so that the work is bounded.
"""

import re

from scorers.notation import braced

_TAIL = 1 << 16  # characters
_BARE = 200  # characters of a response that is nothing but an answer
_BARE_WORDS = 5
_BOX = re.compile(r"\\f?box(?:ed)?(?![a-zA-Z])\s*")
_PHRASE = re.compile(r"\banswer(?: to [^.:\n]{1,80}?)?\s{0,4}(?:\*\*)?\s{0,4}(?:\bis\b|[:=])", re.I)
_IS_THE_ANSWER = re.compile(
    r"(\$[^$\n]{1,200}\$|\S{1,80}) is (?:the|our) (?:final )?answer\b", re.I
)
_SENTENCE_END = re.compile(r"\n|[.!?](?=\s|$)|,? (?=(?:because|since|which|so)\b)")
_FORMULA = re.compile(r"\$([^$\n]{1,500})\$|\\\((.{1,500}?)\\\)")
_NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:/\d+)?")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")


def extract(response: str, *, lenient: bool = False) -> str | None:
    """Return the final answer as it is written, without its mark; None if there is none."""
    tail = response[-_TAIL:]
    if "\\" in tail and (box := _last(_BOX, tail)):
        found = _boxed(tail, box.end())
    elif "####" in tail:
        found = tail.rpartition("####")[2].lstrip(" ").partition("\n")[0]
    else:
        found = _phrase(tail) or _bare(tail) or (_guess(tail) if lenient else None)
    return (found or "").strip() or None


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    match = None
    for match in pattern.finditer(text):  # noqa: B007 - the last one is wanted
        pass
    return match


def _boxed(text: str, start: int) -> str | None:
    if text.startswith("{", start):
        return braced(text, start)
    token = re.match(r"[^\s$]+", text[start:])  # \boxed 7
    return token[0] if token else None


def _phrase(text: str) -> str | None:
    if said := _last(_PHRASE, text):
        rest = text[said.end() :].lstrip(" *:\n")
        return _SENTENCE_END.split(rest, maxsplit=1)[0].strip(" *")
    if said := _last(_IS_THE_ANSWER, text):
        return said[1]
    return None


def _bare(text: str) -> str | None:
    line = text.strip()
    short = len(line) <= _BARE and "\n" not in line
    return line if short and len(_WORD.findall(line)) <= _BARE_WORDS else None


def _guess(text: str) -> str | None:
    if formula := _last(_FORMULA, text):
        return formula[1] or formula[2]
    number = _last(_NUMBER, text)
    return number[0] if number else None
