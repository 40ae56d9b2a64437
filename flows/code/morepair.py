"""MORepair: repairs with their reasons."""

EXPLAIN = """\
{{ prompt }}

A wrong program:

```python
{{ buggy }}
```

The repaired program:

```python
{{ fixed }}
```

Explain in prose what was wrong and how the change mends it."""
