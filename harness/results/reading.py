"""What a run left, read once: `read_results` turns every known shape of result file into one set of flat names.

Nothing here raises on what an experiment wrote, and nothing is believed for being in a file: what is missing, stale, not a
number or contradictory is a `Finding` with file and key. Whether numbers are good is decided in `sanity`, not here.

The experiment's own shape: `final_info.json` = {"settings": {name: scalar}, "metrics": {name: number}}.

Names. A metric keeps its key, except that one inside a block gets the block's name before it: `training.<key>` in a
training summary among several blocks, `<evaluation>.<key>` (`core.l0`), `<data set>.<key of means>` in AI-Scientist's
shape. Settings keep their key, those of an evaluation are `<evaluation>.<key>`. Details (one letter's, data set's or
feature's numbers, standard errors) are in the table only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..campaign.contract import Setting
from ..campaign.protocols import FINAL_INFO
from ..campaign.record import Source
from .result_files import Found, Twice, Unusable, load, result_files

if TYPE_CHECKING:
    import pandas

MAX_VALUES = 5000
"""Metrics and settings of one run; details are not counted."""
MAX_TEXT = 500
"""Characters of a setting."""

_SHORT_NAMES = {"absorption_first_letter": "absorption"}
_SETTINGS_IN_SUMMARY = frozenset(
    "activation_dim,batch_size,dict_size,k,l1_penalty,layer,learning_rate,lr,seed,sparsity_penalty,steps".split(",")  # noqa: SIM905
)
"""What summaries without a place for settings mix with their results."""
_SETTINGS_OF_SAE = {"d_sae": "dict_size", "d_in": "activation_dim", "hook_layer": "layer"}
_MAY_BE_UNMEASURED = ("sparse_probing", "sparse_probing_sae_probes", "scr", "tpp")
"""Evaluations that write null for each k or threshold that was not asked for."""
_CORE_CAN_BE_MINUS_ONE = ("cossim",)


class Value(NamedTuple):
    """A metric and where it was read; `key` is the path inside `file`."""

    name: str
    value: float
    file: str
    key: str


class Row(NamedTuple):
    """A number of the table. Details of one kind have one metric name and differ in key."""

    file: str
    eval: str
    key: str
    metric: str
    value: float


@dataclass(frozen=True)
class Finding:
    """Something that is not evidence. `name` is the metric's or setting's, "" where more than one value is meant."""

    file: str
    key: str
    problem: str
    name: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.key, self.problem) if part)


"""Who says a setting: what was handed over shows it, the scorer used it, or the experiment reports it of itself."""


@dataclass(frozen=True)
class Results:
    """All that a run left that could be read, and what could not."""

    metrics: dict[str, Value]
    settings: dict[str, Setting]
    """As the experiment and its evaluations report them."""
    findings: list[Finding]
    rows: list[Row]
    sources: Mapping[str, Source] = field(default_factory=dict)
    """Who says a setting, where it is not the experiment (see `scored`)."""

    @property
    def numbers(self) -> dict[str, float]:
        return {name: value.value for name, value in self.metrics.items()}

    def table(self) -> pandas.DataFrame:
        """One row a number, details included: columns file, eval, key, metric, value."""
        import pandas  # here: it takes half a second, which most commands need not spend

        return pandas.DataFrame(self.rows, columns=list(Row._fields))


def read_results(out_dir: Path, *, newer_than: float | None = None) -> Results:
    """Read `final_info.json`, `eval_results/**/*.json`, and other `*.json` in `out_dir` that hold SAEBench's output.

    `newer_than`: seconds since the epoch; an older file was not written by this run and is not read.
    Never raises on what the files are or hold. The order of everything in the answer depends on files and keys alone.
    """
    results, has_summary = _read(result_files(out_dir), newer_than)
    if not has_summary:
        results.findings.insert(0, Finding(FINAL_INFO, "", "missing: the experiment did not write it"))
    return results


def read_files(found: Found, newer_than: float | None) -> Results:
    """The same of given files."""
    return _read(found, newer_than)[0]


def _read(found: Found, newer_than: float | None) -> tuple[Results, bool]:
    """And whether there was a summary."""
    reader = _Reader(newer_than)
    files, problems = found
    for name, path in files:
        reader.read(name, path)
    findings = [Finding(_printable(name), "", problem) for name, problem in problems] + reader.findings
    return Results(reader.metrics, reader.settings, findings, reader.rows), reader.has_summary


def _is_evaluation(block: Any) -> bool:
    """SAEBench's output; before `eval_result_metrics` a core result had `unique_id` and `metrics`."""
    return isinstance(block, dict) and (
        "eval_result_metrics" in block or "eval_type_id" in block or ("unique_id" in block and "metrics" in block)
    )


def _is_training(key: str, block: Any) -> bool:
    return key.startswith("training results") and isinstance(block, dict)


