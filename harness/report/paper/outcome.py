"""What came of a campaign: the write-up's sections on results and on every run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ...campaign.layout import Layout
from ...campaign.metric import Metric
from ...campaign.metric_names import as_written
from ...campaign.numbers import counted, setting, titled
from ...campaign.record import Record
from ...campaign.text import clip, in_words, line
from ..campaign_data import CampaignData, Run
from ..control import control_line
from ..estimates import LEVEL, NONE, Estimates, beside_what, compared, reference_label, reference_note, with_error
from ..figures import held_out_plots, plots
from ..references import Reference, references_of
from ..summary import summarize
from ..terminal.columns import cut
from ..terminal.difference import PLUS_MINUS, beside
from ..terminal.status import parent_verdict
from .caveats import runs_in_words
from .document import Block, Column, Items, Paragraph, Pictures, Quote, Section, Table, quoted_lines
from .held_out import held_out_table

_MANY = 20
"""With more runs than this, each is told in fewer words."""
_WORDS = (1500, 400)
"""Characters of an agent's text, for few runs and for many."""
_HYPOTHESIS = 240
"""Columns of the hypothesis in the table of all runs."""
EACH_RUN = "Every run in full"
_WHY = 500
_SHORT = 90
_MOST_SETTINGS = 12
_DEAR = 1.2
"""From so many times the baseline's compute on it has a column."""
_BESIDE = 5
"""Runs whose numbers stand beside each other in one table."""
_MOST_METRICS = 80
_MOST_COLUMNS, _MOST_ROWS = 4, 30
"""Of what lies behind the means of an evaluation."""
_OUTPUT_LINES = 30
_PLUS_MINUS = f"{PLUS_MINUS} It is missing where no spread between seeds was measured."


def results(campaign: CampaignData, estimates: Estimates) -> Section:
    """The conclusion, the primary metric of all runs with intervals, all metrics of the best one, and the figures."""
    blocks: list[Block] = [Paragraph(summarize(campaign, estimates).headline)]
    beside = control_line(Layout(campaign.status.folder), campaign.contract, [run.record for run in campaign.runs])
    blocks += [Paragraph(beside)] if beside else []
    if campaign.no_baseline and campaign.output:
        shown = "\n".join(quoted_lines(campaign.output)[-_OUTPUT_LINES:])
        blocks.append(Quote(shown, "The end of its output"))
    blocks += _overview(campaign, estimates)
    blocks += _pictures(campaign)
    blocks += _beside_baseline(campaign, estimates)
    blocks += filter(None, [held_out_table(campaign)])
    return Section("Results", tuple(blocks))


def every_run(campaign: CampaignData) -> Section:
    """All runs in order, the failed ones too: what each tested and what came of it, a row a run."""
    tried = campaign.runs[1:]
    if not tried:
        return Section("Every run", (Paragraph("No run besides the baseline is recorded."),))
    columns = (Column("Run"), Column("Hypothesis (unverified)", "words"), Column("Attempts"), Column("Verdict"))
    rows = tuple(
        (
            str(run.record.run),
            cut((run.record.hypothesis or run.record.description).replace("`", ""), _HYPOTHESIS) or NONE,
            _attempts(run.record),
            in_words(campaign.verdict(run)),
        )
        for run in tried
    )
    caption = (
        f"All runs in their order, whatever came of them. The appendix “{EACH_RUN}” has settings, rejected and failed "
        "attempts, and interpretations."
    )
    return Section("Every run: ablations and what did not work", (Table(caption, columns, rows),))


def _attempts(record: Record) -> str:
    """How many, and what became of those that were none: `3: 2 rejected`."""
    lost = Counter(in_words(each.status) for each in record.attempts if each.status != "completed")
    said = ", ".join(f"{count} {status}" for status, count in lost.most_common())
    return f"{len(record.attempts)}{f': {said}' if said else ''}" if record.attempts else NONE


def each_run(campaign: CampaignData) -> Section | None:
    """The same in full, for the appendix."""
    tried = campaign.runs[1:]
    sections = tuple(_run(campaign, run, _WORDS[len(tried) > _MANY]) for run in tried)
    return Section(EACH_RUN, (), sections) if tried else None


