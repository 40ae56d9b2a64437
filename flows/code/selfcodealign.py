"""SelfCodeAlign: a base model aligns itself on source code, and keeps what it can execute."""

JUDGE = """\
{{ prompt }}

Could a programmer write this function again from its docstring alone, and does the docstring say \
what the function does? Whether the code is right does not matter. Answer Yes or No."""

CONCEPTS = """\
{{ prompt }}

Which programming concepts does this function use? Reply with one line, commas between them."""

INSTRUCT = """\
Concepts: {{ concepts | join(", ") }}
Kind: {{ category }}. Difficulty: {{ difficulty }}. Language: {{ language }}.

Write a new task for which a programmer would need these concepts, without naming them. Say what \
the code is called and what it must do. Reply with the task alone."""

RESPOND = """\
{{ prompt }}

Answer in one Python block. After it write a line that says Tests: and a second Python block with \
assertions that check the answer."""

SEPARATOR = "Tests:"