class _Reader:
    """Gathers the results. The methods go from files to blocks to single values."""

    def __init__(self, newer_than: float | None) -> None:
        self.newer_than = newer_than
        self.metrics: dict[str, Value] = {}
        self.settings: dict[str, Setting] = {}
        self.findings: list[Finding] = []
        self.rows: list[Row] = []
        self.has_summary = False
        self._file = ""
        self._reported: dict[str, str] = {}
        self._room = MAX_VALUES

    def read(self, name: str, path: Path) -> None:
        self._file = _printable(name)
        is_summary, is_beside = name == FINAL_INFO, "/" not in name and name != FINAL_INFO
        self.has_summary |= is_summary
        try:
            content = load(path, self.newer_than)
        except Unusable as error:
            self._find("", str(error))
            return
        blocks = content if isinstance(content, dict) else {}
        if _is_evaluation(content):
            self._evaluation(content, "", "")
        elif is_summary and isinstance(blocks.get("metrics"), dict):
            self._own(blocks)
        elif (is_summary and blocks) or any(_is_training(k, b) or _is_evaluation(b) for k, b in blocks.items()):
            self._blocks(blocks)
        elif not is_beside:
            self._find("", "holds no results in a known shape")

    def _own(self, content: dict[str, Any]) -> None:
        for group, block in content.items():
            if group not in ("settings", "metrics") or not isinstance(block, dict):
                self._find(group, "not read: only the objects settings and metrics are")
                continue
            for name, value in block.items():
                if group == "metrics":
                    self._metric(name, value, "final_info", f"metrics.{name}")
                else:
                    self._setting(name, value, f"settings.{name}")

    def _blocks(self, content: dict[str, Any]) -> None:
        """A flat summary, AI-Scientist's data sets, or several outputs in one file: told apart key by key."""
        flat = {}
        for key, block in content.items():
            if _is_training(key, block):
                self.has_summary = True
                for name, value in _members(block, "config"):
                    self._setting(name, value, f"{key}.config.{name}", of_library=True)
                summary = dict(_members(block, "final_info"))
                self._summary(summary, "training", f"{key}.final_info.")
                if not summary:
                    self._find(f"{key}.final_info", "holds no results of the training")
            elif _is_evaluation(block):
                self._evaluation(block, f"{key}.", key.removesuffix(" evaluation results"))
            elif isinstance(block, dict) and isinstance(block.get("means"), dict):
                self._data_set(key, block)
            else:
                flat[key] = block
        self._summary(flat, "", "")

    def _summary(self, members: dict[str, Any], block: str, path: str) -> None:
        for key, value in members.items():
            is_text = isinstance(value, str) and not _reads_as_number(value)
            if is_text or (key in _SETTINGS_IN_SUMMARY and value is not None):
                self._setting(key, value, path + key)
            else:
                self._metric(f"{block}.{key}" if block else key, value, block or "final_info", path + key)
        if "steps" not in self.settings and isinstance(members.get("training_steps"), int):
            self._setting("steps", members["training_steps"], path + "training_steps")

    def _data_set(self, key: str, block: dict[str, Any]) -> None:
        for name, value in _members(block, "means"):
            self._metric(f"{key}.{name}", value, key, f"{key}.means.{name}")
        for name, value in _members(block, "stderrs"):
            self._detail(f"{key}.{name}", value, key, f"{key}.stderrs.{name}")
        for name, values in _members(block, "final_info_dict"):
            for place, value in enumerate(values if isinstance(values, list) else [values]):
                self._detail(f"{key}.{name}", value, key, f"{key}.final_info_dict.{name}[{place}]")

    def _evaluation(self, block: dict[str, Any], path: str, title: str) -> None:
        kind = block.get("eval_type_id", title or "core")
        if not isinstance(kind, str):
            self._find(f"{path}eval_type_id", "does not name an evaluation")
            return
        evaluation = _SHORT_NAMES.get(kind, kind)
        group = "eval_result_metrics" if "eval_result_metrics" in block else "metrics"
        numbers = [
            (key, value, f"{path}{group}.{category}.{key}")
            for category, members in _members(block, group)
            for key, value in (members.items() if isinstance(members, dict) else [(category, members)])
        ]
        if not numbers:
            self._find(f"{path}{group}", f"the {evaluation} evaluation left no metrics")
        # SAEBench's pull request 61 (March 2025) gave explained_variance another formula, and the older one a new name.
        is_older_core = evaluation == "core" and all(key != "explained_variance_legacy" for key, _, _ in numbers)
        for key, value, where in numbers:
            is_renamed = is_older_core and where.endswith("reconstruction_quality.explained_variance")
            self._evaluated(evaluation, "explained_variance_legacy" if is_renamed else key, value, where)
        config = "eval_config" if "eval_config" in block else "eval_cfg"
        for key, value in _members(block, config):
            self._setting(f"{evaluation}.{key}", value, f"{path}{config}.{key}", of_library=True)
        for key, value in _members(block, "sae_cfg_dict"):
            if key in _SETTINGS_OF_SAE and value is not None:
                self._setting(_SETTINGS_OF_SAE[key], value, f"{path}sae_cfg_dict.{key}")
        self._details(block.get("eval_result_details"), evaluation, f"{path}eval_result_details")

    def _evaluated(self, evaluation: str, key: str, value: Any, where: str) -> None:
        name = f"{evaluation}.{key}"
        if value is None and evaluation in _MAY_BE_UNMEASURED:
            return
        if evaluation == "core" and _number(value) == -1 and key not in _CORE_CAN_BE_MINUS_ONE:
            self._find(where, "-1, which SAEBench writes in place of NaN", name)
        elif key.startswith("total_tokens_"):  # how much was evaluated, not how well
            self._setting(name, value, where)
            self._detail(name, value, evaluation, where)
        else:
            self._metric(name, value, evaluation, where)

    def _details(self, items: Any, evaluation: str, path: str) -> None:
        broken = 0
        for place, item in enumerate(items if isinstance(items, list) else []):
            members = item if isinstance(item, dict) else {}
            label = next((value for value in members.values() if isinstance(value, str)), place)
            for key, value in members.items():
                broken += isinstance(value, float) and not math.isfinite(value)
                self._detail(f"{evaluation}.{key}", value, evaluation, f"{path}[{label}].{key}")
        if broken:
            self._find(path, f"{broken} numbers are NaN or infinite")

    def _detail(self, name: str, value: Any, evaluation: str, key: str) -> None:
        number = _number(value)
        if isinstance(number, float):
            self.rows.append(Row(self._file, _printable(evaluation), _printable(key), _printable(name), number))

    def _metric(self, name: str, value: Any, evaluation: str, key: str) -> None:
        name, key = _printable(name), _printable(key)
        if not self._has_room():
            return
        number = _number(value)
        if isinstance(number, str):
            self._find(key, number, name)
            return
        self.rows.append(Row(self._file, _printable(evaluation), key, name, number))
        known = self.metrics.setdefault(name, Value(name, number, self._file, key))
        if known.value != number:
            self._find(key, f"{number!r} here, {known.value!r} in {known.file} at {known.key}", name)

    def _setting(self, name: str, value: Any, key: str, *, of_library: bool = False) -> None:
        """`of_library`: a library's configuration also has lists, which become text, and objects, which are not read."""
        name, key = _printable(name), _printable(key)
        if of_library and isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
            value = ", ".join(str(item) for item in value)
        if (of_library and isinstance(value, list | dict)) or not self._has_room():
            return
        value = _printable(value) if isinstance(value, str) else value
        problem = _why_no_setting(value)
        if problem:
            self._find(key, problem, name)
            return
        known = self.settings.setdefault(name, value)
        if known != value:
            self._find(key, f"{value!r} here, {known!r} in {self._reported[name]}", name)
        self._reported.setdefault(name, f"{self._file} at {key}")

    def _has_room(self) -> bool:
        self._room -= 1
        if self._room == -1:
            self._find("", f"more than {MAX_VALUES} metrics and settings; the rest is not read")
        return self._room >= 0

    def _find(self, key: str, problem: str, name: str = "") -> None:
        self.findings.append(Finding(self._file, _printable(key), problem, name))


