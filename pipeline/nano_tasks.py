"""Kinds of small Python task: description, solution and plausible wrong programs, as one table.

An argument's name says its type: x, y, n integers, xs, ys lists of integers, s, t strings, words a
list of strings. A body without "return" is an expression. {k} is the parameter that instances vary.
"""

from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of task; `held_out` kinds appear in the test split only."""

    name: str
    args: str
    text: str  # completes "a function that ..."
    body: str
    wrong: tuple[str, ...]
    held_out: bool = False


def _kind(name: str, args: str, text: str, body: str, *wrong: str, held_out: bool = False) -> Kind:
    return Kind(name, args, text, body, wrong, held_out)


def _loop(start: str, head: str, work: str, end: str) -> str:
    return f"{start}\n{head}\n    {work}\n{end}"


KINDS: tuple[Kind, ...] = (
    _kind("add", "x", "returns x plus {k}", "x + {k}", "x - {k}", "x * {k}"),
    _kind("subtract", "x", "returns x minus {k}", "x - {k}", "{k} - x", "x + {k}"),
    _kind("times", "x", "returns x times {k}", "x * {k}", "x + {k}", "x ** {k}"),
    _kind(
        "plus_double", "x", "returns twice x plus {k}", "2 * x + {k}", "2 * (x + {k})", "x + {k}"
    ),
    _kind(
        "gap", "x", "returns the distance between x and {k}", "abs(x - {k})", "x - {k}", "{k} - x"
    ),
    _kind("remainder", "x", "returns the remainder of x divided by {k}", "x % {k}", "x // {k}"),
    _kind(
        "quotient", "x", "returns x divided by {k}, rounded down", "x // {k}", "x % {k}", "x / {k}"
    ),
    _kind(
        "divides",
        "x",
        "says whether {k} divides x",
        "x % {k} == 0",
        "x // {k} == 0",
        "x % {k} == 1",
    ),
    _kind("above", "x", "says whether x is more than {k}", "x > {k}", "x < {k}", "x >= {k}"),
    _kind("at_most", "x", "says whether x is at most {k}", "x <= {k}", "x < {k}", "x >= {k}"),
    _kind("cap", "x", "returns x, but at most {k}", "min(x, {k})", "max(x, {k})", "x"),
    _kind("floor", "x", "returns x, but at least {k}", "max(x, {k})", "min(x, {k})", "x"),
    _kind(
        "square_plus",
        "x",
        "returns the square of x plus {k}",
        "x * x + {k}",
        "2 * x + {k}",
        "x * x",
    ),
    _kind(
        "last_digit", "x", "returns the last digit of {k} times x", "{k} * x % 10", "{k} * x // 10"
    ),
    _kind("sum_plus", "x, y", "returns x plus y plus {k}", "x + y + {k}", "x + y - {k}", "x + y"),
    _kind(
        "product_plus",
        "x, y",
        "returns x times y plus {k}",
        "x * y + {k}",
        "x + y + {k}",
        "x * (y + {k})",
    ),
    _kind(
        "mix", "x, y", "returns {k} times x plus y", "{k} * x + y", "{k} * (x + y)", "x + {k} * y"
    ),
    _kind(
        "larger_plus",
        "x, y",
        "returns the larger of x and y, plus {k}",
        "max(x, y) + {k}",
        "min(x, y) + {k}",
    ),
    _kind(
        "near",
        "x, y",
        "says whether x and y differ by less than {k}",
        "abs(x - y) < {k}",
        "x - y < {k}",
        "abs(x - y) > {k}",
    ),
    _kind(
        "up_to",
        "n",
        "returns the list of whole numbers from {k} to {k} + n",
        "list(range({k}, {k} + n + 1))",
        "list(range({k}, {k} + n))",
        "list(range({k}, n + 1))",
    ),
    _kind(
        "multiples",
        "n",
        "returns the first n multiples of {k}",
        "[{k} * i for i in range(1, n + 1)]",
        "[{k} * i for i in range(n)]",
        "[{k} * i for i in range(1, n)]",
    ),
    _kind(
        "count_down",
        "n",
        "returns the list from n + {k} down to 1",
        "list(range(n + {k}, 0, -1))",
        "list(range(n + {k}, 1, -1))",
        "list(range(1, n + {k} + 1))",
    ),
    _kind(
        "power_mod",
        "n",
        "returns 2 to the power n modulo {k}",
        "2 ** n % {k}",
        "n ** 2 % {k}",
        "2 ** n // {k}",
    ),
    _kind(
        "sum_to",
        "n",
        "returns the sum of 1 to n plus {k}",
        "sum(range(1, n + 1)) + {k}",
        "sum(range(n)) + {k}",
        "sum(range(1, n + 1)) - {k}",
    ),
    _kind(
        "add_each",
        "xs",
        "adds {k} to each item of xs",
        "[x + {k} for x in xs]",
        "[x - {k} for x in xs]",
        "xs + [{k}]",
    ),
    _kind(
        "scale",
        "xs",
        "multiplies each item of xs by {k}",
        "[x * {k} for x in xs]",
        "xs + [{k}]",
        "[x + {k} for x in xs]",
    ),
    _kind(
        "keep_above",
        "xs",
        "keeps the items of xs that are more than {k}",
        "[x for x in xs if x > {k}]",
        "[x for x in xs if x < {k}]",
        "[x for x in xs if x >= {k}]",
    ),
    _kind(
        "keep_below",
        "xs",
        "keeps the items of xs that are less than {k}",
        "[x for x in xs if x < {k}]",
        "[x for x in xs if x > {k}]",
        "[x for x in xs if x <= {k}]",
    ),
    _kind(
        "keep_multiples",
        "xs",
        "keeps the items of xs that {k} divides",
        "[x for x in xs if x % {k} == 0]",
        "[x for x in xs if x % {k} != 0]",
        "[x for x in xs if x > {k}]",
    ),
    _kind(
        "drop_value",
        "xs",
        "removes every {k} from xs",
        "[x for x in xs if x != {k}]",
        "[x for x in xs if x == {k}]",
        "[x for x in xs if x > {k}]",
    ),
    _kind(
        "count_above",
        "xs",
        "counts the items of xs that are more than {k}",
        "sum(x > {k} for x in xs)",
        "sum(x for x in xs if x > {k})",
        "sum(x < {k} for x in xs)",
    ),
    _kind(
        "count_value",
        "xs",
        "counts how often {k} is in xs",
        "xs.count({k})",
        "len(xs)",
        "sum(x != {k} for x in xs)",
    ),
    _kind(
        "has_value", "xs", "says whether {k} is in xs", "{k} in xs", "{k} not in xs", "xs[0] == {k}"
    ),
    _kind(
        "sum_above",
        "xs",
        "sums the items of xs that are more than {k}",
        "sum(x for x in xs if x > {k})",
        "sum(x > {k} for x in xs)",
        "sum(x for x in xs if x < {k})",
    ),
    _kind(
        "total_plus",
        "xs",
        "returns the sum of xs plus {k}",
        "sum(xs) + {k}",
        "sum(xs) - {k}",
        "len(xs) + {k}",
    ),
    _kind(
        "largest_plus",
        "xs",
        "returns the largest item of xs plus {k}",
        "max(xs) + {k}",
        "min(xs) + {k}",
        "max(xs) - {k}",
    ),
    _kind(
        "smallest_plus",
        "xs",
        "returns the smallest item of xs plus {k}",
        "min(xs) + {k}",
        "max(xs) + {k}",
        "xs[0] + {k}",
    ),
    _kind(
        "length_plus",
        "xs",
        "returns the length of xs plus {k}",
        "len(xs) + {k}",
        "sum(xs) + {k}",
        "len(xs) - {k}",
    ),
    _kind(
        "append",
        "xs",
        "puts {k} at the end of xs",
        "xs + [{k}]",
        "[{k}] + xs",
        "[x + {k} for x in xs]",
    ),
    _kind(
        "prepend",
        "xs",
        "puts {k} in front of xs",
        "[{k}] + xs",
        "xs + [{k}]",
        "[x + {k} for x in xs]",
    ),
    _kind(
        "all_above",
        "xs",
        "says whether all items of xs are more than {k}",
        "all(x > {k} for x in xs)",
        "any(x > {k} for x in xs)",
        "all(x < {k} for x in xs)",
    ),
    _kind(
        "any_above",
        "xs",
        "says whether any item of xs is more than {k}",
        "any(x > {k} for x in xs)",
        "all(x > {k} for x in xs)",
        "any(x < {k} for x in xs)",
    ),
    _kind(
        "sort_plus",
        "xs",
        "sorts xs and adds {k} to each item",
        "[x + {k} for x in sorted(xs)]",
        "[x + {k} for x in xs]",
        "sorted(xs) + [{k}]",
    ),
    _kind(
        "reverse_plus",
        "xs",
        "reverses xs and adds {k} to each item",
        "[x + {k} for x in xs[::-1]]",
        "[x + {k} for x in xs]",
        "xs[::-1] + [{k}]",
    ),
    _kind(
        "loop_sum",
        "xs",
        "adds up {k} times each item of xs with a loop",
        _loop("total = 0", "for x in xs:", "total += {k} * x", "return total"),
        _loop("total = {k}", "for x in xs:", "total += x", "return total"),
        _loop("total = 0", "for x in xs:", "total = {k} * x", "return total"),
    ),
    _kind(
        "loop_count",
        "xs",
        "counts with a loop the items of xs that equal {k}",
        _loop("count = 0", "for x in xs:", "count += x == {k}", "return count"),
        _loop("count = 0", "for x in xs:", "count += x != {k}", "return count"),
        _loop("count = 1", "for x in xs:", "count += x == {k}", "return count"),
    ),
    _kind(
        "running",
        "xs",
        "returns the running sums of xs, starting from {k}",
        _loop(
            "total, out = {k}, []", "for x in xs:", "total += x; out.append(total)", "return out"
        ),
        _loop("total, out = 0, []", "for x in xs:", "total += x; out.append(total)", "return out"),
        _loop(
            "total, out = {k}, []", "for x in xs:", "out.append(total); total += x", "return out"
        ),
    ),
    _kind(
        "pair_sums",
        "xs, ys",
        "adds xs and ys item by item, plus {k} each",
        "[x + y + {k} for x, y in zip(xs, ys)]",
        "[x + y for x, y in zip(xs, ys)]",
        "[x * y + {k} for x, y in zip(xs, ys)]",
    ),
    _kind(
        "join_lists",
        "xs, ys",
        "returns xs, then {k}, then ys in one list",
        "xs + [{k}] + ys",
        "ys + [{k}] + xs",
        "xs + ys + [{k}]",
    ),
    _kind(
        "twice_tag",
        "s",
        "returns s twice and then the number {k}",
        "s + s + str({k})",
        "s + str({k})",
        "str({k}) + s + s",
    ),
    _kind("first", "s", "returns the first {k} characters of s", "s[:{k}]", "s[{k}:]", "s[-{k}:]"),
    _kind("last", "s", "returns the last {k} characters of s", "s[-{k}:]", "s[:{k}]", "s[:-{k}]"),
    _kind(
        "skip", "s", "returns s without its first {k} characters", "s[{k}:]", "s[:{k}]", "s[:-{k}]"
    ),
    _kind(
        "cut_end",
        "s",
        "returns s without its last {k} characters",
        "s[:-{k}]",
        "s[-{k}:]",
        "s[{k}:]",
    ),
    _kind("tag", "s", "puts the number {k} behind s", "s + str({k})", "str({k}) + s", "s + s"),
    _kind(
        "label", "s", "puts the number {k} in front of s", "str({k}) + s", "s + str({k})", "s + s"
    ),
    _kind(
        "long_text",
        "s",
        "says whether s has more than {k} characters",
        "len(s) > {k}",
        "len(s) < {k}",
        "len(s) >= {k}",
    ),
    _kind(
        "text_length",
        "s",
        "returns the length of s plus {k}",
        "len(s) + {k}",
        "len(s) - {k}",
        "len(s)",
    ),
    _kind("stars", "s", "puts {k} stars behind s", "s + '*' * {k}", "'*' * {k} + s", "s + '*'"),
    _kind(
        "upper_first",
        "s",
        "returns the first {k} characters of s in upper case",
        "s[:{k}].upper()",
        "s.upper()",
        "s[{k}:].upper()",
    ),
    _kind(
        "back_tag",
        "s",
        "reverses s and puts {k} behind it",
        "s[::-1] + str({k})",
        "s + str({k})",
        "str({k}) + s[::-1]",
    ),
    _kind(
        "glue",
        "s, t",
        "joins s and t with the number {k} between them",
        "s + str({k}) + t",
        "t + str({k}) + s",
        "s + t + str({k})",
    ),
    _kind(
        "long_words",
        "words",
        "keeps the words with more than {k} letters",
        "[w for w in words if len(w) > {k}]",
        "[w for w in words if len(w) < {k}]",
        "[w for w in words if len(w) >= {k}]",
    ),
    _kind(
        "cut_words",
        "words",
        "cuts each word to its first {k} letters",
        "[w[:{k}] for w in words]",
        "[w[{k}:] for w in words]",
        "[w[-{k}:] for w in words]",
    ),
    _kind(
        "letters_plus",
        "words",
        "counts all letters of the words, plus {k}",
        "sum(len(w) for w in words) + {k}",
        "len(words) + {k}",
        "sum(len(w) for w in words) - {k}",
    ),
    _kind(
        "triple_plus",
        "x",
        "returns three times x plus {k}",
        "3 * x + {k}",
        "3 * (x + {k})",
        "x + {k}",
        held_out=True,
    ),
    _kind(
        "below",
        "x",
        "says whether x is less than {k}",
        "x < {k}",
        "x > {k}",
        "x <= {k}",
        held_out=True,
    ),
    _kind(
        "smaller_plus",
        "x, y",
        "returns the smaller of x and y, plus {k}",
        "min(x, y) + {k}",
        "max(x, y) + {k}",
        held_out=True,
    ),
    _kind(
        "take_each",
        "xs",
        "subtracts {k} from each item of xs",
        "[x - {k} for x in xs]",
        "[x + {k} for x in xs]",
        "[{k} - x for x in xs]",
        held_out=True,
    ),
    _kind(
        "count_below",
        "xs",
        "counts the items of xs that are less than {k}",
        "sum(x < {k} for x in xs)",
        "sum(x for x in xs if x < {k})",
        "sum(x > {k} for x in xs)",
        held_out=True,
    ),
    _kind(
        "sum_below",
        "xs",
        "sums the items of xs that are less than {k}",
        "sum(x for x in xs if x < {k})",
        "sum(x < {k} for x in xs)",
        "sum(x for x in xs if x > {k})",
        held_out=True,
    ),
    _kind(
        "all_below",
        "xs",
        "says whether all items of xs are less than {k}",
        "all(x < {k} for x in xs)",
        "any(x < {k} for x in xs)",
        "all(x > {k} for x in xs)",
        held_out=True,
    ),
    _kind(
        "lower_last",
        "s",
        "returns the last {k} characters of s in upper case",
        "s[-{k}:].upper()",
        "s.upper()",
        "s[:{k}].upper()",
        held_out=True,
    ),
    _kind(
        "short_words",
        "words",
        "keeps the words with less than {k} letters",
        "[w for w in words if len(w) < {k}]",
        "[w for w in words if len(w) > {k}]",
        "[w for w in words if len(w) <= {k}]",
        held_out=True,
    ),
)
