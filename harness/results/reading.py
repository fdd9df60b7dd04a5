"""What a run left, read once: `read_results` turns every known shape of result file into one set of flat names.

Nothing here raises on what an experiment wrote, and nothing is believed for being in a file: what is missing, stale, not a
number or contradictory is a `Finding` with file and key. Whether numbers are good is decided in `sanity`, not here.

The experiment's own shape: `final_info.json` = {"settings": {name: scalar}, "metrics": {name: number}}. Others that are
read are in WANTED.

Names. A metric keeps its key, except that one inside a block gets the block's name before it: `training.<key>` in a
training summary among several blocks (`training.layer_12.<key>` where there are several of them; so do settings that differ
between these), `<evaluation>.<key>` (`core.l0`, and `core.layer_12.l0` where there are several),
`<data set>.<key of means>` in AI-Scientist's shape, `<data set>.<key>` in others. Settings keep their key, those of an
evaluation are `<evaluation>.<key>`. Details (one letter's, data set's or feature's numbers, standard errors) are in the
table only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ..campaign.contract import Setting
from ..campaign.protocols import FINAL_INFO
from ..campaign.record import Source
from .result_files import Found, Unusable, load, result_files, summary_file
from .values import Finding, Row, Value, Values, as_number, printable, reads_as_number

if TYPE_CHECKING:
    import pandas

MAX_NESTING = 3
"""Objects inside one another whose keys become one name."""

_SHORT_NAMES = {"absorption_first_letter": "absorption"}
_SETTINGS_IN_SUMMARY = frozenset(
    "activation_dim,batch_size,dict_size,k,l1_penalty,layer,learning_rate,lr,seed,sparsity_penalty,steps".split(",")  # noqa: SIM905
)
"""What summaries without a place for settings mix with their results."""
_SETTINGS_GROUPS = ("settings", "config", "hyperparameters", "hparams", "args")
_OF_A_DATA_SET = ("means", "stderrs", "final_info_dict")
"""The keys of AI-Scientist's blocks."""
_SETTINGS_OF_SAE = {"d_sae": "dict_size", "d_in": "activation_dim", "hook_layer": "layer"}
_SAME = (("lr", "learning_rate"), ("d_in", "activation_dim"))
"""Names of one setting."""
_MAY_BE_UNMEASURED = ("sparse_probing", "sparse_probing_7_sets", "sparse_probing_sae_probes", "scr", "tpp")
"""Evaluations that write null for each k or threshold that was not asked for."""
_CORE_CAN_BE_MINUS_ONE = ("cossim",)


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
    """Read the summary, `eval_results/**/*.json`, and other `*.json` in `out_dir` that hold SAEBench's output.

    `newer_than`: seconds since the epoch; an older file was not written by this run and is not read.
    Never raises on what the files are or hold. The order of everything in the answer depends on files and keys alone.
    """
    summary, problem = summary_file(out_dir)
    results, has_summary = _read(result_files(out_dir, summary), newer_than, summary)
    if not has_summary:
        results.findings.insert(0, Finding(FINAL_INFO, "", problem))
    return results


def read_files(found: Found, newer_than: float | None, summary: str = FINAL_INFO) -> Results:
    """The same of given files, of which `summary` is the experiment's own."""
    return _read(found, newer_than, summary)[0]


def _read(found: Found, newer_than: float | None, summary: str) -> tuple[Results, bool]:
    """And whether there was a summary."""
    files, problems = found
    reader = _Reader(summary)
    for name, path in files:
        reader.load(name, path, newer_than)
    reader.read()
    values = reader.values
    findings = [Finding(printable(name), "", problem) for name, problem in problems] + values.findings
    findings += _said_differently(values.settings)
    return Results(values.metrics, values.settings, findings, values.rows), reader.has_summary


def _said_differently(settings: Mapping[str, Setting]) -> Iterator[Finding]:
    """One setting under two names, with two values: which of them was used nobody can tell."""
    for name, other in _SAME:
        if name in settings and other in settings and settings[name] != settings[other]:
            problem = f"{settings[name]}, beside {other} {settings[other]}: which one was used is not certain"
            yield Finding("", name, problem)


def _is_evaluation(block: Any) -> bool:
    """SAEBench's output; before `eval_result_metrics` a core result had `unique_id` and `metrics`."""
    return isinstance(block, dict) and (
        "eval_result_metrics" in block or "eval_type_id" in block or ("unique_id" in block and "metrics" in block)
    )


def _is_training(key: str, block: Any) -> bool:
    return key.startswith("training results") and isinstance(block, dict)