def _members(block: dict[str, Any], key: str) -> Iterator[tuple[str, Any]]:
    members = block.get(key)
    if isinstance(members, dict):
        yield from members.items()


def _number(value: Any) -> float | str:
    """The number, or in words why it is none."""
    if value is None:
        return "null, not a number"
    if isinstance(value, bool):
        return f"{str(value).lower()}, not a number"
    if isinstance(value, str):
        return f"the text {_printable(value[:40])!r}, not a number"
    if isinstance(value, Twice):
        return "there more than once, and which was meant is unknown"
    if not isinstance(value, int | float):
        return f"{'an object' if isinstance(value, dict) else 'a list'}, not a number"
    try:
        number = float(value)
    except OverflowError:
        return "too large for a number"
    if math.isfinite(number):
        return number
    return "NaN, not a number" if math.isnan(number) else "infinite, not a number"


def _why_no_setting(value: Any) -> str:
    if isinstance(value, str):
        return f"a text of {len(value)} characters, too long for a setting" if len(value) > MAX_TEXT else ""
    if value is None or isinstance(value, bool):
        return ""
    number = _number(value)
    return number.replace("not a number", "not a setting") if isinstance(number, str) else ""


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _printable(text: str) -> str:
    """What an experiment wrote goes to terminals and into records, which are UTF-8."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
