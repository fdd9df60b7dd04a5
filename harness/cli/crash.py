"""The harness's own mistakes: the traceback goes to a file, and a person gets a line."""

from __future__ import annotations

import traceback
from pathlib import Path


def crash_message(error: BaseException, folder: Path | None = None) -> str:
    """A line about an unexpected error and where its traceback was written: `folder`, else the user's state folder."""
    text = "".join(traceback.format_exception(error))
    kind = type(error).__name__
    first = (str(error).splitlines() or [""])[0]
    summary = f"an error in the harness itself: {kind}{': ' if first else ''}{first}"
    for place in filter(None, (folder, _state_folder())):
        file = place / "crash.txt"
        try:
            place.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8", errors="replace")
        except OSError:
            continue
        return f"{summary}. Please report it with {file}."
    return f"{summary}. Its traceback could not be written.\n{text}"


def _state_folder() -> Path:
    import platformdirs

    return Path(platformdirs.user_state_dir("harness"))
