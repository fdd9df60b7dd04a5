"""`harness report`: campaigns as one HTML file that needs nothing else, neither network nor server.

Everything in it comes from accounts. All text from agents, experiments and people is escaped, bounded, and shown as what it
is; the page's own policy forbids any script, style or connection but what is written here.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from ... import __version__
from ...agents.brief import idea_in_words
from ...campaign.contract import Setting
from ...campaign.errors import InputError
from ...campaign.files import write_atomically
from ...campaign.idea import Idea
from ...campaign.journal import now
from ...campaign.layout import REPORT, Layout, find_control
from ...campaign.metric import Metric
from ...campaign.metric_names import as_written
from ...campaign.not_confined import weaker
from ...campaign.numbers import counted, number, setting, titled
from ...campaign.record import Record
from ...campaign.text import clean, clip, duration, in_words, line, new_environment, reference_in_words
from ..campaign_data import Attempt, CampaignData, Change, Run, read_campaign_data
from ..code import diff_html, output_html
from ..estimates import NONE, Estimates, beside_what, reference_label, reference_note, with_error
from ..estimates import compared as limits_of
from ..figures import held_out_plots, is_same, plots
from ..inline import html as spans
from ..paper.held_out import held_out_table
from ..paper.outcome import reference_table
from ..reproduction import commands
from ..summary import TONES, state_in_words, summarize, when
from ..terminal.columns import cut
from ..terminal.difference import PLUS_MINUS
from ..terminal.record_page import REPORTED_ERRORS, SOURCES, how_to_read, reported_errors
from ..terminal.status import parent_verdict
from ..terminal.status_page import cost_of, tokens
from .statements import statement_html

REFRESH = 5
"""Seconds after which a page that is watched loads itself again."""
_ROOM = 1_400_000
"""Bytes for all runs: what two megabytes leave beside figures, tables, style and script."""
_FEW_RUNS = 100
"""Each with its commands."""
_LEAST_ROOM = 60_000
"""Bytes for one run, however many there are."""
_SMALLEST = 1 / 64
_NUMBERS = re.compile(r"; |, [-−+\d]| \(|\. ")
"""Where a headline begins to say them."""
_FEW = 8
"""Of anything so much is shown, whatever room there is."""
_MOST_COLUMNS = 12


@dataclass(frozen=True)
class Limits:
    """How much of each thing a run shows, where there is room for all of it."""

    diff: int = 700
    """Lines."""
    diff_room: int = 60_000
    """Bytes of HTML."""
    attempts: int = 250
    """Lines of the diffs of all attempts of a run together."""
    attempts_room: int = 30_000
    output: int = 30
    attempt_output: int = 15
    words: int = 8000
    """Characters of one text of an agent."""
    why: int = 1500
    short: int = 160
    metrics: int = 80
    """That the contract does not name."""
    settings: int = 200
    warnings: int = 30
    details: int = 60

    def times(self, share: float) -> Limits:
        """The same with less room: a `share` of it, and never nothing."""
        return Limits(**{name: max(min(most, _FEW), int(most * share)) for name, most in asdict(self).items()})


@dataclass(frozen=True)
class Line:
    """A metric of a run as the report's table shows it."""

    name: str
    label: str
    value: str
    reference: str
    difference: str
    word: str
    better: str
    source: str


def default_file(layouts: Sequence[Layout]) -> Path:
    """Beside the campaigns: `runs/NAME-report.html`, or `runs/report.html` for several."""
    folder = layouts[0].root.resolve().parent
    return folder / (REPORT if len(layouts) > 1 else f"{layouts[0].name}-{REPORT}")


def write_report(layouts: Sequence[Layout], file: Path, *, watched: bool = False) -> None:
    """Write the report on these campaigns to `file`. Raises InputError where that cannot be written."""
    text = render([read_campaign_data(layout) for layout in layouts], watched=watched)
    try:
        write_atomically(file, text)
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}. --out FILE names another place.") from error


