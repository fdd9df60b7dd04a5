"""`harness report`: campaigns as one HTML file that needs nothing else, neither network nor server.

Everything in it comes from accounts. All text from agents, experiments and people is escaped, bounded, and shown as what it
is; the page's own policy forbids any script, style or connection but what is written here.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .. import __version__
from ..brief import idea_in_words
from ..contract import Metric, Setting
from ..errors import InputError
from ..evidence import decimals
from ..idea import Idea
from ..journal import now
from ..layout import Layout
from ..record import MetricRecord, Record, write_atomically
from ..show import cost, tokens
from ..table import number, row, setting
from ..text import clean, clip, duration, line
from .account import Account, Attempt, Change, Detail, Run, read_account
from .code import diff_html, output_html
from .conclusion import TONES, in_words, is_better, state_in_words, summarize, when
from .figures import plots
from .reproduction import commands
from .said import said_html

REFRESH = 5
"""Seconds after which a page that is watched loads itself again."""
_DIFF = (700, 60_000)  # lines, characters of HTML: about what one run may take of two megabytes for ten
_ATTEMPT_DIFFS = (250, 30_000)  # of all attempts of a run together
_OUTPUT_LINES = 30
_ATTEMPT_OUTPUT_LINES = 15
_WORDS = 8000  # characters of one text of an agent
_WHY = 1500
_SHORT = 160
_MOST_METRICS = 80  # that the contract does not name
_MOST_SETTINGS = 200
_MOST_WARNINGS = 30
_MOST_DETAILS = 60
_MOST_COLUMNS = 12


@dataclass(frozen=True)
class Line:
    """A metric of a run as the report's table shows it."""

    name: str
    label: str
    value: str
    deviation: str
    baseline: str
    difference: str
    direction: str
    better: str
    source: str


def default_file(layouts: Sequence[Layout]) -> Path:
    """Beside the campaigns: `runs/NAME-report.html`, or `runs/report.html` for several."""
    folder = layouts[0].root.resolve().parent
    return folder / ("report.html" if len(layouts) > 1 else f"{layouts[0].name}-report.html")


def write_report(layouts: Sequence[Layout], file: Path, *, watched: bool = False) -> None:
    """Write the report on these campaigns to `file`. Raises InputError where that cannot be written."""
    text = render([read_account(layout) for layout in layouts], watched=watched)
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


def render(accounts: Sequence[Account], *, watched: bool = False) -> str:
    """The page."""
    environment = _environment()
    style, script = (_source(environment, name) for name in ("report/style.css", "report/script.js"))
    several = len(accounts) > 1
    return environment.get_template("report/page.html.j2").render(
        accounts=accounts,
        several=several,
        prefixes=[f"c{i}-" if several else "" for i in range(1, len(accounts) + 1)],
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        refresh=REFRESH if watched and any(a.standing.state == "running" for a in accounts) else 0,
        made=now(),
        version=__version__,
    )


def _state(layout: Layout) -> Any:
    """What changes when there is something new to show."""
    paths = [layout.journal, *layout.root.glob("run_*/record.json")]
    minute = time.monotonic() // 60  # an output grows all the time, and a page takes seconds to make
    return minute, [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in paths if path.exists()]


def _environment() -> Environment:
    here = Path(__file__).parents[1]
    environment = Environment(
        # An installed package carries the templates inside it, a checkout beside it.
        loader=FileSystemLoader([here / "templates", here.parent / "templates"]),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_cleaned,
    )
    for function in (cost, tokens, duration, in_words, line, number, when):
        environment.filters[function.__name__] = function
    environment.filters["words"] = lambda text: clip(clean(text).strip(), _WORDS)
    environment.filters["short"] = _short
    environment.filters["why"] = lambda text: clip(line(text), _WHY)
    environment.filters["zip"] = zip
    environment.filters["tone"] = lambda kind: TONES.get(kind, "plain")
    environment.globals.update(
        said=lambda text, account, run: said_html(clip(clean(text).strip(), _WORDS), account, run),
        summarize=summarize,
        state=state_in_words,
        plots=plots,
        idea_text=_idea,
        metrics=_metrics,
        unlisted=_unlisted,
        settings=_settings,
        change=_change,
        attempts=_attempts,
        output=lambda text: output_html(text, _OUTPUT_LINES),
        details=_details,
        reproduction=commands,
        differing_fingerprint=_differing,
        compared=_compared,
        columns=_columns,
        most_warnings=_MOST_WARNINGS,
        total=_total,
    )
    return environment


def _cleaned(value: Any) -> Any:
    """Everything that a template prints, once more: nothing invisible reaches the page, whatever way it took."""
    if isinstance(value, Markup):
        return Markup(clean(value))
    return clean(value) if isinstance(value, str) else value


def _short(text: str, limit: int = _SHORT) -> str:
    """One line for a table; the rest stands elsewhere."""
    text = line(text)
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _source(environment: Environment, name: str) -> Markup:
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _idea(account: Account) -> str:
    return idea_in_words(Idea.model_validate(account.idea))


def _columns(account: Account) -> list[Metric]:
    """The metrics of the table of runs: what the figures show."""
    return [metric for metric in (account.primary, *account.context) if metric is not None]


