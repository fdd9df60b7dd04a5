"""How often what `harness check` says of a typed number is right, on notes that others wrote.

    python bench/words.py FOLDER [--open]

FOLDER/NAME/ is a campaign as AI-Scientist leaves one: `notes.txt`, `run_0/final_info.json`, `run_1/`, ... What is said of a
number there is right where a reader finds that it means that metric of that run, and that it does or does not agree with the
record. FOLDER/judgements.json holds what a reader found, `{"NAME": {"PLACE": true}}`; `--open` lists what nobody judged yet,
with its PLACE. No notes of others come with this repository.

Precision has its lower 95 % limit (Clopper and Pearson, one-sided). Below 150 judged numbers it says "too few to tell". The
last line of the output is one JSON object. Exit code 1 when there are enough and precision is below 0.98.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from scipy.special import betaincinv

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from harness.campaign.contract import Contract  # noqa: E402
from harness.campaign.record import MetricRecord, Record, VerdictRecord  # noqa: E402
from harness.claims.check import Finding, check  # noqa: E402
from harness.results.reading import read_results  # noqa: E402

GOAL = 0.98
ENOUGH = 150


def records(campaign: Path) -> Iterator[Record]:
    """Of the runs that left results, as the harness's own reader reads them."""
    for folder in sorted(campaign.glob("run_*"), key=lambda path: int(path.name.removeprefix("run_"))):
        read = read_results(folder)
        yield Record(
            run=int(folder.name.removeprefix("run_")),
            status="completed",
            verdict=VerdictRecord(kind="inconclusive"),
            commit="",
            metrics={v.name: MetricRecord(value=v.value, file=v.file, key=v.key) for v in read.metrics.values()},
        )


def findings(campaign: Path) -> list[Finding]:
    """What is said of the campaign's notes."""
    return check((campaign / "notes.txt").read_text(encoding="utf-8"), list(records(campaign)), Contract())


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?", help="of campaigns and judgements.json")
    parser.add_argument("--open", action="store_true", help="list what nobody has judged yet")
    asked = parser.parse_args()
    right = said = 0
    verdicts = {"matches": 0, "contradicts": 0}
    if asked.folder:
        file = asked.folder / "judgements.json"
        judged = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        for campaign in sorted(path.parent for path in asked.folder.glob("*/notes.txt")):
            for finding in findings(campaign):
                found = judged.get(campaign.name, {}).get(str(finding.span[0]))
                if found is None:
                    if asked.open:
                        print(f"{campaign.name} {finding.span[0]}: {finding.claim} {finding.verdict}: {finding.why}")
                        print(f"  {finding.sentence[:400]}")
                    continue
                said += 1
                right += bool(found)
                verdicts[finding.verdict] += 1
    limit = float(betaincinv(right, said - right + 1, 0.05)) if right else 0.0
    enough = said >= ENOUGH
    print(
        f"{said} judged numbers ({verdicts['matches']} match, {verdicts['contradicts']} contradict), {right} rightly judged"
    )
    print(f"precision {right / said:.3f} (> {limit:.3f})" if enough else f"too few to tell: {ENOUGH} are needed")
    print(
        json.dumps({"benchmark": "words", "goal": GOAL, "judged": said, "right": right, "limit": round(limit, 4)} | verdicts)
    )
    return 1 if enough and right < GOAL * said else 0


if __name__ == "__main__":
    sys.exit(main())
