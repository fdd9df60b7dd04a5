"""A campaign that is driven from outside: opened, told of changes, ended."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..agents.joining import Tried
from ..agents.outside import OUTSIDE
from ..agents.submission import UNKNOWN, Patch, Source, Waiting
from ..campaign.campaign import Campaign
from ..campaign.errors import OUTCOMES, HarnessError, InputError
from ..campaign.journal import read_events
from ..campaign.layout import Layout, find_layout
from ..campaign.record import Record
from ..campaign.stop import Stop
from ..campaign.text import clean, in_words
from ..campaign.usage import Usage
from ..loop import Ending
from ..report.conclusion import headline
from ..report.terminal.held_out import held_out
from ..report.terminal.outcome import standing, try_facts, try_page
from ..statistics.judge import may_be_started_from
from .notify import notify, state
from .options import print_json
from .running import Request, changed_on_resuming, create, drive, say_ending, take_on_control


def hand_in(name: str, source: Source, as_json: bool, width: int, jobs: int | None = None) -> int:
    """Hand a change in, wait for what comes of it, and say it. Returns the exit code."""
    layout, campaign = _driven_from_outside(name)
    _check(campaign, source)
    ending = _driven(campaign, quiet=as_json, jobs=jobs, hand_in=source)
    if ending.exit_code == InputError.exit_code:
        raise InputError(ending.message)
    facts = try_facts(campaign, ending.message, ending.exit_code, ending.change, ending.put_back)
    if as_json:
        print_json(facts)
    else:
        click.echo("\n" + try_page(facts, layout, width))
    return int(facts["exit_code"])


def end(name: str, as_json: bool, width: int) -> int:
    """End a campaign that is driven from outside, and say what it has shown. Returns the exit code."""
    layout, campaign = _driven_from_outside(name)
    ending = _driven(campaign, quiet=as_json, end=True)
    conclusion = "" if ending.exit_code else _conclusion(campaign)
    if as_json:
        said = {"conclusion": conclusion} if conclusion else {}
        print_json(_said(campaign, ending, "ended") | said)
    else:
        say_ending(layout, "\n\n".join(filter(None, [ending.message, conclusion])), width)
    return ending.exit_code


def _said(campaign: Campaign, ending: Ending, outcome: str) -> dict[str, Any]:
    """How it ended, where it did well with this outcome, and where it stands."""
    said = {"outcome": OUTCOMES.get(ending.exit_code, outcome), "exit_code": ending.exit_code, "message": ending.message}
    return {"campaign": campaign.name, **said, **standing(campaign)}


def _conclusion(campaign: Campaign) -> str:
    """What an ended campaign has shown, in one sentence: with what was held out, where the contract has such."""
    records, options = campaign.read_records(), campaign.options(read_events(campaign.journal)).model_dump()
    found = held_out(campaign.facts(), options, campaign.holdouts(), records[-1].run)
    return headline(campaign.contract, records[1:], found)


def open_as_json(request: Request) -> int:
    """Begin a campaign, and print where it stands as one object. Returns the exit code."""
    if len(request.files) > 1 or len(request.names) > 1:
        raise InputError("--json tells of one campaign: open one idea at a time.")
    with redirect_stdout(sys.stderr):  # what is said on the way is no part of the object
        [campaign], _ = create(request)
    ending = _driven(campaign, quiet=True, jobs=request.jobs)
    print_json(_said(campaign, ending, "opened"))
    return ending.exit_code


def resume_as_json(
    campaign: Campaign, changes: Mapping[str, Any], force: bool, width: int, tell: str | None, jobs: int | None
) -> int:
    """The same as `resume`, and print where the campaign stands as one object. Returns the exit code."""
    changed = changed_on_resuming(campaign, changes)
    ending = _driven(campaign, quiet=True, tell=tell, jobs=jobs, changes=changed, force=force)
    if tell:
        notify(tell, state(campaign, ending.exit_code))
    with redirect_stdout(sys.stderr):
        code = ending.exit_code or take_on_control(campaign, Stop(), width, tell, jobs)
    print_json(_said(campaign, ending, "waiting" if ending.reason == Waiting.reason else "ended") | {"exit_code": code})
    return code


def _driven(campaign: Campaign, **how: Any) -> Ending:
    """How it ended, also where it could not go on. Raises InputError."""
    try:
        return drive(campaign, Stop(), **how)
    except Tried as tried:
        return Ending(tried.reason, "", tried.exit_code, change=str(tried))
    except InputError:
        raise
    except HarnessError as error:
        return Ending(error.reason, str(error), error.exit_code)


def _driven_from_outside(name: str) -> tuple[Layout, Campaign]:
    """Raises InputError for a campaign that the harness drives."""
    layout = find_layout(name)
    campaign = Campaign(layout.root.absolute())
    campaign.check_can_go_on()
    if (agent := campaign.options().agent) != OUTSIDE:
        raise InputError(
            f"{campaign.name}: {agent} makes its changes. `harness open IDEA.json` begins a campaign that you drive."
        )
    return layout, campaign


def _check(campaign: Campaign, source: Source) -> None:
    """Raises InputError for words that cannot be taken, and where a budget could not be held."""
    options, used = campaign.options(), source.words.usage
    if wanted := source.words.start_from.removeprefix("run_"):
        _check_start(wanted, campaign.read_records())
    settings = campaign.contract.comparable_of(options.profile)
    if unknown := [name for name in source.words.varies if name not in settings]:
        known = f"It is one of {', '.join(settings)}." if settings else "The contract names none (comparable)."
        raise InputError(f"--varies {unknown[0]}: no setting that decides comparability. {known}")
    if options.max_cost is not None and used.cost is None:
        raise InputError("--max-cost cannot be held without what the change cost: --usage '{\"cost\": 0.12}'.")
    if options.max_tokens is not None and not used.sent + used.received:
        raise InputError('--max-tokens cannot be held without the tokens: --usage \'{"sent": 12000, "received": 800}\'.')


def _check_start(wanted: str, records: Sequence[Record]) -> None:
    """Raises InputError for a run whose code no other starts from. That of this change's own run is not known yet."""
    if not wanted.isdecimal() or wanted == f"{len(records)}":
        return
    sound = [record.run for record in records if record.run == 0 or may_be_started_from(record)]
    if int(wanted) in sound:
        return
    why = "no such run"
    if int(wanted) < len(records):
        why = f"the verdict on it is {in_words(records[int(wanted)].verdict.kind)}, and no run starts from such code"
    known = f"0 to {len(records)}" if len(sound) == len(records) else f"{', '.join(map(str, sound))} and {len(records)}"
    raise InputError(f"--start-from {wanted}: {why}. There are {known}, this one included.")


