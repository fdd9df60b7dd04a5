"""Which of a person's environment variables an agent's process may see, and how their values are kept out of messages.

An agent gets what reaches its provider and nothing else: no other secret, no PYTHONPATH, no HOME.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

SYSTEM = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy")

PREFIXES = (
    "OPENAI_",
    "ANTHROPIC_",
    "GEMINI_",
    "GOOGLE_",
    "DEEPSEEK_",
    "OPENROUTER_",
    "GROQ_",
    "FIREWORKS_",
    "XAI_",
    "MISTRAL_",
    "COHERE_",
    "CO_API_KEY",
    "AZURE_",
    "AWS_",
    "VERTEX",
    "OLLAMA_",
)

NO_SECRET = re.compile(r"_(BASE|URL|HOST|ENDPOINT|REGION|REGION_NAME|VERSION|PROJECT|LOCATION|TYPE|PROFILE|MODEL)$")
"""Names whose values are worth reading in a message: "connection refused" says little without the address."""


def system_variables() -> dict[str, str]:
    """What any process of an agent needs from the environment."""
    return {name: os.environ[name] for name in SYSTEM if name in os.environ}


def provider_variables(models: Iterable[str | None]) -> dict[str, str]:
    """The variables that reach a provider: the known ones, proxies, and those named like the prefix of a model.

    So `together_ai/x` brings TOGETHER_AI_… and TOGETHERAI_… along without a list of all providers.
    """
    prefixes = list(PREFIXES)
    for model in models:
        provider = (model or "").partition("/")[0].upper() if "/" in (model or "") else ""
        if provider:
            prefixes += [f"{provider}_", f"{provider.replace('_', '')}_", f"{provider}AI_"]
    return {k: v for k, v in os.environ.items() if k.startswith(tuple(prefixes)) or k in PROXIES}


class Redaction:
    """Replaces the values of key variables in a text, as they are and as JSON or a URL writes them."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        found: dict[str, str] = {}
        for name, value in variables.items():
            if name in SYSTEM or name in PROXIES or NO_SECRET.search(name) or len(value) < 6:
                continue
            for form in (value, json.dumps(value)[1:-1], quote(value, safe="")):
                found[form] = f"[{name}]"
        # The longest first: one key may be the beginning of another.
        self._found = sorted(found.items(), key=lambda item: -len(item[0]))

    def __call__(self, text: str) -> str:
        for value, name in self._found:
            text = text.replace(value, name)
        return re.sub(r"(?<=://)[^/@\s]+:[^/@\s]+(?=@)", "[user:password]", text)
