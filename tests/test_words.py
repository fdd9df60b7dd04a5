"""The field's words: in what is shown, nothing that only this project's authors would say."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
OURS = re.compile(
    r"\buntouched|\bbeyond the noise|\bwithin noise|\bwithin the noise|\b(?:a|the) persons?\b|\bno evidence|\bis evidence|\bunhealthy"
    r"|\bmay worsen|\bknown from\b|\banswers for it|\bsupported at a price|\bcould be chance|\bhaving been picked|\bfires? in a row"
    r"|\bundecided\b|\bwrong result\b(?! schema)|\bsmoke run|\bby the gate|\battempts that were no run|\bwords of the agent|\bnumbers depend on"
    r"|\bended well\b|\bexecuted well\b|\bcases? of twenty\b|\bbehind a bar\b"
    r"|\bas it was given\b|\bmore than it may\b|\bmend(?:s|ed|ing)?\b|\bgo(?:es)? along\b|\bcomes? along\b|\bnobody tells\b"
    r"|\bheld by looks\b|\bno room here\b|\btold otherwise\b|\bof what another loop left\b",
    re.IGNORECASE,
)
"""Each has a word of the field: the unmodified baseline, significant, you or the user, invalid, tolerance, source, matched
control, trade-off, not significant, corrected for selection, active latents, inconclusive, rejected by the pre-check, smoke
test, agent's statements, environment, completed, p < 0.05, fix, copied, included, no price is known, sampling."""
CODE = [*sorted((ROOT / "harness").rglob("*.py")), *sorted((ROOT / "saelab").rglob("*.py"))]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "experiment.toml")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(path for path in (ROOT / "templates").rglob("*") if path.suffix in (".j2", ".md", ".toml", ".json")),
    *sorted((ROOT / "ideas").glob("*.json")),
]


def shown(file: Path) -> Iterator[tuple[int, str]]:
    """The string literals of a module that are no docstrings: what can reach a terminal or a page. A command's docstring is
    its help, and one of a contract's field is in the reference."""
    tree = ast.parse(file.read_text())
    is_read = file.name.endswith(("commands.py", "contract.py", "limits_spec.py", "metric.py", "search_space.py"))
    silent = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and not is_read
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
            yield node.lineno, node.value


def test_what_is_shown_has_the_fields_words() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{number}: {match[0]}: {text.strip()[:100]}"
        for file, texts in [
            *((file, shown(file)) for file in CODE if file.name not in ("schema.py", "notes_text.py")),
            *((file, enumerate(file.read_text().split("\n"), 1)) for file in PAGES),
        ]
        for number, text in texts
        for match in OURS.finditer(text)
    ]
    assert not found, "\n".join(found)