def watch(layouts: Sequence[Layout], file: Path, *, wait: Callable[[], None] = lambda: time.sleep(REFRESH)) -> None:
    """Write the report again whenever a campaign has come further, until none of them runs any more; the last page no longer
    loads itself again. Between two looks there is a `wait`."""
    seen: Any = None
    while any(layout.is_running() for layout in layouts):
        state = [_state(layout) for layout in layouts]
        if state != seen:
            write_report(layouts, file, watched=True)
            seen = state
        wait()
    write_report(layouts, file)


def render(campaigns: Sequence[CampaignData], *, watched: bool = False) -> str:
    """The page."""
    environment = _environment()
    style, script = (_source(environment, name) for name in ("report/style.css", "report/script.js"))
    several = len(campaigns) > 1
    runs = _Runs(environment, sum(len(campaign.runs) + bool(campaign.in_hand) for campaign in campaigns))
    return environment.get_template("report/page.html.j2").render(
        campaigns=[
            (campaign, Estimates(campaign), f"c{number}-" if several else "") for number, campaign in enumerate(campaigns, 1)
        ],
        several=several,
        limits=Limits(),
        fitted=runs.fitted,
        alike_in=_alike,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        refresh=REFRESH if watched and any(a.status.state == "running" for a in campaigns) else 0,
        made=now(),
        version=__version__,
    )


def _alike(campaign: CampaignData) -> dict[int, int]:
    """Of many runs: those that the same commands reproduce as one before them, but for commit and number, and which one."""
    found: dict[int, int] = {}
    if len(campaign.runs) <= _FEW_RUNS:
        return found
    first: dict[str, int] = {}
    for record in (run.record for run in campaign.runs):
        own = re.sub(rf"\b(run[-_]){record.run}\b", r"\1N", commands(campaign, record).replace(record.commit, "COMMIT"))
        if own and first.setdefault(own, record.run) != record.run:
            found[record.run] = first[own]
    return found