def all_numbers(campaign: CampaignData, estimates: Estimates) -> Section | None:
    """Every metric of every run; None where there is none."""
    valued = [run for run in campaign.runs if run.record.metrics]
    known = [metric.name for metric in campaign.metrics]
    others = dict.fromkeys(name for run in valued for name in run.record.metrics if name not in known)
    names = [*(name for name in known if any(name in run.record.metrics for run in valued)), *others][:_MOST_METRICS]
    if not names:
        return None
    units = {metric.name: metric.unit for metric in campaign.contract.metric}
    left_out = len(known) + len(others) - _MOST_METRICS
    tables = []
    for first in range(0, len(valued), _BESIDE):
        shown = valued[first : first + _BESIDE]
        columns = (Column("Metric", "words"), *(Column(_name(run), "numbers") for run in shown))
        rows = tuple(
            (
                titled(as_written(_short(name)), units[name]) if name in units else _short(name),
                *(estimates.mean(run, name) for run in shown),
            )
            for name in names
        )
        runs = f"{_name(shown[0])} to {_name(shown[-1])}" if len(shown) > 1 else _name(shown[0])
        tables.append(Table(f"All metrics, {runs}.", columns, rows))
    rest = f" {counted(left_out, 'more metric')} are in the records." if left_out > 0 else ""
    opening = Paragraph(f"Every metric of every run that has any. {_PLUS_MINUS}{rest}")
    return Section("All numbers", (opening, *tables, *behind_means(campaign)))


def behind_means(campaign: CampaignData) -> list[Table]:
    """Each letter, data set or feature of the best run's evaluations, beside the baseline's."""
    run = campaign.best or campaign.runs[0]
    baseline = {each.evaluation: each for each in campaign.runs[0].details} if run.record.run else {}
    beside = "; in brackets the baseline" if baseline else ""
    found = []
    for each in run.details:
        shown, other = each.columns[:_MOST_COLUMNS], baseline.get(each.evaluation)
        columns = (Column("", "words"), *(Column(_short(name), "numbers") for name in shown))
        labels = list(each.rows)[:_MOST_ROWS]
        rows = tuple((_short(label), *(each.cell(label, name, other) for name in shown)) for label in labels)
        cut = [(len(each.rows) - len(rows), "row"), (len(each.columns) - len(shown), "column")]
        left_out = " and ".join(counted(count, noun) for count, noun in cut if count)
        rest = f" {left_out} more in its files." if left_out else ""
        found.append(Table(f"Behind the means of {each.evaluation}, {_name(run)}{beside}.{rest}", columns, rows))
    return found


def reference_table(campaign: CampaignData, run: Run) -> Table | None:
    """The references of the run, each with its numbers; None where that is the baseline as it is."""
    found, primary = references_of(campaign, run), campaign.primary
    if not found or primary is None:
        return None
    mover = next((metric for metric in campaign.contract.metric if metric.name == primary.moves_with), None)
    metrics = [primary, *([mover] if mover else [])]
    has_notes = any(each.why_none for each in found)
    columns = [Column("Reference", "words"), Column("Settings", "words"), Column("Seeds", "numbers")]
    columns += [Column(_titled(metric), "numbers") for metric in metrics]
    columns += [Column("No reference, since", "words")] if has_notes else []
    rows = [
        (
            line(each.name.replace("run_0", "the baseline")),
            _short(", ".join(f"{name} = {setting(value)}" for name, value in each.overrides.items())) or NONE,
            str(max(map(len, each.values.values()), default=0)),
            *(_mean_of(each, metric) for metric in metrics),
            *((_short(each.why_none) or NONE,) if has_notes else ()),
        )
        for each in found
    ]
    return Table("The baseline’s code at other settings, executed as this run’s reference.", tuple(columns), tuple(rows))


def _mean_of(reference: Reference, metric: Metric) -> str:
    values = reference.values.get(metric.name)
    if not values:
        return NONE
    found = beside(values, values, None)
    return with_error(found.value, found.value_error)


