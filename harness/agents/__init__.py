"""Talking with whoever edits the experiment: the brief, the workspace, the agents and what they answer, the reviewer.

What an agent says is kept as its words; what it changed is what differs in the workspace. Not here: whether the change is
executed (`execution`) and what came of it (`statistics`).
"""
