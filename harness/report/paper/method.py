"""What a campaign tests and how: the write-up's sections on the idea and the method, and its appendix on details."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...agents.brief import field_in_words, rules_in_words
from ...agents.listing import is_search
from ...campaign.contract import Profile, SanityRule, Setting
from ...campaign.idea import SCORES
from ...campaign.limits_spec import LimitsSpec
from ...campaign.metric import Metric
from ...campaign.metric_names import as_written
from ...campaign.numbers import counted, number, percent, setting, titled
from ...campaign.text import clip, duration, line
from ...statistics.frontier import NEAR
from ...statistics.judge import tests_at_final_seeds
from ...statistics.ledger import ALPHA, PAIRS, RESERVE
from ..campaign_data import CampaignData
from ..estimates import NONE
from ..terminal.record_page import SOURCES
from .document import Block, Column, Paragraph, Quote, Section, Table

_IDEA = ("Abstract", "Experiment", "Expected_Research_Impact")
_LONGEST = 6000  # characters of one field of the idea
_LONGEST_CELL = 200
_LONGEST_FACT = 1_000
_MOST_SETTINGS = 60


def idea(campaign: CampaignData) -> Section:
    """The idea as it was given, and the hypothesis that the contract lets it be tested by."""
    blocks: list[Block] = []
    primary = campaign.primary
    if primary is None:
        blocks.append(Paragraph("No primary metric is named, so no hypothesis could be tested."))
    else:
        target = f" The target is a value {_side(primary)} {number(primary.target)}." if primary.target is not None else ""
        blocks.append(
            Paragraph(
                f"The idea makes {_named(primary)} significantly {primary.better} than in the unmodified baseline.{target}",
                lead="Hypothesis.",
            )
        )
    blocks += _fields(campaign.idea, _IDEA)
    return Section("Idea and hypothesis", tuple(blocks))


def method(campaign: CampaignData) -> Section:
    """What the agent could do, at which scale, and how runs were judged."""
    contract, options = campaign.contract, campaign.status.options
    profile, name = _profile(campaign), _profile_name(campaign)
    blocks: list[Block] = []
    if contract.description:
        blocks.append(Quote(clip(contract.description, _LONGEST), "The experiment, as its contract describes it"))
    command = " ".join(contract.command).replace("{out_dir}", "run_i")
    fixed = f", with {_list(contract.files)} beside it and out of its reach" if contract.files else ""
    given = any(run.record.observed for run in campaign.runs)
    executed = " that was executed here" if given else ""
    searched = is_search(options.get("agent"))
    author = next((run.record.author for run in reversed(campaign.runs)), "agent")
    editor = f"the {author} edited {_list(contract.editable)}"
    if searched:
        editor = "a search set values of the contract’s [search]"
    blocks.append(
        Paragraph(
            f"In each run{executed} {editor}{fixed}. The harness took the change from "
            f"git, ran {line(command)} in a working copy of its own with an empty output folder, and read the "
            f"numbers from the files that this execution left there. What the {author} says is quoted here; nothing rests "
            "on it."
        )
    )
    blocks += [Paragraph(text, lead) for lead, text in _judged(campaign, profile)]
    about = f": {line(profile.description)}" if profile.description else ""
    blocks.append(Paragraph(f"{line(name or 'none')}{about}.{_overrides(options)}", lead="Profile:"))
    blocks.append(Paragraph(_agent(campaign), lead=f"{author.capitalize()}:"))
    blocks.append(Paragraph(_budget(options), lead="Budget:"))
    blocks.append(Paragraph(_limits(contract.limits_of(name)), lead="Limits of one execution:"))
    return Section("Method", tuple(blocks))


def details(campaign: CampaignData) -> Section:
    """What who repeats it needs and who reads it does not: the plan, metrics, sanity rules, settings, versions."""
    told = {"Name", "Title", "novel", *_IDEA, *SCORES, *(f"{score}_Evaluation" for score in SCORES)}
    blocks: list[Block] = [
        *_fields(campaign.idea, [name for name in campaign.idea if name not in told]),
        *_metrics(campaign),
    ]
    if sanity := _sanity(campaign):
        rules = [rule.replace("`", "").partition(" ") for rule in rules_in_words(sanity)]
        rows = tuple((_cell(as_written(value)), _cell(conditions)) for value, _, conditions in rules)
        header = (Column("Value"), Column("Must be", "words"))
        blocks.append(Table("Sanity rules: a run that breaks one is invalid.", header, rows))
    baseline = campaign.baseline
    if baseline is not None and baseline.record.settings:
        settings = list(baseline.record.settings.items())
        known = tuple(
            (_cell(key), _cell(setting(each.value)), SOURCES[each.source]) for key, each in settings[:_MOST_SETTINGS]
        )
        left_out = len(settings) - len(known)
        rest = f" {counted(left_out, 'more setting')} of it stand in its record." if left_out else ""
        columns = (Column("Setting", "words"), Column("Value", "words"), Column("Source"))
        blocks.append(Table(f"Settings of the baseline (run 0).{rest}", columns, known))
    if campaign.environment:
        found = tuple((_cell(key), clip(line(value), _LONGEST_FACT)) for key, value in campaign.environment.items())
        caption = "Environment: machine, agent and versions."
        blocks.append(Table(caption, (Column("What"), Column("Found", "words")), found))
    return Section("Details of the method", tuple(blocks))


def _fields(given: Mapping[str, Any], names: Iterable[str]) -> Iterator[Quote]:
    for name in names:
        if value := given.get(name):
            yield Quote(
                re.sub(r"^- ", "• ", clip(field_in_words(value).strip("\n"), _LONGEST), flags=re.MULTILINE),
                f"The idea’s {name.replace('_', ' ').lower()} (verbatim)",
            )


def _named(metric: Metric) -> str:
    name = as_written(line(metric.name))
    return f"{name} ({line(metric.label)})" if metric.label else name


def _side(metric: Metric) -> str:
    return "below" if metric.better == "lower" else "above"


def _metrics(campaign: CampaignData) -> Iterator[Block]:
    """The metrics of the contract that this campaign has."""
    expected = {metric.name for metric in campaign.contract.metrics_of(_profile_name(campaign))}
    rows = [
        (
            titled(as_written(_cell(metric.name)), _cell(metric.unit)),
            _cell(metric.label) or NONE,
            f"{metric.better or NONE}{' (primary)' if metric.primary else ''}",
            NONE if metric.target is None else f"{_side(metric)} {number(metric.target)}",
            NONE if metric.guard is None else number(metric.guard),
        )
        for metric in campaign.metrics
        if metric.name in expected or any(metric.name in run.record.metrics for run in campaign.runs)
    ]
    if rows:
        columns = (
            Column("Metric", "words"),
            Column("What it is", "words"),
            Column("Direction"),
            Column("Target"),
            Column("Tolerance", "numbers"),
        )
        caption = "Metrics. A run that exceeds the tolerance of a guard metric does not count as an improvement."
        yield Table(caption, columns, tuple(rows))


def _sanity(campaign: CampaignData) -> list[SanityRule]:
    """The rules that could hold for a run of this campaign: what is of other evals or architectures is none of it."""
    records = [run.record for run in campaign.runs]
    known = {name for record in records for name in (*record.metrics, *record.settings)}

    def met(key: str, values: list[Setting]) -> bool:
        return any(record.settings[key].value in values for record in records if key in record.settings)

    return [
        rule
        for rule in campaign.contract.sanity
        if (rule.present or not known or rule.value in known)
        and all(met(key, values) for key, values in rule.cases.items() if key in known)
    ]


def _judged(campaign: CampaignData, profile: Profile) -> Iterator[tuple[str, str]]:
    """How verdicts come about, each with its heading."""
    contract, planned = campaign.contract, campaign.planned
    if comparable := contract.comparable_of(_profile_name(campaign)):
        fair = f"Runs are compared only where {_list(comparable)} are the same"
        if contract.varies:
            fair += f"; {_list(contract.varies)} may be varied"
        fair += ". Where a run needs others, the baseline’s code is executed at the run’s settings, as a matched control."
        if contract.primary and contract.primary.moves_with:
            moved, mover = (as_written(line(name)) for name in (contract.primary.name, contract.primary.moves_with))
            fair += (
                f" {moved} depends on {mover}: beyond a difference of {percent(NEAR)} in {mover} a run is compared with the "
                f"baseline interpolated at equal {mover}, or it is not comparable."
            )
        yield "Fair comparison.", fair
    if profile.compute == "matched":
        more = f"Where a run takes more than {profile.most_compute:g} times the baseline’s compute, it is held against"
        yield "Compute.", f"{more} the baseline with as much, by more of {line(profile.compute_setting)}."
    if contract.primary is not None:
        stages = ", then ".join(map(str, profile.run_seeds))
        more = " while it looks better than its reference" if len(profile.run_seeds) > 1 else ""
        seeds = f"Planned are {counted(profile.baseline_seeds, 'seed')} of the baseline and {stages} of a run{more}."
        how, shared = "a one-sided t test, the spread between seeds pooled", f"the planned runs ({planned})"
        if has_final_seeds := bool(campaign.runs) and tests_at_final_seeds(profile, campaign.runs[0].record):
            seeds += (
                f" These stages only decide whether to go on. A run that passes them is executed at {profile.final_seeds} "
                "final seeds, drawn at random and never used before in the campaign, together with its references."
            )
            how = f"a one-sided paired t test at the final seeds (below {PAIRS} shared seeds an unpaired one)"
            shared = f"a third of the {counted(planned, 'planned run')}, since only a run with final seeds is tested"
        yield "Seeds.", seeds
        yield (
            "Verdicts.",
            f"A run is compared with the run that its code started from and with the baseline, by {how}. The chance that a "
            f"campaign without any effect calls a run improved is held to {percent(ALPHA)}, shared out over {shared}, with "
            f"{percent(RESERVE)} of it kept for {'further tests and ' if has_final_seeds else ''}second looks.",
        )
    not_judged = contract.not_judged
    if not_judged:
        yield "Not judged.", "; ".join(not_judged).capitalize() + "."


def _profile_name(campaign: CampaignData) -> str:
    return str(campaign.status.options.get("profile", ""))


def _profile(campaign: CampaignData) -> Profile:
    return campaign.contract.profiles.get(_profile_name(campaign), Profile())


def _overrides(options: Mapping[str, Any]) -> str:
    replaced = ", ".join(f"{line(str(key))} = {setting(value)}" for key, value in options.get("overrides", {}).items())
    return f" Settings of it that were replaced: {replaced}." if replaced else ""


def _agent(campaign: CampaignData) -> str:
    options = campaign.status.options
    if options.get("agent") == "replay":
        return "a recorded session was replayed; no model was asked."
    answered = dict.fromkeys(run.record.answered_by for run in campaign.runs if run.record.answered_by)
    named = f"{options.get('agent')} with {options.get('model') or 'its own model'}"
    said = line("; ".join(answered) or named)
    if options.get("architect"):
        said += f", planned by {line(str(options['architect']))}"
    if options.get("reviewer"):
        said += f"; a reviewer, {line(str(options['reviewer']))}, commented on each run"
    return f"{said}."


def _budget(options: Mapping[str, Any]) -> str:
    said = f"{counted(int(options['max_runs']), 'run')} besides the baseline, of at most {options['max_attempts']} attempts"
    given = [
        f"${options['max_cost']:g}" if options.get("max_cost") else "",
        f"{options['max_tokens']:,} tokens" if options.get("max_tokens") else "",
        f"{options['max_hours']:g} hours" if options.get("max_hours") else "",
    ]
    spending = ", ".join(filter(None, given))
    return f"{said}; {spending or 'no limit of dollars, tokens or hours'}."


def _limits(limits: LimitsSpec) -> str:
    given = [duration(limits.time)]
    given += [f"{duration(limits.silence)} without output"] if limits.silence else []
    given += [f"{limits.memory / 1e9:g} GB of memory"] if limits.memory else []
    given += [f"{limits.disk / 1e9:g} GB of disk"] if limits.disk else []
    return ", ".join(given) + "."


def _list(names: list[str]) -> str:
    shown = [line(name) for name in names]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _cell(text: str) -> str:
    return clip(line(text), _LONGEST_CELL)
