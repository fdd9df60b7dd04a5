"""What providers' errors mean: kinds by status and words, and when a limit ends."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from harness.agents.failure_kinds import failure_kind, limit_ends

NOW = datetime(2026, 11, 29, 21, 40, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (400, "request (8226 tokens) exceeds the available context size (8192 tokens), try increasing it", "context"),
        (400, "Trying to keep the first 5000 tokens when context the overflows. It is loaded with 4096 tokens", "context"),
        (400, "This model's maximum context length is 8192 tokens. Please reduce the length of the messages.", "context"),
        (500, "the request exceeds the available context size", "context"),
        (413, "prompt is too long: 208310 tokens > 200000 maximum", "context"),
        (429, "You exceeded your current quota, please check your plan and billing details.", "quota"),
        (429, "You exceeded your current quota, please check your plan and billing details. Please retry in 31.5s", "rate"),
        (429, "Rate limit reached for gpt-5 on tokens per min. The context length is not the matter.", "rate"),
        (402, "pay", "quota"),
        (401, "no", "auth"),
        (403, "Project does not have access to model gpt-5: models that it may use are not found", "model"),
        (404, "Not Found", "model"),
        (400, "Unsupported parameter: temperature", "setup"),
        (503, "overloaded", "server"),
        (None, "", "server"),
    ],
)
def test_a_kind_is_read_from_the_status_and_then_from_the_words(status: int | None, text: str, kind: str) -> None:
    assert failure_kind(status, text) == kind


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("Claude AI usage limit reached|1796000000", "2026-11-30T00:53:20+00:00"),
        ("You've hit your session limit · resets 3pm (America/New_York)", "2026-11-30T20:00:00+00:00"),
        ("5-hour limit reached ∙ resets 11pm (UTC)", "2026-11-29T23:00:00+00:00"),
        ("You've hit your limit · resets Dec 2, 3pm (UTC)", "2026-12-02T15:00:00+00:00"),
        ("Weekly limit reached ∙ resets Jan 2 at 4:30am (UTC)", "2027-01-02T04:30:00+00:00"),
        ("try again at Nov 30th, 2026 3:42 PM (UTC).", "2026-11-30T15:42:00+00:00"),
        ("try again in 3 days 4 hours 5 minutes.", "2026-12-03T01:45:00+00:00"),
        ("Your quota will reset after 3h20m10s.", "2026-11-30T01:00:10+00:00"),
        ('{"retryDelay": "31s"}', "2026-11-29T21:40:31+00:00"),
        ('{"resets_in_seconds": 7800}', "2026-11-29T23:50:00+00:00"),
        ("Please try again later.", None),
        ("resets on February 30 at 3pm", None),
        ("try again with 3 retries", None),
    ],
)
def test_the_end_of_a_limit_is_read_in_every_form_that_providers_give_it(text: str, end: str | None) -> None:
    found = limit_ends(text, NOW)
    assert found == (datetime.fromisoformat(end).timestamp() if end else None)