def _of_training(key: str) -> str:
    """`layer_12` of `training results for layer 12`."""
    return "_".join(key.removeprefix("training results").removeprefix(" for").split()) or "first"


def _settings_of_training(block: dict[str, Any]) -> dict[str, Any]:
    summary = dict(_members(block, "final_info"))
    steps = {"steps": summary["training_steps"]} if "training_steps" in summary else {}
    return {
        **steps,
        **{key: summary[key] for key in summary if key in _SETTINGS_IN_SUMMARY},
        **dict(_members(block, "config")),
    }


class _Reader:
    """Goes from files to blocks; single values are for `Values`."""

    def __init__(self, summary: str) -> None:
        self.values = Values()
        self.has_summary = False
        self._summary_name = summary
        self._loaded: list[tuple[str, Any]] = []
        self._labels: dict[int, str] = {}
        """Of evaluations and training summaries of which there are several of a kind, what tells them apart, by the block's
        id."""
        self._differ: frozenset[str] = frozenset()
        """Settings that several training summaries do not agree in."""

    def load(self, name: str, path: Path, newer_than: float | None) -> None:
        self.has_summary |= name == self._summary_name
        try:
            self._loaded.append((name, load(path, newer_than)))
        except Unusable as error:
            self._loaded.append((name, error))

    def read(self) -> None:
        """Everything that was loaded."""
        self._label()
        for name, content in self._loaded:
            self.values.file = printable(name)
            if isinstance(content, Unusable):
                self.values.find("", str(content))
            else:
                self._file(content, is_summary=name == self._summary_name, is_beside="/" not in name)

    def _label(self) -> None:
        """Several results of a kind that disagree (SAEs of several layers) are all kept, each under a name of its own: its
        layer or its file."""
        kinds: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        trained: list[tuple[str, dict[str, Any]]] = []
        for name, content in self._loaded:
            blocks = content.items() if isinstance(content, dict) and not _is_evaluation(content) else [("", content)]
            for key, block in blocks:
                if _is_evaluation(block):
                    kinds.setdefault(_kind(block, key), []).append((name, block))
                elif _is_training(key, block):
                    trained.append((key, block))
        if len({key for key, _ in trained}) > 1:
            self._labels |= {id(block): _of_training(key) for key, block in trained}
            said = [item for _, block in trained for item in _settings_of_training(block).items()]
            self._differ = frozenset(name for name, value in said if any(n == name and v != value for n, v in said))
        for each in kinds.values():
            if not _disagree([block for _, block in each]):
                continue
            layers = [dict(_members(block, "sae_cfg_dict")).get("hook_layer") for _, block in each]
            stems = [PurePosixPath(name).stem for name, _ in each]
            labels = [f"layer_{layer}" for layer in layers] if None not in layers else stems
            if len(set(labels)) < len(labels):
                labels = [f"{label}_{place}" for place, label in enumerate(labels, 1)]
            self._labels |= {id(block): label for label, (_, block) in zip(labels, each, strict=True)}

    def _file(self, content: Any, *, is_summary: bool, is_beside: bool) -> None:
        blocks = content if isinstance(content, dict) else {}
        if _is_evaluation(content):
            self._evaluation(content, "", "")
        elif is_summary and isinstance(blocks.get("metrics"), dict):
            self._own(blocks)
        elif is_summary and isinstance(blocks.get("means"), dict):
            rest = {key: block for key, block in blocks.items() if key not in _OF_A_DATA_SET}
            self._data_set("", blocks)
            self._summary(rest, "", "")
        elif (is_summary and blocks) or any(_is_training(k, b) or _is_evaluation(b) for k, b in blocks.items()):
            self._blocks(blocks)
        elif is_summary and isinstance(content, list) and content and all(isinstance(run, dict) for run in content):
            self._list_of_runs(content)
        elif is_summary or not is_beside:
            self.values.find("", f"holds no results in a known shape: it is {_in_words(content)}")

    def _own(self, content: dict[str, Any]) -> None:
        for group, block in content.items():
            if group not in ("settings", "metrics") or not isinstance(block, dict):
                self.values.find(group, "not read: only the objects settings and metrics are")
                continue
            for name, value in block.items():
                if group == "settings":
                    self.values.setting(name, value, f"settings.{name}")
                else:
                    self._numbers(name, value, "final_info", f"metrics.{name}")

    def _blocks(self, content: dict[str, Any]) -> None:
        """A flat summary, AI-Scientist's data sets, or several outputs in one file: told apart key by key."""
        flat = {}
        for key, block in content.items():
            if _is_training(key, block):
                self.has_summary = True
                training = ".".join(["training", *filter(None, [self._labels.get(id(block))])])
                for name, value in _members(block, "config"):
                    self.values.setting(self._own_of(training, name), value, f"{key}.config.{name}", of_library=True)
                summary = dict(_members(block, "final_info"))
                self._summary(summary, training, f"{key}.final_info.")
                if not summary:
                    self.values.find(f"{key}.final_info", "holds no results of the training")
            elif _is_evaluation(block):
                self._evaluation(block, f"{key}.", key.removesuffix(" evaluation results"))
            elif isinstance(block, dict) and isinstance(block.get("means"), dict):
                self._data_set(key, block)
            elif isinstance(block, dict) and key in _SETTINGS_GROUPS:
                for name, value in block.items():
                    self.values.setting(name, value, f"{key}.{name}", of_library=True)
            else:
                flat[key] = block
        self._summary(flat, "", "")

    def _summary(self, members: dict[str, Any], block: str, path: str) -> None:
        for key, value in members.items():
            is_text = isinstance(value, str) and not reads_as_number(value)
            if is_text or (key in _SETTINGS_IN_SUMMARY and value is not None):
                self.values.setting(self._own_of(block, key), value, path + key)
            else:
                self._numbers(f"{block}.{key}" if block else key, value, block or "final_info", path + key)
        steps = self._own_of(block, "steps")
        if steps not in self.values.settings and isinstance(members.get("training_steps"), int):
            self.values.setting(steps, members["training_steps"], path + "training_steps")

    def _own_of(self, block: str, setting: str) -> str:
        """The name of a block's setting."""
        return f"{block}.{setting}" if block and setting in self._differ else setting

    def _numbers(self, name: str, value: Any, group: str, path: str, depth: int = 0) -> None:
        """A number, or those of a data set: {data set: {metric: number}}, and the same once more inside."""
        if isinstance(value, dict) and value and depth < MAX_NESTING:
            for key, each in value.items():
                if isinstance(each, str) and not reads_as_number(each):
                    self.values.setting(f"{name}.{key}", each, f"{path}.{key}")
                else:
                    self._numbers(f"{name}.{key}", each, group if depth else name, f"{path}.{key}", depth + 1)
        else:
            self.values.metric(name, value, group, path)

    def _data_set(self, key: str, block: dict[str, Any]) -> None:
        """AI-Scientist's means, their standard errors, and the lists of values that they are the means of."""
        before = f"{key}." if key else ""
        group, errors = key or "final_info", dict(_members(block, "stderrs"))
        lists = {name: values for name, values in _members(block, "final_info_dict") if isinstance(values, list)}
        for name, value in _members(block, "means"):
            stem = name.removesuffix("_mean")
            seeds = lists.get(name, lists.get(stem, ()))
            error = errors.get(f"{stem}_stderr", errors.get(name))
            self.values.metric(before + name, value, group, f"{before}means.{name}", seeds=seeds, error=error)
        for name, value in errors.items():
            self.values.detail(before + name, value, group, f"{before}stderrs.{name}")
        for name, values in _members(block, "final_info_dict"):
            for place, value in enumerate(values if isinstance(values, list) else [values]):
                self.values.detail(before + name, value, group, f"{before}final_info_dict.{name}[{place}]")

    def _list_of_runs(self, content: list[dict[str, Any]]) -> None:
        """A list of summaries, one for each seed that the experiment itself ran: the numbers are their means."""
        runs = [dict(_flat(run)) for run in content]
        for name in dict.fromkeys(name for run in runs for name in run):
            values = [run[name] for run in runs if name in run]
            if len(values) < len(runs):
                self.values.find(name, f"in {len(values)} of the {len(runs)} runs of the list only", name)
            elif name in _SETTINGS_IN_SUMMARY or all(isinstance(v, str) and not reads_as_number(v) for v in values):
                if all(value == values[0] for value in values):
                    self.values.setting(name, values[0], f"[0].{name}")
            else:
                bad = next((value for value in values if isinstance(as_number(value), str)), None)
                mean = bad if any(value is bad for value in values) else math.fsum(values) / len(values)
                self.values.metric(name, mean, "final_info", f"[].{name}", seeds=values)
                for place, value in enumerate(values):
                    self.values.detail(name, value, "final_info", f"[{place}].{name}")

    def _evaluation(self, block: dict[str, Any], path: str, title: str) -> None:
        kind = block.get("eval_type_id", title or "core")
        if not isinstance(kind, str):
            self.values.find(f"{path}eval_type_id", "does not name an evaluation")
            return
        evaluation = label = _SHORT_NAMES.get(kind, kind)
        if id(block) in self._labels:
            label = f"{evaluation}.{self._labels[id(block)]}"
        group = "eval_result_metrics" if "eval_result_metrics" in block else "metrics"
        numbers = list(_evaluated(block, path))
        if not numbers:
            self.values.find(f"{path}{group}", f"the {evaluation} evaluation left no metrics")
        # SAEBench's pull request 61 (March 2025) gave explained_variance another formula, and the older one a new name.
        is_older_core = evaluation == "core" and all(key != "explained_variance_legacy" for key, _, _ in numbers)
        for key, value, where in numbers:
            is_renamed = is_older_core and where.endswith("reconstruction_quality.explained_variance")
            self._evaluated(evaluation, label, "explained_variance_legacy" if is_renamed else key, value, where)
        config = "eval_config" if "eval_config" in block else "eval_cfg"
        for key, value in _members(block, config):
            self.values.setting(f"{label}.{key}", value, f"{path}{config}.{key}", of_library=True)
        for key, value in _members(block, "sae_cfg_dict"):
            if key in _SETTINGS_OF_SAE and value is not None:
                own = f"{label}." if label != evaluation else ""
                self.values.setting(own + _SETTINGS_OF_SAE[key], value, f"{path}sae_cfg_dict.{key}")
        self._details(block.get("eval_result_details"), label, f"{path}eval_result_details")

    def _evaluated(self, evaluation: str, label: str, key: str, value: Any, where: str) -> None:
        name = f"{label}.{key}"
        if value is None and evaluation in _MAY_BE_UNMEASURED:
            return
        if evaluation == "core" and as_number(value) == -1 and key not in _CORE_CAN_BE_MINUS_ONE:
            self.values.find(where, "-1, which SAEBench writes in place of NaN", name)
        elif key.startswith("total_tokens_"):  # how much was evaluated, not how well
            self.values.setting(name, value, where)
            self.values.detail(name, value, label, where)
        else:
            self.values.metric(name, value, label, where)

    def _details(self, items: Any, evaluation: str, path: str) -> None:
        broken = 0
        for place, item in enumerate(items if isinstance(items, list) else []):
            members = item if isinstance(item, dict) else {}
            label = next((value for value in members.values() if isinstance(value, str)), place)
            for key, value in members.items():
                broken += isinstance(value, float) and not math.isfinite(value)
                self.values.detail(f"{evaluation}.{key}", value, evaluation, f"{path}[{label}].{key}")
        if broken:
            self.values.find(path, f"{broken} numbers are NaN or infinite")


