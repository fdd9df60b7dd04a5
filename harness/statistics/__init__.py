"""What numbers mean: noise between seeds, comparisons, the error a campaign may spend, references, verdicts.

Pure functions and small classes. Not here: anything that opens a file, starts a process or asks a clock.
"""