class _Runs:
    """The parts of the page that grow with what agents and experiments wrote: they share one room."""

    def __init__(self, environment: Environment, parts: int) -> None:
        self._environment = environment
        self._parts = parts
        self._left = _ROOM

    def fitted(self, name: str, **context: Any) -> Markup:
        """The template `name`, with as much of everything as its share of the room holds."""
        room = max(self._left // self._parts, _LEAST_ROOM)
        template, share = self._environment.get_template(name), 1.0
        html = template.render(**context, limits=Limits())
        while (size := len(html.encode())) > room and share > _SMALLEST:
            share *= min(0.7, room / size)
            html = template.render(**context, limits=Limits().times(share))
        self._left = max(0, self._left - size)
        self._parts = max(1, self._parts - 1)
        return Markup(html)


def _state(layout: Layout) -> Any:
    """What changes when there is something new to show."""
    paths = [layout.journal, *layout.root.glob("run_*/record.json")]
    minute = time.monotonic() // 60  # an output grows all the time, and a page takes seconds to make
    return minute, [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in paths if path.exists()]


@cache
def _environment() -> Environment:
    environment = new_environment(autoescape=True, finalize=_cleaned)
    filters: tuple[Any, ...] = (
        cost_of,
        tokens,
        duration,
        in_words,
        line,
        number,
        when,
        weaker,
        _words,
        _short,
        _why,
        _setting,
    )
    shown: tuple[Any, ...] = (
        *(
            plots,
            held_out_plots,
            summarize,
            how_to_read,
            reported_errors,
            reference_label,
            reference_note,
            beside_what,
            reference_table,
            held_out_table,
            titled,
            as_written,
        ),
        *(
            _said,
            _metrics,
            _unlisted,
            _settings,
            _change,
            _attempts,
            _details,
            _differing_environment,
            _compared,
            _columns,
            _control,
            _total,
        ),
    )
    environment.filters.update({function.__name__.removeprefix("_"): function for function in filters})
    environment.filters.update(
        zip=zip,
        spans=spans,
        reference_label=reference_label,
        counted=counted,
        parent_verdict=parent_verdict,
        tone=lambda kind: TONES.get(kind, "plain"),
        key=lambda value: "" if value is None else f"{value:.8g}",
    )
    environment.globals.update({function.__name__.removeprefix("_"): function for function in shown})
    environment.filters.update(result_of=_result, parent_verdict_of=lambda each: parent_verdict(each.model_dump()))
    environment.globals.update(
        plus_minus=PLUS_MINUS,
        reported=REPORTED_ERRORS,
        state=state_in_words,
        idea_text=_idea,
        output=output_html,
        reproduction=commands,
    )
    return environment


@pass_context
def _words(context: Context, text: str) -> Markup:
    """Somebody's words, as they stand there."""
    return spans(clip(clean(text).strip(), context["limits"].words))


@pass_context
def _said(context: Context, campaign: CampaignData, record: Record, name: str) -> Markup:
    """The agent's words that the record has as `name`, with their claims marked."""
    text = clip(clean(getattr(record, name)).strip(), context["limits"].words)
    return statement_html(text, campaign, record, name)


@pass_context
def _why(context: Context, text: str) -> str:
    """A reason in one line."""
    return clip(line(text), context["limits"].why)


@pass_context
def _short(context: Context, text: str, limit: int | None = None) -> str:
    """One line for a table; the rest stands elsewhere."""
    return cut(text, limit or context["limits"].short)


def _cleaned(value: Any) -> Any:
    """Everything that a template prints, once more: nothing invisible reaches the page, whatever way it took."""
    if isinstance(value, Markup):
        return Markup(clean(value))
    return clean(value) if isinstance(value, str) else value


def _source(environment: Environment, name: str) -> Markup:
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _idea(campaign: CampaignData) -> str:
    return idea_in_words(Idea.model_validate(campaign.idea))


def _result(headline: str) -> tuple[str, str]:
    """What came out, and the numbers that follow."""
    numbers = _NUMBERS.search(headline)
    place = numbers.start() + (numbers[0][0] != " ") if numbers else len(headline)
    return headline[:place], headline[place:]


def _columns(campaign: CampaignData) -> list[Metric]:
    """The metrics of the table of runs: what the figures show, and none that is the same in all of them."""
    if campaign.primary is None:
        return campaign.context
    return [campaign.primary, *(each for each in campaign.context if each.better or not is_same(campaign, each))]


def _total(campaign: CampaignData) -> dict[str, str]:
    usage = campaign.status.usage
    return {
        "tokens": usage.in_tokens(tokens(usage.tokens)),
        "cost": cost_of(usage),
        "time": duration(campaign.status.seconds),
    }


def _control(campaign: CampaignData) -> str:
    """What shows a campaign and its control on one page; "" where it has none."""
    found = find_control(Layout(campaign.status.folder))
    return f"harness report {shlex.quote(campaign.name)} {shlex.quote(found.name)} --open" if found else ""


def _metrics(campaign: CampaignData, estimates: Estimates, run: Run, most: int) -> list[Line]:
    """Those of the contract, then others."""
    known = {metric.name: metric for metric in campaign.metrics}
    names = [name for name in known if name in run.record.metrics]
    names += [name for name in run.record.metrics if name not in known][:most]
    return [_line(estimates, run, name, known.get(name)) for name in names]


def _unlisted(campaign: CampaignData, run: Run, most: int) -> int:
    known = {metric.name for metric in campaign.contract.metric}
    return max(0, sum(name not in known for name in run.record.metrics) - most)


def _line(estimates: Estimates, run: Run, name: str, metric: Metric | None) -> Line:
    better, found = metric.better if metric else None, run.record.metrics[name]
    return Line(
        name=titled(as_written(line(name)), metric.unit) if metric else line(name),  # a key that no contract names
        label=metric.label if metric else "",
        value=estimates.mean(run, name),
        reference=estimates.reference(run, name),
        difference=estimates.difference(run, name),
        word=estimates.word(run, name),
        better=f"{better} (primary)" if metric and metric.primary else str(better or NONE),
        source=f"{line(found.file)}: {line(found.key)}" if found.file else "",
    )


def _settings(record: Record, most: int) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]], int]:
    """Those that differ from the baseline's (name, value, baseline, who says so), then the others, at most `most` of each;
    and how many are left out."""
    differing: list[tuple[str, ...]] = [
        (name, _setting(s.value), _setting(s.baseline), SOURCES[s.source])
        for name, s in record.settings.items()
        if s.differs
    ]
    same: list[tuple[str, ...]] = [(name, _setting(s.value)) for name, s in record.settings.items() if not s.differs]
    return differing[:most], same[:most], max(0, len(differing) - most) + max(0, len(same) - most)


