"""What is weaker where the harness does not run who makes the changes."""

from __future__ import annotations

NOT_CONFINED = "none: driven from outside"
"""The sandbox of an agent that the harness does not run."""
NOT_HELD = (
    "whoever made the changes was not in the sandbox (records are still compared with their commits, scores sealed, and the "
    "truth kept apart), and tokens and cost are unknown where nobody reported them"
)


def author(sandbox: str) -> str:
    """What who made a change is called, by the sandbox: nobody knows whether somebody outside is an agent."""
    return "author" if sandbox == NOT_CONFINED else "agent"


def weaker(sandbox: str) -> str:
    """In a sentence, what is weaker of a run whose agent had this sandbox; "" where nothing is."""
    return f"Handed in from outside: {NOT_HELD}." if sandbox == NOT_CONFINED else ""
