"""The terminal that a person looks at, or the file or program that output goes to instead."""

from __future__ import annotations

import shutil

PIPE_WIDTH = 120
"""Columns of a table that goes to a file or another program."""


def width() -> int:
    """Columns of the terminal; COLUMNS in the environment says otherwise."""
    return shutil.get_terminal_size((PIPE_WIDTH, 24)).columns
