"""JSON schemas of what people write, for editors: contract and ideas."""

from __future__ import annotations

from typing import Any

from ..campaign.contract import Contract
from ..campaign.idea import Idea

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def contract_schema() -> dict[str, Any]:
    """Of `experiment.toml`."""
    return {"$schema": _DIALECT, **Contract.model_json_schema(), "title": "experiment.toml"}


def idea_schema() -> dict[str, Any]:
    """Of a file with an idea, or with a list of them: of each object in it what the harness needs."""
    idea = Idea.model_json_schema()
    either = [{"required": ["Experiment"]}, {"required": ["Experiments"]}]
    idea |= {"required": ["Name", "Title"], "anyOf": either}
    ref = {"$ref": "#/$defs/Idea"}
    return {
        "$schema": _DIALECT,
        "title": "An idea, or a list of ideas",
        "anyOf": [ref, {"type": "array", "items": ref}],
        "$defs": {"Idea": idea},
    }


SCHEMAS = {"contract": contract_schema, "idea": idea_schema}
