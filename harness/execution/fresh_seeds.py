"""Seeds that nothing in a campaign was executed at: what rests on them could not be known before."""

from __future__ import annotations

from random import SystemRandom

from ..campaign.open_campaign import OpenCampaign

DRAWN = "/decide_final"
"""In the names of steps whose results are kinds of executions and their seeds."""
FRESH_SEEDS = range(1_000, 1_000_000)
"""Those that fresh seeds are drawn from: too many to try out, and small enough for arithmetic with them."""


def fresh_seeds(opened: OpenCampaign, count: int) -> list[int]:
    """So many of them, drawn at random."""
    if not count:
        return []  # what follows takes longer with each run
    ends = [e["step"].rpartition("_")[2] for e in opened.journal.events if e["event"] == "started"]
    used = {opened.campaign.contract.seed, *(int(end) for end in ends if end.isdecimal())}
    # Those of a sibling are drawn before its executions begin.
    drawn = (e["result"] for e in opened.journal.of("done") if DRAWN in e["step"])
    used |= {seed for planned in drawn for _, seed in planned}
    free = [seed for seed in SystemRandom().sample(FRESH_SEEDS, count + len(used)) if seed not in used]
    return free[:count]
