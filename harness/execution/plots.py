"""`plot.py`, as AI-Scientist has it: executed after each run in a folder that holds the results of all runs so far.

What it draws is kept beside the run's results. It is executed like a run and decides nothing: a failure is a remark.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ..campaign.campaign import PLOTTED, RESERVED
from ..campaign.experiment_folder import MAX_NAMED
from ..campaign.files import files_below, remove
from ..campaign.open_campaign import CampaignPart, OpenCampaign
from ..campaign.text import shown
from .executions import Executions
from .scoring import is_real

PLOT = "plot.py"
TIME = 120.0
"""Seconds."""
MAX_PICTURES = 12
MAX_PICTURE = 2_000_000  # bytes
MAX_RESULT = 50_000_000  # bytes of one file of a run's results; larger ones are checkpoints
_SHOWN = {".png": b"\x89PNG\r\n\x1a\n", ".jpg": b"\xff\xd8\xff", ".jpeg": b"\xff\xd8\xff"}
"""Formats of pictures that pages show, by how their files end and begin."""
_OTHERS = frozenset({".svg", ".pdf", ".eps", ".ps", ".gif", ".webp", ".tif", ".tiff", ".html"})
"""How files end that are pictures, too."""


class Plots(CampaignPart):
    """Executes `plot.py` where the experiment has one."""

    def __init__(self, opened: OpenCampaign, executions: Executions) -> None:
        super().__init__(opened)
        self._executions = executions

    def draw(self, run: int, commit: str = "") -> None:
        """Execute that of `commit`, of whose code `run` is (the baseline's: the first), and keep what it draws."""
        commit = commit or self._opened.first_commit
        if not self._repository.blobs(commit, [PLOT]):
            return
        step = f"run_{run}/plot"
        fresh = not self._journal.is_done(step)
        result = self._journal.once(step, lambda: self._drawn(step, run, commit))
        self._executions.forget(step)
        if fresh and result["why"]:
            drew = f"failed after {len(result['pictures'])} pictures" if result["pictures"] else "drew nothing"
            self._view.say(f"{PLOT} {drew}: {result['why']}")

    def _drawn(self, step: str, run: int, commit: str) -> dict[str, Any]:
        recorded = [record.run for record in self._opened.records if record.status == "completed"]
        results = {f"run_{each}": self._results(each) for each in sorted({*recorded, run})}
        self._view.begin(run, self._options.max_runs, 0, "plot")
        with self._stop.polled():
            outcome, folder = self._executions.execute_beside(step, commit, [PLOT], results, TIME)
        target = self._campaign.run_folder(run) / PLOTTED
        remove(target)
        kept: list[str] = []
        old = self._repository.blobs(commit, self._campaign.experiment_files)
        new = {str(path.relative_to(folder)): path for path in _left(folder)}
        new = {name: path for name, path in new.items() if name not in old and not name.startswith("run_")}
        pictures = {name: path for name, path in new.items() if _is_picture(path)}
        for name, path in list(pictures.items())[:MAX_PICTURES]:
            target.mkdir(parents=True, exist_ok=True)
            kept.append(name.replace("/", "_"))
            shutil.copyfile(path, target / kept[-1])
        others = [name for name in new if Path(name).suffix.lower() in _OTHERS]
        why = "it left no PNG or JPEG file" + (
            f", which are what report and paper show: save {', '.join(map(shown, others[:MAX_NAMED]))} as PNG"
            if others
            else ""
        )
        return {"pictures": kept, "why": outcome.why if outcome.ended != "ok" else "" if kept else why}

    def _results(self, run: int) -> dict[str, Path]:
        """The files of a run's out_dir by their paths in it."""
        folder = self._campaign.run_folder(run)
        files = {str(path.relative_to(folder)): path for path in files_below(folder)}
        return {
            name: path
            for name, path in files.items()
            if name.partition("/")[0] not in RESERVED and path.stat().st_size <= MAX_RESULT
        }


def _left(folder: Path) -> list[Path]:
    """The files at the top of a folder and one level lower."""
    found = [path for pattern in ("*.*", "*/*.*") for path in sorted(folder.glob(pattern))]
    return [path for path in found if is_real(path, folder) and path.is_file()]


def _is_picture(path: Path) -> bool:
    begins = _SHOWN.get(path.suffix.lower())
    if begins is None or path.stat().st_size > MAX_PICTURE:
        return False
    with path.open("rb") as file:
        return file.read(len(begins)) == begins
