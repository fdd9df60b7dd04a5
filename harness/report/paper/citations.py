"""Citations of a document: numbers in its quotations, and the list of references that they lead to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...campaign.bibliography import Work, with_citations
from .document import Block, Document, Paragraph, Quote, Section, Written


def cited(document: Document, works: Mapping[str, Work]) -> Document:
    """The document with each citation of a work that is known as its number, and a last section that lists these works."""
    numbers: dict[str, int] = {}

    def label(key: str) -> str | None:
        return str(numbers.setdefault(key, len(numbers) + 1)) if key in works else None

    def numbered(section: Section) -> Section:
        blocks = tuple(_numbered(block) for block in section.blocks)
        return replace(section, blocks=blocks, sections=tuple(map(numbered, section.sections)))

    def _numbered(block: Block) -> Block:
        return replace(block, text=with_citations(block.text, label)) if isinstance(block, Quote | Written) else block

    sections, appendices = tuple(map(numbered, document.sections)), tuple(map(numbered, document.appendices))
    if numbers:
        listed = tuple(Paragraph(works[key].text, lead=f"[{number}]") for key, number in numbers.items())
        sections = (*sections, Section("References", listed))
    return replace(document, sections=sections, appendices=appendices)