def _kind(block: dict[str, Any], title: str) -> str:
    kind = block.get("eval_type_id", title.removesuffix(" evaluation results") or "core")
    return kind if isinstance(kind, str) else ""


def _evaluated(block: dict[str, Any], path: str) -> Iterator[tuple[str, Any, str]]:
    """The metrics of an evaluation: key, value, and where it stands."""
    group = "eval_result_metrics" if "eval_result_metrics" in block else "metrics"
    for category, members in _members(block, group):
        for key, value in members.items() if isinstance(members, dict) else [(category, members)]:
            yield key, value, f"{path}{group}.{category}.{key}"


def _disagree(blocks: list[dict[str, Any]]) -> bool:
    """Whether two results of a kind have different numbers for one thing."""
    known: dict[str, float] = {}
    for block in blocks:
        for _, value, where in _evaluated(block, ""):
            number = as_number(value)
            key = where.partition(".")[2]
            if isinstance(number, float) and known.setdefault(key, number) != number:
                return True
    return False


def _flat(content: dict[str, Any], before: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The members of nested objects by joined names; `means` adds none."""
    for key, value in content.items():
        if isinstance(value, dict) and value and depth < MAX_NESTING:
            yield from _flat(value, before if key == "means" else f"{before}{key}.", depth + 1)
        else:
            yield before + key, value


def _members(block: dict[str, Any], key: str) -> Iterator[tuple[str, Any]]:
    members = block.get(key)
    if isinstance(members, dict):
        yield from members.items()


def _in_words(content: Any) -> str:
    """What was found in place of results."""
    if isinstance(content, list):
        return f"a list of {len(content)}" if content else "an empty list"
    if isinstance(content, dict):
        return f"an object with {', '.join(map(repr, list(content)[:5]))}" if content else "an empty object"
    return "a single value"
