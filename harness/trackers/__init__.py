"""Trackers: who is told of each recorded run (Weights & Biases), and telling them. They decide nothing.

Not here: the record itself, which is complete without any tracker.
"""
