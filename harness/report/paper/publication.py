"""Writing a document in a format: the file, and the figures beside it where the format cannot hold them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from ...campaign.errors import CannotGoOn, InputError
from ...campaign.files import write_atomically
from ...campaign.layout import Layout
from ...campaign.temporary import TemporaryFolder
from .document import Document
from .render_html import render_html
from .render_md import render_md
from .render_tex import render_tex
from .render_typst import render_typst

Format = Literal["md", "tex", "pdf", "html"]


def default_file(layout: Layout, form: Format) -> Path:
    """Beside the campaigns: `runs/NAME-writeup.pdf`."""
    return layout.root.resolve().parent / f"{layout.name}-writeup.{form}"


def publish(document: Document, form: Format, file: Path) -> list[Path]:
    """Write `document` to `file`, whole or not at all; the files that were written, the document's last. Raises InputError
    where that cannot be, CannotGoOn where a PDF cannot be made."""
    beside = f"{file.stem}-figures"
    parts: dict[str, str | bytes] = {}
    match form:
        case "md":
            content: str | bytes = render_md(document, beside)
            parts = {f"{plot.name}.svg": plot.svg for plot in document.pictures}
        case "tex":
            content = render_tex(document, beside)
            parts = {f"{plot.name}.pdf": plot.pdf() for plot in document.pictures}
        case "pdf":
            content = make_pdf(document)
        case "html":
            content = render_html(document)
    return _write(file, content, file.parent / beside, parts)


def make_pdf(document: Document) -> bytes:
    """The same bytes for the same document, and no network: fonts come with the compiler, and letters that these lack from
    the system."""
    import typst

    try:
        made = datetime.fromisoformat(document.made)
    except ValueError:
        made = datetime.fromtimestamp(0, UTC)
    with TemporaryFolder() as name:
        folder = Path(name)
        for plot in document.pictures:
            (folder / f"{plot.name}.pdf").write_bytes(plot.pdf())
        source = folder / "document.typ"
        source.write_text(render_typst(document), encoding="utf-8")
        try:
            return typst.compile(source, root=folder, format="pdf", timestamp=int(made.timestamp()))
        except typst.TypstError as error:
            raise CannotGoOn(f"typst cannot make the PDF: {error}. --format html and --format md need no typst.") from error


def _write(file: Path, content: str | bytes, folder: Path, parts: Mapping[str, str | bytes]) -> list[Path]:
    written = []
    try:
        if parts:
            folder.mkdir(exist_ok=True)
        for name, part in parts.items():
            write_atomically(folder / name, part)
            written.append(folder / name)
        write_atomically(file, content)
    except OSError as error:
        where = error.filename or file
        raise InputError(f"{where}: cannot be written: {error.strerror}. --out FILE names another place.") from error
    return [*written, file]
