"""PLUM: on-policy preferences from tests that a stronger model wrote and confirmed itself."""

WRITE = """\
{{ prompt }}

Solve this in one Python block. Then write a second Python block with independent assertions, one \
a line, that every right solution passes and a wrong one does not."""

ASK = "{{ prompt }}"