def _overview(campaign: CampaignData, estimates: Estimates) -> Iterator[Table]:
    primary = campaign.primary
    if primary is None:
        yield from _without_primary(campaign, estimates)
    if primary is None or not campaign.runs:
        return
    tested = any(run.record.verdict.against_baseline for run in campaign.runs)
    elsewhere = any(reference_label(run) != "the baseline" for run in campaign.runs)
    compute = [run.compute(campaign.runs[0]) for run in campaign.runs]
    dear = any(each is not None and each >= _DEAR for each in compute)
    steps = any(parent_verdict(run.record.verdict.model_dump()) for run in campaign.runs)
    children = any(run.record.parent for run in campaign.runs)
    columns = [Column("Run"), Column("Seeds", "numbers"), Column(_titled(primary), "numbers")]
    if tested:
        columns += [Column("Against", "words")] if elsewhere else []
        columns += [Column("Reference" if elsewhere else "Baseline", "numbers")]
        columns += [Column("Difference", "numbers"), Column(f"{LEVEL} CI", "numbers"), Column("Adjusted p", "numbers")]
    columns += [Column("Compute", "numbers")] if dear else []
    columns += [Column("Verdict"), *([Column("Parent", "numbers")] if children else [])]
    columns += [Column("Against it")] if steps else []
    rows = []
    for run, times in zip(campaign.runs, compute, strict=True):
        record = run.record
        cells = [
            "baseline" if record.run == 0 else str(record.run),
            str(record.seed_count or 1) if record.metrics and not record.given else NONE,
            estimates.mean(run, primary.name),
        ]
        if tested and elsewhere:
            cells.append(_short(reference_label(run).removeprefix("the ")) if record.verdict.against_baseline else NONE)
        cells += (estimates.reference(run, primary.name), *compared(record.verdict.against_baseline)) if tested else ()
        cells += [NONE if times is None else f"{times:.1f}x"] if dear else []
        cells.append(NONE if record.run == 0 else in_words(campaign.verdict(run)))
        cells += [NONE if record.parent is None else str(record.parent)] if children else []
        if steps:
            cells.append(in_words(parent_verdict(record.verdict.model_dump())) or NONE)
        rows.append(tuple(cells))
    caption = f"All runs: {_short(primary.name)}, {primary.better} is better. {_PLUS_MINUS}"
    if tested:
        caption += (
            f" Difference, CI, p and verdict are against {'what Against names' if elsewhere else 'the baseline'}"
            f"{_at_final_seeds(campaign)}; intervals are simultaneous over all runs, p is one-sided (of a gain, where it "
            "names no loss) and adjusted for all planned runs."
        )
    if dear:
        caption += (
            " Compute: seconds of processor time of an execution, or of a GPU of its own, as a multiple of the baseline’s."
        )
    if steps:
        caption += " Against it: the verdict against the parent, where that is not the baseline."
    yield Table(caption, tuple(columns), tuple(rows))


def _at_final_seeds(campaign: CampaignData) -> str:
    """Whose reference is no number of another row, since it was executed once more beside them."""
    final = [run.record.run for run in campaign.runs if reference_note(run).endswith("final seeds")]
    return f", for {runs_in_words(final)} executed at the final seeds" if final else ""


def _without_primary(campaign: CampaignData, estimates: Estimates) -> Iterator[Table]:
    """The metrics of all runs that are shown where none decides."""
    names = [metric.name for metric in campaign.context]
    if names:
        columns = (Column("Run"), Column("Parent", "numbers"), *(Column(_short(name), "numbers") for name in names))
        rows = [
            (
                _name(run),
                NONE if run.record.parent is None else str(run.record.parent),
                *(estimates.mean(run, name) for name in names),
            )
            for run in campaign.runs
        ]
        yield Table(f"All runs; no metric is named to decide. {_PLUS_MINUS}", columns, tuple(rows))


