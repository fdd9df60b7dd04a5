"""Campaigns that were never executed: records, journal and logs written through the real classes, and commits as the
repository would make them."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.campaign.campaign import Campaign
from harness.campaign.journal import Journal
from harness.campaign.record import (
    AttemptRecord,
    ComparisonRecord,
    MetricRecord,
    Record,
    ReviewRecord,
    SettingRecord,
    VerdictRecord,
)
from harness.campaign.repository import Repository
from harness.campaign.usage import Usage

HOSTILE = (
    "<script>window.pwned = 1</script></style></pre><img src=x onerror=window.pwned=2> \"'><svg onload=window.pwned=3>"
    " javascript:window.pwned=4 {{ 7 * 7 }} $x_1$ a\u202eb\u2066c \x1b[31mred\x07 \ud83d \ufffe Z\u0300\u0301\u0302\u0303 \u05d0\u05d1"
)
"""Everything that could be more than text."""
KINDS = ("improved", "inconclusive", "worse", "not_significant", "no_effect", "not_comparable", "invalid")
USAGE = Usage(sent=12_000, received=800, cost=0.0312, seconds=9.0, requests=2)


def fill(campaign: Campaign, runs: int, *, seeds: int = 1, hostile: str = "", lines: int = 6) -> None:
    """Write a baseline and `runs` runs: every fourth failed after two attempts, the others hold a refused one. `hostile` is
    put wherever an agent or an experiment may write; changes and outputs have `lines` lines."""
    repository = Repository(campaign.root, campaign.local)
    campaign.local.mkdir(exist_ok=True)
    repository.create()
    journal = Journal(campaign.journal)
    journal.append("opened", harness="0", pid=1)
    source = (campaign.root / "experiment.py").read_text()
    parent = repository.commit("start", "Start", {"experiment.py": source.encode()})
    journal.once("start", lambda: {"commit": parent, "given": False})
    baseline = _metrics(0, None, seeds, hostile)
    record = Record(
        run=0,
        status="completed",
        verdict=VerdictRecord(kind="baseline", why="The unmodified experiment."),
        commit=parent,
        command="python experiment.py --out_dir=run_0",
        seed=0,
        seeds=list(range(seeds)) if seeds > 1 else [],
        metrics=baseline,
        started="2026-11-20T07:00:00Z",
        seconds=61.0,
        environment={"python": "3.11.7", "gpu": "none", "host": "elsewhere" + hostile},
    )
    _file(campaign, journal, record, hostile, lines)
    head = parent
    for run in range(1, runs + 1):
        failed = run % 4 == 3
        attempts = []
        base = parent
        for number in (1, 2):
            code = f"{source}\n# run {run}, attempt {number}\n" + _code(run, hostile, lines)
            commit = _commit(campaign.root, f"run_{run}/attempt_{number}/turn", _bytes(code), head)
            head = commit
            lost = number == 1 or failed
            attempts.append(
                AttemptRecord(
                    number=number,
                    status=("rejected" if number == 1 else "crashed") if lost else "completed",
                    why=f"exit code 1{hostile}" if lost else "",
                    commit=commit,
                    restored=[f"saelab/{hostile}"] if hostile else [],
                    usage=USAGE,
                    seconds=3.0,
                )
            )
            turn = {"run": run, "attempt": number, "commit": commit, "base": base, "usage": asdict(USAGE)}
            journal.once(f"run_{run}/attempt_{number}/turn", lambda turn=turn: turn)
            folder = campaign.attempt_folder(run, number)
            folder.mkdir(parents=True)
            (folder / "smoke.txt").write_bytes(_bytes(f"Traceback{hostile}\n" * lines))
            base = commit
        kind = "failed" if failed else KINDS[run % len(KINDS)]
        metrics = {} if failed else _metrics(run, baseline, seeds, hostile)
        record = Record(
            run=run,
            status="failed" if failed else "completed",
            verdict=VerdictRecord(kind=kind, why=f"because of {run}{hostile}", against_baseline=_compared(kind, metrics)),
            commit=commit,
            parent=0,
            hypothesis=f"Idea {run} lowers the loss.{hostile}",
            plan=f"1. {hostile}",
            description=f"what I did {hostile}",
            interpretation=f"why it was so {hostile}",
            command=f"python experiment.py --out_dir=run_{run}",
            seed=0,
            seeds=list(range(seeds)) if seeds > 1 and not failed else [],
            settings={
                f"rate{hostile}": SettingRecord(value=run / 10, baseline=0.05, source="reported"),
                "steps": SettingRecord(value=40, baseline=40, source="reported"),
                "mode": SettingRecord(value=hostile or "plain", baseline=None, source="reported"),
            },
            metrics=metrics,
            attempts=attempts,
            warnings=[f"warning {hostile}"] if hostile else [],
            usage=USAGE,
            seconds=60.0 + run,
            started="2026-11-20T08:00:00Z",
            environment={"python": "3.11.7", "gpu": "none", "host": "elsewhere" + hostile},
            review=ReviewRecord(model=f"expert{hostile}", text=f"try again {hostile}") if run % 2 else None,
            messages=[f"try less {hostile}"] if hostile else [],
        )
        _file(campaign, journal, record, hostile, lines)
    repository._check_out(head, ["experiment.py"])


def forget(campaign: Campaign, run: int) -> None:
    """Make of the last run one that is still in hand: without a record, of which the journal knows."""
    campaign.record_file(run).unlink()
    lines = campaign.journal.read_text().splitlines(keepends=True)
    campaign.journal.write_text("".join(line for line in lines if json.loads(line).get("step") != f"run_{run}/record"))


def _commit(root: Path, step: str, code: bytes, parent: str) -> str:
    """What `Repository.commit` makes of the experiment's code, without the ten processes that make it safe: pages of sixty
    runs have more than a hundred commits."""

    def store(kind: str, content: bytes) -> str:
        whole = f"{kind} {len(content)}\0".encode() + content
        name = hashlib.sha1(whole).hexdigest()
        file = root / ".git" / "objects" / name[:2] / name[2:]
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(zlib.compress(whole, 1))
        return name

    tree = store("tree", b"100644 experiment.py\0" + bytes.fromhex(store("blob", code)))
    who = "harness <harness@localhost> 1795000000 +0000"
    facts = f"tree {tree}\nparent {parent}\nauthor {who}\ncommitter {who}\n\nc\n\nStep: {step}\n"
    return store("commit", facts.encode())


def _metrics(run: int, baseline: dict[str, MetricRecord] | None, seeds: int, hostile: str) -> dict[str, MetricRecord]:
    numbers = {"loss": 1.0 - 0.03 * (run * 7 % 10), "distance": 0.5 + 0.05 * (run * 3 % 7), "width": 5.0 + run % 3}
    if hostile:
        numbers[f"extra{hostile}"] = 1.0
    return {
        name: MetricRecord(
            value=value,
            values=[value + 0.02 * (seed - (seeds - 1) / 2) for seed in range(seeds)] if seeds > 1 else [],
            baseline=baseline[name].value if baseline else None,
            difference=value - baseline[name].value if baseline else None,
            file="final_info.json",
            key=f"metrics.{name}",
        )
        for name, value in numbers.items()
    }


def _compared(kind: str, metrics: dict[str, MetricRecord]) -> ComparisonRecord | None:
    if kind not in ("improved", "worse", "not_significant"):
        return None
    return ComparisonRecord(
        reference="run_0",
        mean=metrics["loss"].value,
        reference_mean=metrics["loss"].baseline or 0.0,
        seeds=3,
        reference_seeds=10,
        difference=metrics["loss"].difference,
        low=-0.3,
        high=-0.1,
        p=0.001,
        p_adjusted=0.01,
        method="pooled",
    )


def _file(campaign: Campaign, journal: Journal, record: Record, hostile: str, lines: int) -> None:
    folder = campaign.run_folder(record.run)
    folder.mkdir(exist_ok=True)
    (folder / "log.txt").write_bytes(_bytes("".join(f"step {step}{hostile}\n" for step in range(lines))))
    if record.status == "completed":
        with (folder / "train_log.jsonl").open("w") as log:
            for step in range(40):
                entry: dict[str, Any] = {"step": step, "loss": (5 + record.run) / (step + 1), f"other{hostile}": step}
                log.write(json.dumps(entry) + "\n")
    journal.once(f"run_{record.run}/record", lambda: {"commit": record.commit, "status": record.status})
    record = Record.model_validate(record.model_dump() | _utf8(record))
    record.write(folder)


def _utf8(record: Record) -> dict[str, Any]:
    """As the loop writes it: a lone surrogate cannot be in a record's file."""
    return json.loads(json.dumps(record.model_dump(), ensure_ascii=False).encode("utf-8", "replace"))


def _code(run: int, hostile: str, lines: int) -> str:
    body = "".join(f"    value_{line} = {line} * 2  # {hostile}\n" for line in range(lines))
    return f'def idea_{run}(x):\n    """{hostile}"""\n{body}    return x\n'


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
