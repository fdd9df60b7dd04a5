"""One turn of the agent, as the journal keeps it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from .contract import ENTRY, Setting
from .record import AttemptStatus
from .usage import Usage


@dataclass(frozen=True)
class AttemptFailure:
    """Why an attempt is not a run: a status, a reason, the end of its output, and sentences on files that were put back.

    A traceback in the output is shortened to the frames in `editable` files and the last one.
    """

    status: AttemptStatus
    why: str
    output_tail: str = ""
    restored: tuple[str, ...] = ()
    editable: tuple[str, ...] = (ENTRY,)


class Turn(BaseModel):
    """What came of one turn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: int
    attempt: int
    commit: str | None = None
    """The code after the turn; None when the agent changed nothing that counts."""
    base: str = ""
    """The code before it."""
    by_person: bool = False
    """A person changed the code since the last step."""
    forced: bool = False
    restored: list[str] = []
    notices: list[str] = []
    """What the agent's own machinery found wrong and did not tell the model."""
    problems: list[str] = []
    words: str = ""
    """What the agent wrote into notes.txt."""
    messages: list[str] = []
    message_files: list[str] = []
    plan: str = ""
    hypothesis: str = ""
    description: str = ""
    noted: bool = False
    """The description is notes for the write-up, not just prose beside the edits."""
    interpretation: str = ""
    all_completed: bool = False
    start_from: str = ""
    varies: tuple[str, ...] = ()
    overrides: dict[str, Setting] = {}
    """Settings of the experiment that the code of `commit` is executed with, on top of those of the campaign."""
    searched: dict[str, Setting] = {}
    """What a search without a model proposed, by name."""
    no_answer: str = ""
    """Why there is no answer (the conversation outgrew the model)."""
    usage: Usage = Usage()
    agent: str = ""
    """The agent's name and version, and the models that answered."""
    models: tuple[str, ...] = ()
    sandbox: str = ""
    submission: str = ""
    """What tells the change from others that were handed in from outside."""

    @property
    def not_kept(self) -> tuple[str, ...]:
        """What of its edits did not come through, for the agent."""
        return (*self.restored, *self.notices)

    @property
    def key(self) -> str:
        return turn_key(self.run, self.attempt)


def description(turns: Sequence[Turn]) -> str:
    """What the agent says that a run changed: the first notes that say something, and what those of its repairs add to
    them. Where there are no notes, the first prose: that of a repair is about the repair."""
    noted = [text for turn in turns for text in (turn.description if turn.noted else "", turn.words)]
    kept = ""
    for text in noted:
        if not _SAYS_NOTHING.fullmatch(text.strip()):
            known = _plain(kept)
            new = "\n".join(line for line in text.split("\n") if not line.strip() or _plain(line) not in known)
            kept = f"{kept}\n\n{new.strip()}".strip()
    return kept or next((turn.description for turn in turns if turn.description), "")


_SAYS_NOTHING = re.compile(r"|(?:none|no changes?|unchanged|the same|same|as (?:before|above)|n/?a)\.?", re.IGNORECASE)


def _plain(text: str) -> str:
    """Without marks and differences that say nothing."""
    words = " ".join(re.findall(r"\w+(?:[.]\w+)*", text.lower()))
    return f" {words} "


def turn_key(run: int, attempt: int) -> str:
    return f"run_{run}/attempt_{attempt}"


def latest(texts: Iterable[str]) -> str:
    """The last of the words that an agent has given, turn by turn; "" where there are none."""
    return next((text for text in reversed(list(texts)) if text), "")