def _total(account: Account) -> dict[str, str]:
    usage = account.standing.usage
    return {
        "tokens": tokens(usage.sent + usage.received),
        "cost": cost(usage.cost),
        "time": duration(account.standing.seconds),
    }


def _metrics(account: Account, run: Run) -> list[Line]:
    """Those of the contract in its order, then others."""
    known = {metric.name: metric for metric in account.contract.metric}
    names = [name for name in known if name in run.record.metrics]
    names += [name for name in run.record.metrics if name not in known][:_MOST_METRICS]
    return [_line(run, run.record.metrics[name], name, known.get(name)) for name in names]


def _unlisted(account: Account, run: Run) -> int:
    known = {metric.name for metric in account.contract.metric}
    return max(0, sum(name not in known for name in run.record.metrics) - _MOST_METRICS)


def _line(run: Run, found: MetricRecord, name: str, metric: Metric | None) -> Line:
    value, baseline = row([found.value, found.baseline], 4) if found.baseline is not None else (number(found.value), "")
    deviation = run.deviation(name)
    spread = ""
    if deviation:
        places = decimals(deviation)
        value, spread = f"{found.value:.{places}f}", f"± {deviation:.{places}f}"
    better = metric.better if metric else None
    return Line(
        name=_short(name),
        label=metric.label if metric else "",
        value=value,
        deviation=spread,
        baseline=baseline,
        difference=_signed(found.difference),
        direction=_direction(metric, found.value, found.baseline),
        better=f"{better}, decides" if metric and metric.primary else str(better or ""),
        source=f"{line(found.file)}: {line(found.key)}" if found.file else "",
    )


def _signed(difference: float | None) -> str:
    if difference is None:
        return ""
    return ("+" if difference > 0 else "−" if difference < 0 else "") + number(abs(difference), 3)


def _direction(metric: Metric | None, value: float, baseline: float | None) -> str:
    if metric is None or metric.better is None or baseline is None:
        return ""
    if value == baseline:
        return "same"
    return "better" if is_better(metric, value, baseline) else "worse"


def _settings(record: Record) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Those that differ from the baseline's (name, value, baseline, who says so), and the others."""
    items = list(record.settings.items())[:_MOST_SETTINGS]
    differing: list[tuple[str, ...]] = [
        (_short(name), _setting(s.value), _setting(s.baseline), s.source) for name, s in items if s.differs
    ]
    return differing, [(_short(name), _setting(s.value)) for name, s in items if not s.differs]


def _setting(value: Setting) -> str:
    return "–" if value is None else setting(value)


def _change(change: Change, limits: tuple[int, int] = _DIFF) -> Any:
    return diff_html(change.text, *limits) if change.text else None


def _attempts(run: Sequence[Attempt]) -> list[tuple[Attempt, Any, Any]]:
    """Attempts that became no run, each with its diff and the end of its output; they share the room of one run."""
    lost = [attempt for attempt in run if attempt.record.status != "completed"]
    limits = tuple(limit // max(len(lost), 1) for limit in _ATTEMPT_DIFFS)
    return [
        (
            a,
            _change(a.change, (limits[0], limits[1])),
            output_html(a.output, _ATTEMPT_OUTPUT_LINES) if a.output else None,
        )
        for a in lost
    ]


def _details(account: Account, run: Run) -> list[tuple[str, list[str], list[tuple[str, list[str]]], int]]:
    """Evaluation, columns, a row for each label with the run's number and the baseline's, and how many rows are left out."""
    baseline = {detail.evaluation: detail for detail in account.runs[0].details} if run.record.run else {}
    found = []
    for detail in run.details:
        columns = detail.columns[:_MOST_COLUMNS]
        other = baseline.get(detail.evaluation)
        labels = list(detail.rows)[:_MOST_DETAILS]
        rows = [(_short(label), [_beside(detail, other, label, name) for name in columns]) for label in labels]
        names = [_short(name) for name in columns]
        found.append((line(detail.evaluation), names, rows, len(detail.rows) - len(labels)))
    return found


def _beside(detail: Detail, other: Detail | None, label: str, name: str) -> str:
    mine = detail.rows[label].get(name)
    theirs = other.rows.get(label, {}).get(name) if other else None
    return number(mine) + (f" ({number(theirs)})" if theirs is not None else "")


def _differing(account: Account, record: Record) -> Mapping[str, str]:
    """What of the run's fingerprint is not the campaign's."""
    common = account.fingerprint
    return {key: value for key, value in record.fingerprint.items() if common.get(key) != value}


def _compared(record: Record) -> list[tuple[str, str]]:
    """The comparisons behind the verdict in numbers: with what, and what came of it."""
    found = []
    for title, each in (("parent", record.verdict.against_parent), ("baseline", record.verdict.against_baseline)):
        if each is None:
            continue
        said = f"{number(each.mean)} (seeds: {each.seeds})"
        said += f" against {number(each.reference_mean)} (seeds: {each.reference_seeds})"
        if each.difference is not None:
            said += f"; difference {_signed(each.difference)}"
        if each.low is not None and each.high is not None:
            said += f", between {_signed(each.low)} and {_signed(each.high)}"
        if each.p_corrected is not None:
            said += f", p {number(each.p_corrected, 2)} after correction"
        said += f"; {each.method}" if each.method else ""
        said += f"; {each.why}" if each.why else ""
        found.append((f"With the {title} ({each.reference})", said))
    return found
