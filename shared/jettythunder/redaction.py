"""Taking secrets out of what is written down: log lines, and errors that are reported elsewhere."""

import re
from collections.abc import Mapping
from typing import Any

REDACTED = "[redacted]"

_SECRET_NAMES = (
    "secret",
    "token",
    "password",
    "authorization",
    "cookie",
    "signature",
    "api_key",
    "api-key",
    "dsn",
    "url",
    "query_string",
)

# What looks like a secret in text: a URL's user and query, a parameter or header of that name, a credential.
_PATTERNS = (
    (re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://)[^\s/@\"'<>]+@"), rf"\1{REDACTED}@"),
    (re.compile(r"(\bhttps?://[^\s?\"'<>]*)\?[^\s\"'<>]+"), rf"\1?{REDACTED}"),
    (
        re.compile(r"(?i)\b(x-amz-[a-z-]+|signature|token|secret|password)=[^\s&\"'<>]+"),
        rf"\1={REDACTED}",
    ),
    (re.compile(r"(?i)\bbearer\s+[^\s\"'<>,]+"), f"Bearer {REDACTED}"),
    (re.compile(r"\bjts?_[A-Za-z0-9_]{8,}"), REDACTED),
)


def redacted(value: Any) -> Any:
    """The value without what is named like a secret, and without what looks like one in its text."""
    if isinstance(value, str):
        for pattern, replacement in _PATTERNS:
            value = pattern.sub(replacement, value)
        return value
    if isinstance(value, Mapping):
        return {
            name: REDACTED if _is_secret(str(name)) and each is not None else redacted(each)
            for name, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [redacted(each) for each in value]
    return value


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_NAMES)
