"""Executing code: the pre-check, working copies, smoke tests, runs, seeds and controls, and the scorer's processes.

`attempts` decides what is executed, `executions` makes the working copy, `executors` holds the processes, `measurements`
reads what they left. Not here: what the numbers mean.
"""
