"""The session of a campaign: all turns of its agent in one file, which can be replayed."""

from __future__ import annotations

import os
from pathlib import Path

from ..campaign.campaign import ATTEMPTS, SESSION
from ..campaign.files import read_text, write_atomically
from ..campaign.integrity import put_aside
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
        text = "".join(read_text(path, "replace") for path in turns)
        if self._turns:
            with self._campaign.session.open("a", encoding="utf-8") as file:
                file.write(text)
        else:
            self._keep_edited(text)
            write_atomically(self._campaign.session, text)
        self._turns += turns

    def _keep_edited(self, text: str) -> None:
        """What somebody made of the file that an earlier process wrote is kept aside."""
        file = self._campaign.session
        try:
            is_ours = text.startswith(read_text(file, "replace"))
        except OSError:
            is_ours = not os.path.lexists(file)
        if not is_ours:
            kept = put_aside(self._campaign.root, file.name)
            self._view.say(f"{file.name} was changed since the harness wrote it: its turns are back{kept}.")


def _turn_order(path: Path) -> tuple[int, int]:
    return int(path.parts[-4].removeprefix("run_")), int(path.parts[-2])
