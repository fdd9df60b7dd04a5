"""How well contradictions between an agent's words and the records are found.

    python bench/words.py [--show tune]

The sentences of `tests/data/words.json` are about five campaigns of real results: recorded ones on Gemma-2-2B and
executions of the SAE experiment under four seeds, both read by the harness's own reader, and three that the harness ran
and whose records stand in the file: of `tests/small`, and of `ideas/hierarchy.json` on known features and on tiny-lm. More
than half of the held-out sentences are wrong, each in one way that is named. A sentence counts as found when at least one of
its claims contradicts a record; records after the run that it is about are not there yet, as in a campaign.

The rules were tuned on the sentences marked `tune`. Those marked `held_out` were written after the last tuning and measured
once; nobody looked at which of them are judged wrongly. All sentences are by one hand, which knows the rules. Sets that had
been held out before, and were then looked at, are among the tuned ones. When first measured they gave
precision 0.93, 0.89, 0.89, 0.93, 0.95, 0.88, 0.98, 0.96, 0.96 and
recall    0.98, 1.00, 0.94, 1.00, 1.00, 0.82, 0.85, 0.81, 0.92.
The last four are about other campaigns than those before. So the figures are those of sentences of this kind, and prose of
another kind has more contradictions that are not found.

Each figure has its lower 95 % limit (Clopper and Pearson, one-sided). The last line of the output is one JSON object. Exit
code 1 when precision or recall is not above 0.95.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.special import betaincinv

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from harness.campaign.contract import Contract  # noqa: E402
from harness.campaign.protocols import FINAL_INFO  # noqa: E402
from harness.campaign.record import MetricRecord, Record, SettingRecord, VerdictRecord  # noqa: E402
from harness.claims.check import check, contradictions  # noqa: E402
from harness.results.reading import read_results  # noqa: E402

WORDS = ROOT / "tests" / "data" / "words.json"
GOAL = 0.95

Campaign = tuple[list[Record], Contract]


@dataclass(frozen=True)
class Figures:
    """Sentences by what they are and what was said of them."""

    found: int
    missed: int
    false: int
    passed: int

    @property
    def precision(self) -> float:
        return self.found / (self.found + self.false) if self.found + self.false else 0.0

    @property
    def recall(self) -> float:
        return self.found / (self.found + self.missed) if self.found + self.missed else 0.0

    @property
    def limits(self) -> tuple[float, float]:
        """Lower 95 % limits of precision and recall."""
        return _limit(self.found, self.false), _limit(self.found, self.missed)


def _limit(hits: int, misses: int) -> float:
    return float(betaincinv(hits, misses + 1, 0.05)) if hits else 0.0


def campaigns(folder: Path, words: dict[str, Any]) -> dict[str, Campaign]:
    """The records and contracts that the sentences are about; `folder` is scratch space."""
    known = {}
    for name, campaign in words["campaigns"].items():
        contract = Contract.model_validate(tomllib.loads((ROOT / campaign["contract"]).read_text(encoding="utf-8")))
        if "records" in campaign:
            records = [Record.model_validate(record) for record in campaign["records"]]
        else:
            records = [_record(folder / name / f"run_{run}", run, facts) for run, facts in enumerate(campaign["runs"])]
        known[name] = (records, contract)
    return known


def _record(out_dir: Path, run: int, facts: dict[str, Any]) -> Record:
    """The record of results that the harness reads from `out_dir`, where they are put first."""
    results = facts["results"]
    if isinstance(results, str):
        results = json.loads((ROOT / results).read_text(encoding="utf-8"))
    out_dir.mkdir(parents=True)
    (out_dir / FINAL_INFO).write_text(json.dumps(results), encoding="utf-8")
    read = read_results(out_dir)
    return Record(
        run=run,
        status="completed",
        verdict=VerdictRecord(**facts["verdict"]),
        commit="c0ffee",
        parent=facts["parent"],
        seed=facts["seed"],
        settings={k: SettingRecord(value=v, baseline=None, source="reported") for k, v in read.settings.items()},
        metrics={v.name: MetricRecord(value=v.value, file=v.file, key=v.key) for v in read.metrics.values()},
    )


def measure(known: dict[str, Campaign], sentences: Sequence[dict[str, Any]]) -> tuple[Figures, list[dict[str, Any]]]:
    """The figures of `sentences`, and those that were judged wrongly."""
    counts: Counter[tuple[bool, bool]] = Counter()
    mistaken = []
    for sentence in sentences:
        records, contract = known[sentence["campaign"]]
        findings = check(sentence["text"], records[: sentence["about"] + 1], contract, about=sentence["about"])
        outcome = (sentence["wrong"] is not None, bool(contradictions(findings)))
        counts[outcome] += 1
        if outcome[0] != outcome[1]:
            mistaken.append(sentence | {"findings": [(f.claim, f.verdict, f.why) for f in findings]})
    figures = Figures(counts[True, True], counts[True, False], counts[False, True], counts[False, False])
    return figures, mistaken


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--show", choices=["tune"], help="print the sentences of this half that were judged wrongly")
    show = parser.parse_args().show
    words = json.loads(WORDS.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        known = campaigns(Path(folder), words)
    print(f"{'half':<10}{'sentences':>10}{'wrong':>7}{'found':>7}{'false':>7}{'precision':>19}{'recall':>16}")
    facts: dict[str, Any] = {"benchmark": "words", "goal": GOAL}
    passed = False
    for half in ("tune", "held_out"):
        sentences = [sentence for sentence in words["sentences"] if sentence["split"] == half]
        figures, mistaken = measure(known, sentences)
        wrong = figures.found + figures.missed
        precise, recalled = figures.limits
        print(
            f"{half:<10}{len(sentences):>10}{wrong:>7}{figures.found:>7}{figures.false:>7}"
            f"{figures.precision:>11.3f} (>{precise:.3f}){figures.recall:>8.3f} (>{recalled:.3f})"
        )
        facts[half] = {"sentences": len(sentences), "wrong": wrong, "found": figures.found, "false": figures.false}
        facts[half] |= {"precision": round(figures.precision, 4), "recall": round(figures.recall, 4)}
        facts[half] |= {"precision_limit": round(precise, 4), "recall_limit": round(recalled, 4)}
        passed = figures.precision > GOAL and figures.recall > GOAL
        if show == half:
            for each in mistaken:
                print(json.dumps(each, ensure_ascii=False, indent=1))
    print(json.dumps(facts))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
