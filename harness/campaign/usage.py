"""What asking a model cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Usage:
    """What one turn cost. Tokens as the provider counted them; `cost` in US dollars, None when unknown."""

    sent: int = 0
    received: int = 0
    cost: float | None = 0.0
    seconds: float = 0.0
    requests: int = 0
    lost: int = 0
    """Requests of which no answer came back: what they cost is not known."""
    untold: int = 0
    """Turns of which nobody said how many tokens they used, or not all."""

    known_cost: float = 0.0
    """Of a sum whose `cost` is unknown: that of the turns of which it is known."""

    @property
    def is_unknown(self) -> bool:
        """Nobody said what it was."""
        return self.cost is None and not (self.sent or self.received or self.lost)

    @property
    def has_unknown_tokens(self) -> bool:
        """Nobody said how many tokens it was, whether or not what they cost."""
        return self.is_unknown or bool(self.untold and not self.tokens)

    @property
    def tokens(self) -> int:
        return self.sent + self.received

    def counted(self, count: str) -> str:
        """`count`, of its tokens, as far as somebody said it: unknown is never 0."""
        return "unknown" if self.has_unknown_tokens else f"at least {count}" if self.untold else count

    def in_tokens(self, count: str) -> str:
        """The same with the unit, for a sentence."""
        return "tokens unknown" if self.has_unknown_tokens else f"{self.counted(count)} tokens"

    def __sub__(self, part: Usage) -> Usage:
        """What is left of a sum without `part` of it; a cost where both are known, or where no token is left."""
        sent, received = max(0, self.sent - part.sent), max(0, self.received - part.received)
        cost = 0.0 if self.cost is None or part.cost is None else round(max(0.0, self.cost - part.cost), 10)
        is_unknown = None in (self.cost, part.cost) and sent + received > 0
        known = round(max(0.0, self._least_cost - part._least_cost), 10) if is_unknown else 0.0
        seconds = max(0.0, self.seconds - part.seconds)
        return Usage(sent, received, None if is_unknown else cost, seconds, known_cost=known)

    def __add__(self, other: Usage) -> Usage:
        cost = None if self.cost is None or other.cost is None else self.cost + other.cost
        return Usage(
            self.sent + other.sent,
            self.received + other.received,
            cost,
            self.seconds + other.seconds,
            self.requests + other.requests,
            self.lost + other.lost,
            sum(each.untold or each.is_unknown for each in (self, other)),
            self._least_cost + other._least_cost if cost is None else 0.0,
        )

    @property
    def _least_cost(self) -> float:
        return self.known_cost if self.cost is None else self.cost
