"""The schema of a campaign's files, and those of an earlier schema as they would be written today.

Every command that reads takes campaigns of an earlier schema; none continues one, because two schemas in one journal would
be neither. Keys that experiments choose (names of metrics and settings) are never renamed.
"""

from __future__ import annotations

from typing import Any

from .errors import CannotGoOn

SCHEMA = 3
"""Of what is written today. Files without a number are of schema 1."""

_VERDICTS = {
    "traded_off": "trade_off",
    "within_noise": "not_significant",
    "undecided": "inconclusive",
    "unhealthy": "invalid",
}
_STATUSES = {"refused": "rejected", "smoke_failed": "smoke_test_failed", "wrong_result": "left_no_result"}
_OF_VERDICTS = {"falls": "guard_violations", "doubts": "caveats", "share": "error_share"}
_OF_RECORDS = {"looks": "earlier_verdicts", "fingerprint": "environment", "told": "messages"}
_OF_TURNS = {"put_back": "restored", "told": "messages", "told_files": "message_files"}
_STEPS = {"/gate": "/pre_check", "/smoke": "/smoke_test"}


def check_schema(data: dict[str, Any], where: str) -> int:
    """The schema that `data` was written in. Raises CannotGoOn where it is of a later version of the harness."""
    found = data.get("schema", 1)
    if type(found) is not int or found > SCHEMA:
        raise CannotGoOn(f"{where}: schema {found}; this version reads up to {SCHEMA}. Install a later version.")
    return found


def current_facts(data: dict[str, Any], where: str) -> dict[str, Any]:
    """What `campaign.json` holds, in today's schema; `schema` is the one that it was written in."""
    found = check_schema(data, where)
    if found < 2 and isinstance(data.get("contract"), dict):
        data = data | {"contract": _renamed(data["contract"], {"health": "sanity"})}
    if found < 3 and isinstance(data.get("contract"), dict) and isinstance(data["contract"].get("profiles"), dict):
        profiles = {name: {**profile, "final_seeds": 0} for name, profile in data["contract"]["profiles"].items()}
        data = data | {"contract": data["contract"] | {"profiles": profiles}}
    return data | {"schema": found}


def current_record(data: dict[str, Any], where: str) -> dict[str, Any]:
    """What `record.json` holds, in today's schema."""
    found = check_schema(data, where)
    if found < 2:
        data = _record_of_schema_1(data)
    if found < 3:
        for verdict in (data.get("verdict"), *data.get("earlier_verdicts", [])):
            if isinstance(verdict, dict):
                verdict.pop("tested", None)
    return data | {"schema": SCHEMA}


def _record_of_schema_1(data: dict[str, Any]) -> dict[str, Any]:
    data = _renamed(data, _OF_RECORDS)
    data["verdict"] = _verdict(data.get("verdict"))
    data["earlier_verdicts"] = [_verdict(each) for each in data.get("earlier_verdicts", [])]
    data["attempts"] = [_with_status(_renamed(each, {"put_back": "restored"})) for each in data.get("attempts", [])]
    return data


def current_events(events: list[dict[str, Any]], where: str) -> list[dict[str, Any]]:
    """The events of a journal, in today's schema; the first says which they were written in."""
    return [_event_of_schema_1(event) for event in events] if events and check_schema(events[0], where) < 2 else events


def _event_of_schema_1(event: dict[str, Any]) -> dict[str, Any]:
    event = dict(event)
    if isinstance(step := event.get("step"), str):
        event["step"] = _step(step)
    if isinstance(result := event.get("result"), dict):
        result = _renamed(result, {"refused": "rejected", "trouble": "failure", "kept": "from_cache", **_OF_TURNS})
        if isinstance(failure := result.get("failure"), dict):
            result["failure"] = _with_status(failure)
        if "verdict" in result:
            result["verdict"] = _VERDICTS.get(result["verdict"], result["verdict"])
        event["result"] = result
    return event


def _step(name: str) -> str:
    for old, new in _STEPS.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return "environment" if name == "fingerprint" else name.replace("place/", "start_code/", 1)


def _verdict(data: Any) -> Any:
    if not isinstance(data, dict):
        return data
    data = _renamed(data, _OF_VERDICTS)
    data["kind"] = _VERDICTS.get(data.get("kind"), data.get("kind"))
    for name in ("against_parent", "against_baseline"):
        if isinstance(data.get(name), dict):
            data[name] = _renamed(data[name], {"p_corrected": "p_adjusted"})
    return data


def _with_status(data: dict[str, Any]) -> dict[str, Any]:
    status = str(data.get("status"))
    return data | {"status": _STATUSES.get(status, status)}


def _renamed(data: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in data.items()}
