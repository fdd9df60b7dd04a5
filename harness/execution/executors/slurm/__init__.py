"""Slurm: each execution is a job of the cluster, in which our own supervisor executes it.

`executor.py` submits jobs and waits for their ends, `commands.py` and `queue.py` ask Slurm, `job.py` is what a job runs.
Nothing else of the harness knows of Slurm but `harness doctor`.
"""
