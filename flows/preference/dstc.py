"""DSTC: preference pairs of a program and a test, both the model's own, joined in one text."""

CODE = """\
{{ prompt }}

The function is called {{ entry_point }}. Reply with all of it in one Python block."""

TESTS = """\
{{ prompt }}

The function is called {{ entry_point }} and exists already. Write three assertions that call it, \
one a line, in one Python block."""
