"""Pages for a terminal: status, the table of runs, one record, campaigns side by side, diffs, and the views of a running
campaign. `status` reads the facts, without pydantic, so that these commands answer at once; the other modules format.
"""
