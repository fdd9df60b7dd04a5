"""harness: agent-driven experiments whose record can be believed."""

__version__ = "0.1.0"
