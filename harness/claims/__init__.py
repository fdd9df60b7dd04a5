"""Typed numbers held against the records, where metric, run and number are certain. Elsewhere nothing is said.

`check` is the way in. Not here: numbers that the harness fills in (`report/number_references.py`), how findings are shown.
"""