def _beside_baseline(campaign: CampaignData, estimates: Estimates) -> Iterator[Table]:
    """The best run's metrics beside those of its reference."""
    best, primary = campaign.best, campaign.primary
    if best is None or primary is None:
        return
    rows = [
        (
            _titled(metric),
            metric.better or NONE,
            estimates.reference(best, metric.name),
            estimates.mean(best, metric.name),
            estimates.difference(best, metric.name),
        )
        for metric in campaign.directed
        if metric.name in best.record.metrics
    ]
    columns = (
        Column("Metric", "words"),
        Column("Direction"),
        Column("Baseline" if reference_label(best) == "the baseline" else "Reference", "numbers"),
        Column(_name(best), "numbers"),
        Column("Difference", "numbers"),
    )
    caption = (
        f"{_name(best)} ({in_words(campaign.verdict(best))}) beside {beside_what(best, _short(primary.name))}. Only "
        f"{_short(primary.name)} is tested, the other metrics are context. {_PLUS_MINUS}"
    )
    yield Table(caption, columns, tuple(rows))


def _pictures(campaign: CampaignData) -> Iterator[Pictures]:
    """In pairs: runs and what was held out first, which belong together."""
    over_runs, held_out = plots(campaign, curves=1), held_out_plots(campaign)
    shown = [*over_runs[:1], *held_out, *over_runs[1:]]
    for place in range(0, len(shown), 2):
        yield Pictures(tuple(shown[place : place + 2]))


def _run(campaign: CampaignData, run: Run, limit: int) -> Section:
    record, theirs = run.record, f"The {run.record.author}’s"
    blocks: list[Block] = [Paragraph(_facts(run))]
    if record.hypothesis:
        blocks.append(Quote(clip(record.hypothesis, limit), f"{theirs} hypothesis, before the run (unverified)"))
    step = parent_verdict(record.verdict.model_dump())
    if step:
        difference, limits, p = compared(record.verdict.against_baseline)
        said = (
            f"{in_words(campaign.verdict(run))}; difference {difference}, {LEVEL} simultaneous CI {limits}, adjusted p {p}."
        )
        blocks.append(Paragraph(said, lead=f"Verdict against {reference_label(run)}:"))
    if record.verdict.why:
        lead = f"Verdict against run {record.parent}:" if step else "Verdict:"
        blocks.append(Paragraph(f"{clip(line(record.verdict.why), _WHY).rstrip('.')}.", lead=lead))
    if references := reference_table(campaign, run):
        blocks.append(references)
    if record.advice:
        blocks.append(Paragraph("What may help to explain the results (not tested):"))
        blocks.append(Items(tuple(clip(line(each), _WHY) for each in record.advice)))
    if record.interpretation:
        blocks.append(Quote(clip(record.interpretation, limit), f"{theirs} interpretation, after the run (unverified)"))
    lost = [each.record for each in run.lost]
    if lost:
        blocks.append(
            Items(
                tuple(
                    f"Attempt {each.number}, {in_words(each.status)}: {clip(line(each.why), _WHY) or 'no reason on record'}"
                    for each in lost
                )
            )
        )
    return Section(f"Run {record.run}: {in_words(campaign.verdict(run))}", tuple(blocks))


def _facts(run: Run) -> str:
    """Where the run came from, what it changed, and at which settings it was."""
    record = run.record
    said = "" if record.parent is None else f"From {'the baseline' if record.parent == 0 else f'run {record.parent}'}. "
    if run.change.text:
        marks = Counter(row[:1] for row in run.change.text.split("\n") if not row.startswith(("+++", "---")))
        said += f"{counted(marks['+'], 'line')} added, {marks['-']} removed. "
    else:
        said += f"{run.change.missing} "
    differing = [
        f"{_short(name)} = {clip(setting(each.value), _SHORT)}"
        + ("" if each.baseline is None else f" (baseline {clip(setting(each.baseline), _SHORT)})")
        for name, each in record.settings.items()
        if each.differs
    ]
    if differing:
        more = f" and {len(differing) - _MOST_SETTINGS} more" if len(differing) > _MOST_SETTINGS else ""
        said += f"Settings that differ from the baseline’s: {'; '.join(differing[:_MOST_SETTINGS])}{more}."
    return said.strip()


def _name(run: Run) -> str:
    return "Baseline" if run.record.run == 0 else f"Run {run.record.run}"


def _titled(metric: Metric) -> str:
    return titled(as_written(_short(metric.name)), line(metric.unit))


def _short(text: str) -> str:
    return clip(line(text), _SHORT)
