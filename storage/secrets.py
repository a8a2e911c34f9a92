"""What is never stored and never shown: secrets, told by the names they stand under and by what they look like. Pure.

Rows of earlier versions may hold some: they are redacted as they are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

REDACTED = "[redacted]"
_SHORT = 200  # characters

# "token" alone is a secret, as is one with an owner's name; eos_token, max_num_batched_tokens or experts_per_token are not.
_OWNERS = "hf|hub|hugging_?face|auth|access|api|bearer|session|refresh|security|id|oauth|github|gitlab|wandb|aws|s3|gcs|azure|openai|vault"
_NAMES = (
    rf"(?:(?:{_OWNERS})_?)token|api_?key|access_?key(?:_?id)?|account_?key|private_?key|encryption_?key|signing_?key|passw(?:or)?d|passphrase"
    r"|pwd|credentials?|authorization|cookie|connection_?string|sas_?url"
)
_SECRET_NAME = re.compile(rf"(?:^|.*_)(?:{_NAMES})$|^token$|.*secret.*", re.IGNORECASE)
_LOOKS = re.compile(
    r"\bhf_[A-Za-z0-9]{16,}"  # Hugging Face
    r"|\bsk-[A-Za-z0-9_-]{16,}"  # OpenAI and others
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}|\bxox[abeprs]-[\w-]{10,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{30,}|\bya29\.[\w.-]{20,}"  # AWS, Google
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}"  # a JSON web token
)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:.*?-----END [A-Z ]*PRIVATE KEY-----|.*)", re.DOTALL)
# One of these is in every line that any pattern matches: most lines of a log have none, and the patterns are slow.
_HINT = re.compile(
    r"hf_|sk-|gh[pousr]_|github_pat|glpat-|xox|AKIA|ASIA|AIza|ya29|eyJ|:[^\s/@]+@|(?i:bearer|basic |token|_key|-key"
    r"|apikey|accesskey|accountkey|privatekey|encryptionkey|signingkey|passw|passphrase|pwd|credential|authorization|cookie|connection.?string|sas.?url|secret)"
)
_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]*):[^\s/@]+@", re.IGNORECASE)
_BEARER = re.compile(r"(\b(?:bearer|basic)\s+)[\w.~+/=-]{12,}", re.IGNORECASE)
# In logs: hf_token='...', "api_key": "...", --hf-token ..., AWS_SECRET_ACCESS_KEY=...
_WORDS = rf"(?:{_NAMES.replace('_?', '[_-]?')}|(?:client)?secret[\w-]*)"
_ASSIGNED = re.compile(
    rf"((?:\b|[_-]){_WORDS}[\"']?\s*[=:]\s*[\"']?)(?!(?:None|null|true|false)\b|\[redacted)([^\s\"',}}]+)", re.IGNORECASE
)
_OPTION = re.compile(rf"(--(?:[\w-]*-)?(?:{_WORDS}|token)\s+)([^\s-]\S*)", re.IGNORECASE)


@lru_cache(maxsize=4096)  # the settings of hundreds of trials have the same names and words
def is_secret_name(name: str) -> bool:
    """Whether what stands under this name is a secret: hf_token, api-key, AWS_SECRET_ACCESS_KEY, password."""
    return _SECRET_NAME.fullmatch(name.replace("-", "_")) is not None


def holds_secret(name: str, value: Any) -> bool:
    """Whether this value, which stands under `name`, is a secret or has one somewhere inside."""
    return bool(redacted({name: value}) != {name: value})


def redacted(value: Any) -> Any:
    """The value with each secret replaced by REDACTED: in text what looks like one, in mappings also what stands under the name of one."""
    if value is None or isinstance(value, int | float):  # most of what is stored; asking for a Mapping is slow
        return value
    if isinstance(value, str):
        return _redacted_word(value) if len(value) <= _SHORT else redacted_text(value)
    if isinstance(value, Mapping):
        return {key: REDACTED if is_secret_name(str(key)) and _is_given(item) else redacted(item) for key, item in value.items()}
    return [redacted(item) for item in value] if isinstance(value, list | tuple) else value


@lru_cache(maxsize=4096)
def _redacted_word(text: str) -> str:
    return redacted_text(text)


def redacted_text(text: str) -> str:
    """The text with what looks like a secret, or is named like one, replaced by REDACTED."""
    if "PRIVATE KEY" in text:
        text = _PRIVATE_KEY.sub(REDACTED, text)
    return "\n".join(_redacted_line(line) if _HINT.search(line) else line for line in text.split("\n"))


def _redacted_line(line: str) -> str:
    line = _IN_URL.sub(rf"\1:{REDACTED}@", _LOOKS.sub(REDACTED, line))
    for pattern in (_BEARER, _ASSIGNED, _OPTION):
        line = pattern.sub(rf"\g<1>{REDACTED}", line)
    return line


def _is_given(value: Any) -> bool:
    """hf_token: true says "use the stored login" and is no secret."""
    return value is not None and not isinstance(value, bool) and value != ""
