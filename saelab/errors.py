"""What keeps the laboratory from making what an execution needs."""


class CannotPrepare(RuntimeError):
    """A message for a person: what cannot be had, why, and what to do about it."""
