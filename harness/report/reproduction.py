"""How a run's numbers are made again, by hand, in the campaign's folder."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..campaign.protocols import CACHE, EVAL_FOLDER, FOLLOWS, READS
from ..campaign.record import Record
from ..campaign.text import line, reference_in_words
from ..execution import working_copy
from ..execution.commands import filled
from .campaign_data import CampaignData

_CACHE = f'"${{{CACHE}:-${{HARNESS_CACHE:-$HOME/.cache/harness}}/lab}}"'


def commands(campaign: CampaignData, record: Record) -> str:
    """The commands that give a run's numbers again, and those of the controls and points of the frontier that were executed
    for it, each seed in a folder of its own beside the campaign's; empty where nothing was executed."""
    seeds = record.seeds or ([] if record.seed is None else [record.seed])
    if record.given or not seeds:
        return ""
    parts = [_executions(campaign, f"run-{record.run}", record.run, record.commit, seeds, record.overrides)]
    for each in (record.control, *record.frontier):
        if each is not None and each.seeds:
            name = re.sub(r"[^\w.=-]+", "-", each.name)
            lines = _executions(campaign, name, record.run, campaign.runs[0].record.commit, each.seeds, each.overrides)
            parts.append(f"# The baseline's code at other settings, as {line(each.name)}:\n{lines}")
    for each in record.final_references:
        if each.seeds:
            parent = re.fullmatch(r"run_(\d+)", each.name)
            code = campaign.runs[int(parent[1]) if parent else 0].record
            name = re.sub(r"[^\w.=-]+", "-", f"{each.name} beside run {record.run}")
            settings = {**code.overrides, **each.overrides}
            lines = _executions(campaign, name, record.run, code.commit, each.seeds, settings)
            what = reference_in_words(line(each.name))
            parts.append(f"# {what[:1].upper()}{what[1:]} at the final seeds of run {record.run}:\n{lines}")
    return "\n".join(parts)


def _executions(
    campaign: CampaignData, name: str, run: int, commit: str, seeds: Sequence[int], overrides: Mapping[str, Any]
) -> str:
    """The loop over `seeds` that executes and scores `commit`."""
    rows = "\n".join(f"  {row}" for row in _execution(campaign, name, run, commit, overrides))
    return f"for seed in {' '.join(map(str, seeds))}; do (\n{rows}\n) done"


def _execution(campaign: CampaignData, name: str, run: int, commit: str, overrides: Mapping[str, Any]) -> Iterator[str]:
    """As `execution` and `laboratory` have it: what prepares and what scores is that of the untouched experiment."""
    contract, options = campaign.contract, campaign.status.options
    untouched, out_dir = campaign.runs[0].record.commit, f"run_{run}"
    scores = f"{out_dir}/{EVAL_FOLDER}"
    place = f"{shlex.quote(f'../{campaign.name}-{name}-seed-')}$seed"
    settings = json.dumps({**options.get("overrides", {}), **overrides})
    variables = f"HARNESS_PROFILE={shlex.quote(str(options.get('profile', '')))} HARNESS_SEED=$seed"
    yield "set -e"
    yield from _working_copy(campaign, place)
    yield f"export PYTHONHASHSEED=0 {variables} HARNESS_OVERRIDES={shlex.quote(settings)}"
    if contract.prepare or contract.scorer:
        yield f"export {CACHE}={_CACHE}"
    if contract.prepare:
        yield f'mkdir -p "${CACHE}"'
        yield f"git checkout --quiet {untouched}"
        yield f"HARNESS_SEED={contract.seed} {READS}=/dev/null {shlex.join(contract.prepare)}"
    yield f"git checkout --quiet {commit}"
    follows = f"{FOLLOWS}=1 " if contract.scorer else ""
    command = follows + shlex.join(filled(part, {"{out_dir}": out_dir}) for part in contract.command)
    yield f"execute() {{ {command}; }}"
    yield f"mkdir {out_dir}"
    yield f"execute || {{ rmdir {out_dir} && execute; }}  # again, for code that makes this folder itself"
    if contract.scorer:
        places = {"{out_dir}": out_dir, "{scores}": scores}
        yield f"git checkout --quiet {untouched}"
        yield f"rm -rf {scores}"
        yield f"mkdir {scores}"
        yield shlex.join(filled(part, places) for part in contract.scorer)


def _working_copy(campaign: CampaignData, place: str) -> Iterator[str]:
    """As `working_copy.make` makes it; what lies around the experiment only where the campaign's code leads there."""
    experiment, linked = campaign.experiment, campaign.linked
    around = working_copy.parents_of(experiment) if campaign.leads_out and experiment else []
    if experiment and (around or linked):
        yield f"experiment=$(realpath {_word(os.path.relpath(experiment, campaign.status.folder.resolve()))})"
    if campaign.leads_out and not experiment:
        yield "# Its code leads out of its folder: give the folder that is made next the surroundings that it had."
    folder = f"{place}/{_word(str(working_copy.folder_of(Path(), experiment)))}" if around else place
    yield f"git clone --quiet . {folder}"
    yield f"cd {folder}"
    for level in range(1, 1 + len(around)):
        here, lower = ("/".join([".."] * number) for number in (level, level - 1))
        found = [f'"$experiment"/{up}/*' for up in (here, lower) if up]
        yield f"(cd {here} && ln -s {' '.join(found)} .) 2> /dev/null || :  # what lay around the experiment"
    yield from (f"mkdir -p {_word(name)}" for name in campaign.empty_folders)
    for name, to in {**campaign.links, **linked}.items():
        if parent := os.path.dirname(name):  # noqa: PTH120
            yield f"mkdir -p {_word(parent)}"
        inside = experiment and name in linked and Path(to).is_relative_to(experiment)
        goal = f'"$experiment"/{_word(os.path.relpath(to, experiment))}' if inside else _word(to)
        yield f"ln -s {goal} {_word(name)}"


def _word(text: str) -> str:
    """A word of the shell, for a name of any bytes."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(f"\\x{byte:02x}" for byte in os.fsencode(text)) + "'"
