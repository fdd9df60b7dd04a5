"""The session of a campaign: all turns of its agent in one file, which can be replayed."""

from __future__ import annotations

from pathlib import Path

from ..campaign.campaign import ATTEMPTS, SESSION
from ..campaign.files import write_atomically
from ..campaign.open_campaign import CampaignPart, OpenCampaign


class SessionFile(CampaignPart):
    """Made anew by each process, and extended from then on."""

    def __init__(self, opened: OpenCampaign) -> None:
        super().__init__(opened)
        self._turns: list[Path] = []
        """Those that it holds."""

    def write(self) -> None:
        """Bring it up to the last turn."""
        runs = (
            [f"run_{run}" for run in range(_turn_order(self._turns[-1])[0], len(self._opened.records) + 1)]
            if self._turns
            else ["run_*"]
        )
        found = [path for run in runs for path in self._campaign.root.glob(f"{run}/{ATTEMPTS}/*/{SESSION}")]
        turns = sorted(set(found) - set(self._turns), key=_turn_order)
        text = "".join(path.read_text(encoding="utf-8") for path in turns)
        if self._turns:
            with self._campaign.session.open("a", encoding="utf-8") as file:
                file.write(text)
        else:
            write_atomically(self._campaign.session, text)
        self._turns += turns


def _turn_order(path: Path) -> tuple[int, int]:
    return int(path.parts[-4].removeprefix("run_")), int(path.parts[-2])