def usage_of(text: str | None) -> Usage:
    """What `--usage` says: a JSON object of numbers. Raises InputError."""
    if text is None:
        return UNKNOWN
    kinds = {"sent": int, "received": int, "cost": float, "seconds": float, "requests": int}
    wanted = (
        f"--usage {text}: expected an object with some of {', '.join(kinds)}, such as " + '{"sent": 12000, "cost": 0.12}.'
    )
    try:
        found = json.loads(text)
        values: dict[str, Any] = {key: kinds[key](value) for key, value in found.items() if not isinstance(value, bool)}
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError) as error:
        raise InputError(wanted) from error
    if len(values) != len(found) or any(not math.isfinite(value) or value < 0 for value in values.values()):
        raise InputError(wanted)
    return replace(UNKNOWN, untold=int(not {"sent", "received"} <= values.keys()), **values)


def start_from(text: str | None) -> str:
    """`baseline`, `best` or `run_N`, of what `--start-from` says. Raises InputError."""
    if text is None or text in ("baseline", "best"):
        return text or ""
    run = text.removeprefix("run_").removeprefix("run ")
    if not run.isdecimal():
        raise InputError(f"--start-from {text}: expected baseline, best or the number of a run.")
    return f"run_{int(run)}"


def text_of(words: str, file: Path | None, option: str) -> str:
    """What was said, with what stands in a file."""
    if file is None:
        return clean(words)
    try:
        return clean("\n\n".join(filter(None, [words, file.read_text(encoding="utf-8", errors="replace").strip()])))
    except OSError as error:
        raise InputError(f"{option} {file}: cannot be read: {error.strerror}.") from error


def read_patch(file: Path | None) -> Patch | None:
    """The patch that `--patch` names: `-` is standard input. Raises InputError."""
    if file is None:
        return None
    try:
        return Patch(str(file), sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes())
    except OSError as error:
        raise InputError(f"--patch {file}: cannot be read: {error.strerror}.") from error
