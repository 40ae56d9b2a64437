"""EpiCoder: tasks from a tree of features."""

EXTRACT = """\
```python
{{ code }}
```

Name the features of this code as a JSON tree: what it does to which input, and its constants."""

EVOLVE = """\
{{ features }}

This is a tree of features of programs. Add at least two new features beside those of every list, \
and deepen them where you can. Reply with the larger tree as JSON."""

COMPOSE = """\
Features: {{ features }}
Must appear: {{ mandatory }}

Choose features that go together, all that must appear among them if they do. Think of a scenario \
and write a programming task for them. Reply in three lines: Features, Scenario, Task."""

SOLVE = """\
{{ prompt }}

Write the function in one Python block, then three assertions that check it in another."""

REPAIR = """\
{{ prompt }}

```python
{{ program }}
```

```python
{{ tests | join("\n") }}
```

Failed: {{ failing }}
Because: {{ complaint }}

Say whether the function or a test is wrong. Then give the corrected function, or all the tests \
with the wrong one corrected, in one Python block. Drop and weaken no test."""