def _setting(value: Setting) -> str:
    return NONE if value is None else setting(value)


def _change(change: Change, lines: int, room: int) -> Any:
    return diff_html(change.text, lines, room) if change.text else None


def _attempts(tries: Sequence[Attempt], limits: Limits) -> list[tuple[Attempt, Any, Any]]:
    """Attempts, each with its diff and the end of its output; they share the room of one run."""
    lines, room = (limit // max(len(tries), 1) for limit in (limits.attempts, limits.attempts_room))
    return [
        (each, _change(each.change, lines, room), output_html(each.output, limits.attempt_output) if each.output else None)
        for each in tries
    ]


def _details(campaign: CampaignData, run: Run, most: int) -> list[tuple[str, list[str], list[tuple[str, list[str]]], str]]:
    """Evaluation, columns, a row for each label with the run's number and the baseline's, and what is left out."""
    baseline = {detail.evaluation: detail for detail in campaign.runs[0].details} if run.record.run else {}
    found = []
    for detail in run.details:
        columns, labels = detail.columns[:_MOST_COLUMNS], list(detail.rows)[:most]
        other = baseline.get(detail.evaluation)
        rows = [(label, [detail.cell(label, name, other) for name in columns]) for label in labels]
        cut = [(len(detail.rows) - len(labels), "row"), (len(detail.columns) - len(columns), "column")]
        left_out = " and ".join(counted(count, noun) for count, noun in cut if count)
        found.append((detail.evaluation, list(columns), rows, left_out))
    return found


def _differing_environment(campaign: CampaignData, record: Record) -> Mapping[str, str]:
    """What of the run's environment is not the campaign's."""
    common = campaign.environment
    return {key: value for key, value in record.environment.items() if common.get(key) != value}


def _compared(record: Record) -> list[tuple[str, str]]:
    """The comparisons behind the verdict in numbers: with what, and what came of it."""
    found = []
    parent, baseline = record.verdict.against_parent, record.verdict.against_baseline
    is_one = bool(parent and baseline and parent.reference == baseline.reference)
    for each in (None if is_one else parent, baseline):
        if each is None or (each.low is None and each.why and each.why in record.verdict.why):
            continue  # that nothing could be tested is said there
        mine, theirs = (
            with_error(mean, None if sd is None else sd / math.sqrt(seeds))
            for mean, sd, seeds in (
                (each.mean, each.sd, each.seeds),
                (each.reference_mean, each.reference_sd, each.reference_seeds),
            )
        )
        said = f"{mine} (seeds: {each.seeds}) against {theirs} (seeds: {each.reference_seeds})"
        difference, limits, p = limits_of(each)
        if limits != NONE:
            said += f"; difference {difference}, limits {limits}"
        said += f", p {p} after correction" if p != NONE else ""
        said += f"; {each.method}" if each.method else ""
        said += f"; {each.why}" if each.why else ""
        found.append((f"Against {reference_in_words(line(each.reference))}", said))
    return found
