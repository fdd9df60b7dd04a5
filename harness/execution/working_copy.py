"""The working copy of an execution: the experiment as it is at a commit, in a folder of its own.

Relative paths that lead out of the experiment's folder (`../../data`) lead to the same from its copy: the copy lies in
folders called like those that the experiment lies in, and these link to what is there. They hold too what is one level
lower, where they have nothing of that name: AI-Scientist executes runs one level deeper than it keeps its templates, whose
paths are written for that.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..campaign.campaign import Campaign
from ..campaign.repository import Repository
from ..campaign.text import shown

LEVELS = 3
"""Folders above the experiment's that its copy has too."""
MAX_BESIDE = 2_000
"""Entries of one of them that are linked; a folder with more (of all users, of temporary files) is left out."""
_MISSING = re.compile(r"No such file or directory: b?(['\"])(.+?)\1")


def links_of(campaign: Campaign) -> Path:
    """Where the links of its working copies have a second name, as long as a process runs the campaign."""
    return campaign.local / "links"


def folder_of(place: Path, experiment: Path | None) -> Path:
    """The folder of a working copy in `place`, which is for it and what lies around it."""
    return place.joinpath(*_around(experiment), experiment.name if experiment else "experiment")


def make(place: Path, campaign: Campaign, repository: Repository, commit: str) -> None:
    """Make the working copy of `commit` in `place`, which does not exist."""
    experiment = campaign.experiment
    folder = folder_of(place, experiment)
    folder.mkdir(parents=True)
    repository.write_to(folder, commit, campaign.experiment_files)
    campaign.put_links(folder)
    if experiment is not None:
        links = links_of(campaign)
        links.mkdir(exist_ok=True)
        _put_around(folder, experiment, links)


def why_missing(said: str, folder: Path, experiment: Path | None) -> str:
    """Why an experiment did not find a file that is in its own folder, or that it looks for outside, and what to do."""
    found = _MISSING.search(said)
    if found is None or experiment is None or Path(found[2]).is_absolute():
        return ""
    path = found[2]
    there = experiment / path
    leads_out = not Path(os.path.normpath(there)).is_relative_to(experiment)
    if (folder / path).exists() or not (there.exists() or leads_out):
        return ""
    if not leads_out:
        return f"{shown(path)} stays behind when the experiment is copied; `harness doctor` says why. Give it another name"
    where = "not from the working copy in which it is executed" if there.exists() else "nothing is there"
    return (
        f"{shown(path)} leads out of the experiment's folder: {where}. Name it by its absolute path, or put it into the "
        "experiment's folder"
    )


def _around(experiment: Path | None) -> list[str]:
    return [parent.name for parent in reversed(parents_of(experiment)) if parent.name] if experiment else []


def parents_of(experiment: Path) -> list[Path]:
    """The folders above an experiment that its copy has too, from the inner to the outer."""
    return list(experiment.parents)[:LEVELS]


def _put_around(folder: Path, experiment: Path, links: Path) -> None:
    lower: dict[str, str] = {}
    inner, outer = experiment, folder
    for parent in parents_of(experiment):
        outer = outer.parent
        here = {entry.name: entry.path for entry in _entries(parent)}
        for name, to in (lower | here).items():
            if name != inner.name:
                _link(os.path.join(outer, name), to, links)  # noqa: PTH118
        inner, lower = parent, here


def _link(link: str, to: str, links: Path) -> None:
    """A further name of a link that was made before costs a file system a small part of a new one: there are hundreds."""
    first = os.path.join(links, hashlib.sha1(os.fsencode(to)).hexdigest())  # noqa: PTH118
    try:
        os.link(first, link, follow_symlinks=False)
    except OSError:
        os.symlink(to, link)  # noqa: PTH211
        with suppress(OSError):
            os.link(link, first, follow_symlinks=False)


def _entries(folder: Path) -> Iterable[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except OSError:
        return []
    return found if len(found) <= MAX_BESIDE else []
