"""Which of a person's environment variables an agent's process may see, and how their values are kept out of messages.

An agent gets what reaches its provider and nothing else: no other secret, no PYTHONPATH, no HOME.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
SYSTEM = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", *CERTIFICATES)
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy")

PREFIXES = {
    "azure_ai": ("AZURE_",),
    "bedrock": ("AWS_",),
    "bedrock_converse": ("AWS_",),
    "cohere": ("COHERE_", "CO_API_KEY"),
    "cohere_chat": ("COHERE_", "CO_API_KEY"),
    "fireworks_ai": ("FIREWORKS_",),
    "gemini": ("GEMINI_", "GOOGLE_"),
    "google": ("GEMINI_", "GOOGLE_"),
    "ollama_chat": ("OLLAMA_",),
    "sagemaker": ("AWS_",),
    "text-completion-openai": ("OPENAI_",),
    "vertex_ai": ("VERTEX", "GOOGLE_", "CLOUD_ML_REGION"),
}
"""How the variables of a provider begin, where its own name does not say it."""

_AWS = {"AWS_SHARED_CREDENTIALS_FILE": ".aws/credentials", "AWS_CONFIG_FILE": ".aws/config"}
_GOOGLE = {"GOOGLE_APPLICATION_CREDENTIALS": ".config/gcloud/application_default_credentials.json"}
_LOGIN_FILES = {"bedrock": _AWS, "bedrock_converse": _AWS, "sagemaker": _AWS, "vertex_ai": _GOOGLE}

NO_SECRET = re.compile(
    r"_(BASE|URL|HOST|ENDPOINT|REGION|REGION_NAME|VERSION|PROJECT|LOCATION|TYPE|PROFILE|MODEL|CREDENTIALS|FILE)$"
)
"""Names whose values are worth reading in a message: "connection refused" says little without the address."""


def system_variables() -> dict[str, str]:
    """What any process of an agent needs from the environment: paths, language, certificates and proxies."""
    return {name: os.environ[name] for name in (*SYSTEM, *PROXIES) if name in os.environ}


def certificates() -> list[Path]:
    """What the variables for certificates name."""
    return [Path(os.environ[name]) for name in CERTIFICATES if os.environ.get(name)]


def provider_variables(providers: Iterable[str]) -> dict[str, str]:
    """The variables of these providers, by the names that litellm has for them, and of no other.

    A provider without an entry in PREFIXES has variables that begin with its own name: `together_ai` brings TOGETHER_AI_…
    and TOGETHERAI_… along without a list of all providers.
    """
    prefixes: list[str] = []
    for provider in filter(None, providers):
        name = provider.upper().replace("-", "_")
        prefixes += [f"{name}_", f"{name.replace('_', '')}_", f"{name}AI_", *PREFIXES.get(provider, ())]
    return {name: value for name, value in os.environ.items() if name.startswith(tuple(prefixes))}


def login_files(providers: Iterable[str]) -> dict[str, Path]:
    """The files that hold a person's login at these providers, by the variables that name them to their libraries."""
    found = {}
    for variable, place in (each for provider in providers for each in _LOGIN_FILES.get(provider, {}).items()):
        path = Path(os.environ.get(variable) or Path.home() / place)
        if path.is_file():
            found[variable] = path.resolve()
    return found


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
