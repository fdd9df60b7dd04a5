"""The session of a campaign: all turns of its agent in one file, which can be replayed."""

from __future__ import annotations

import os
from collections.abc import Iterator
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
        found = [path for run in self._runs() for path in self._campaign.root.glob(f"{run}/{ATTEMPTS}/*/{SESSION}")]
        new = sorted(set(found) - set(self._turns), key=_turn_order)
        # In a round a run's second attempt comes after a later run's first.
        is_next = bool(self._turns) and (not new or _turn_order(new[0]) > _turn_order(self._turns[-1]))
        if is_next:
            with self._campaign.session.open("a", encoding="utf-8") as file:
                file.write("".join(map(_read, new)))
            self._turns += new
        else:
            turns = sorted([*self._turns, *new], key=_turn_order)
            texts = [_read(path) for path in turns]
            if not self._turns:
                self._keep_edited(texts)
            write_atomically(self._campaign.session, "".join(texts))
            self._turns = turns

    def _runs(self) -> Iterator[str]:
        """The folders of the runs that may have another turn: those in hand."""
        if not self._turns:
            yield "run_*"
            return
        known, last = len(self._opened.records), _turn_order(self._turns[-1])[0]
        run = min(known, last)
        while run <= max(known, last) or (self._campaign.root / f"run_{run}").is_dir():
            yield f"run_{run}"
            run += 1

    def _keep_edited(self, texts: list[str]) -> None:
        """What somebody made of the file that an earlier process wrote is kept aside. That process wrote its turns in their
        order, between which others may have come since, and may have been killed within one."""
        file = self._campaign.session
        try:
            left = read_text(file, "replace")
        except OSError:
            is_ours = not os.path.lexists(file)
        else:
            for text in texts:
                left = left.removeprefix(text)
            is_ours = any(text.startswith(left) for text in texts) or not left
        if not is_ours:
            kept = put_aside(self._campaign.root, file.name)
            self._view.say(f"{file.name} was changed since the harness wrote it: its turns are back{kept}.")


def _read(path: Path) -> str:
    return read_text(path, "replace")


def _turn_order(path: Path) -> tuple[int, int]:
    return int(path.parts[-4].removeprefix("run_")), int(path.parts[-2])
