"""What a provider's error means: its status code first, its words second, in the kinds of `campaign/protocols.py`.

The process of aider reads errors by this file too and has nothing of the harness, so it imports nothing of it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

PASSING = frozenset({"rate", "server", "connection", "timeout"})
"""Kinds that may be over in a minute; every other one comes again with the same request."""


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_QUOTA = _words(
    r"insufficient_quota|insufficient (credit|funds|balance|quota)|credit balance|(current )?quota.{0,40}\bbilling\b"
    r"|\b(error )?code\W{1,4}402\b|\bstatus (code )?402\b|payment required|(monthly|usage) spend(ing)? limit"
    r"|billing hard limit"
)
_CONTEXT = _words(
    # OpenAI, vLLM, SGLang; llama.cpp; LM Studio; Anthropic; Gemini; codex
    r"context[ _]length|exceeds? (the )?(available |maximum |model's )*context|context window|context size|maximum context"
    r"|context the overflows|overflows? the context|greater than the context|prompt[ _]is[ _]too[ _]long|input is too long"
    r"|input token count.{0,40}exceeds|exceed_context_size|ran out of room"
)
_RATE = _words(
    r"\b429\b|rate[ _-]?limit|too many requests|(usage|session|weekly|daily|hourly|5-hour|request) limit|limit reached"
    r"|(hit|reached) your .{0,20}limit|resource[ _]exhausted|quota (exceeded|will reset)"
    r"|exhausted your (daily quota|capacity)"
)
_AUTH = _words(
    r"\b401\b|unauthori[sz]ed|authenticat|(invalid|incorrect|missing|no|expired) (x-)?api[ _-]key|api key not valid"
    r"|auth method|logged in|log ?in\b|please run /login|oauth token"
)
_MODEL = _words(
    r"model_?not_?found|(unknown|invalid|unsupported|no such) model|issue with the selected model"
    r"|\bmodels?\b[^.]{0,100}(does(n't| not) exist|not found|not available|not supported|no access|not have access)"
)
_CUT = _words(r"output token maximum|max_output_tokens|maximum output")
_CONNECTION = _words(
    r"ECONN\w+|ENOTFOUND|EAI_AGAIN|connection (refused|error|reset|closed)|fetch failed|network is unreachable"
    r"|unable to connect|error sending request|stream disconnected|name or service not known|cannot connect"
)
_BY_WORDS = (("cut", _CUT), ("rate", _RATE), ("model", _MODEL), ("auth", _AUTH), ("connection", _CONNECTION))


def failure_kind(status: int | None, text: str) -> str:
    """The kind of a request that failed with `text`; `status` is its HTTP status where it is known."""
    if status == 402 or (_QUOTA.search(text) and not _says_when(text)) or "insufficient_quota" in text:
        return "quota"
    if status != 429 and _CONTEXT.search(text) and not (status in (401, 403) or _CUT.search(text)):
        return "context"
    if status is not None:
        if status in (401, 403):
            return "model" if _MODEL.search(text) else "auth"
        if status == 429:
            return "rate"
        if status >= 500 or status in (408, 409):
            return "server"
        return "model" if status == 404 or _MODEL.search(text) else "setup"
    for kind, words in _BY_WORDS:
        if words.search(text):
            return kind
    return "server"


_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_PART = (
    r"\d+(?:\.\d+)? ?(?:days?|d|hours?|hrs?|h|minutes?|mins?|m|seconds?|secs?|s)\b[ ,]*(?:and )?|\d+(?:\.\d+)?[dhms](?=\d)"
)
_SPAN = _words(rf"(?:try again|retry|resets?|wait|retryDelay)\W{{1,6}}(?:(?:in|after|for|about) )*((?:{_PART})+)")
_SECONDS = _words(r"(?:resets_in_seconds|retry[-_]after)\W{1,4}(\d+)")
_EPOCH = _words(r"(?:limit reached\||resets_?at\W{1,4})(\d{10})\b")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATE = rf"(?:(?P<month>{'|'.join(_MONTHS)})[a-z]* (?P<day>\d{{1,2}})[a-z]{{0,2}},? ?(?P<year>20\d\d)?,? ?)?"
_CLOCK = _words(
    rf"(?:resets?|try again|available again)(?: at| on)? {_DATE}(?:at )?(?P<hour>\d{{1,2}})(?::(?P<minute>\d\d))? ?"
    r"(?P<half>[ap]\.?m)?\b\.?(?: ?\((?P<zone>[\w/+-]+)\))?"
)


def limit_ends(text: str, now: float) -> float | None:
    """When a limit ends, as a provider's message says it ("resets 3pm", "try again in 2 hours"): seconds since 1970.

    `now` is the time of the message, in the same seconds. A clock time without a zone is this machine's.
    """
    if found := _EPOCH.search(text):
        return float(found[1])
    if found := _SECONDS.search(text):
        return now + float(found[1])
    if found := _SPAN.search(text):
        parts = re.findall(r"(\d+(?:\.\d+)?) ?([dhms])", found[1], re.IGNORECASE)
        return now + sum(float(count) * _UNITS[unit.lower()] for count, unit in parts)
    found = _CLOCK.search(text)
    if found is None or not (found["half"] or found["minute"] or found["month"]):
        return None
    return _at(found, now)


def _says_when(text: str) -> bool:
    return limit_ends(text, 0.0) is not None


def _at(found: re.Match[str], now: float) -> float | None:
    here = datetime.fromtimestamp(now, UTC).astimezone(_zone(found["zone"]))
    hour = int(found["hour"]) % 12 + 12 * (found["half"].lower()[0] == "p") if found["half"] else int(found["hour"])
    try:
        day = here
        if found["month"]:
            month = _MONTHS.index(found["month"].lower()) + 1
            day = here.replace(year=int(found["year"] or here.year), month=month, day=int(found["day"]))
        end = day.replace(hour=hour, minute=int(found["minute"] or 0), second=0, microsecond=0)
        if end <= here and not found["year"]:
            end = end.replace(year=end.year + 1) if found["month"] else end + timedelta(days=1)
    except ValueError:  # February 30
        return None
    return end.timestamp()


def _zone(name: str | None) -> tzinfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (OSError, ValueError):  # unknown here
        return None
