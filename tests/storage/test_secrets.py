"""Secrets are told by name and by look, wherever they stand, and what only resembles one is left alone."""

from __future__ import annotations

from typing import Any

import pytest

from storage.base import Storage
from storage.records import Study
from storage.secrets import REDACTED, is_secret_name, redacted, redacted_text

HF = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz012345"  # in two parts, so that no scanner takes it for a real one
LOOKS = [
    HF,
    "sk-" + "proj-abcdefghijklmnop0123",
    "ghp_" + "a1B2" * 9,
    "AKIA" + "IOSFODNN7EXAMPLE",
    "eyJhbGciOiJI." + "eyJzdWIiOiIx." + "SflKxwRJSMeKKF2QT4",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize(
    "name",
    [
        "hf_token",
        "hf-token",
        "HF_TOKEN",
        "token",
        "api_key",
        "apikey",
        "OPENAI_API_KEY",
        "aws_secret_access_key",
        "aws_access_key_id",
        "password",
        "db_passwd",
        "client_secret",
        "github_token",
        "private_key",
        "credentials",
        "Authorization",
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)
    assert redacted({"a": [{name: "x1"}]}) == {"a": [{name: REDACTED}]}


@pytest.mark.parametrize(
    "name",
    [
        "eos_token",
        "eos_token_id",
        "bos_token",
        "image_token_id",
        "tokenizer",
        "tokenizer_mode",
        "max_num_batched_tokens",
        "experts_per_token",
        "long_prefill_token_threshold",
        "skip_tokenizer_init",
        "key",
        "block_hash_key",
        "num_key_value_heads",
        "tokens_only",
        "author",
    ],
)
def test_names_that_are_none(name: str) -> None:
    assert not is_secret_name(name) and redacted({name: "x1"}) == {name: "x1"}


@pytest.mark.parametrize("value", [True, False, None, ""])
def test_a_switch_under_such_a_name_is_no_secret(value: Any) -> None:
    assert redacted({"hf_token": value}) == {"hf_token": value}


@pytest.mark.parametrize("secret", LOOKS)
@pytest.mark.parametrize("around", ["{}", "args: {{'x': '{}'}}", "https://example.org/?a={}&b=1", "before {} after"])
def test_what_looks_like_a_secret_goes_from_any_text(secret: str, around: str) -> None:
    text = redacted_text(around.format(secret))
    assert secret not in text and REDACTED in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("non-default args: {'hf_token': 'abc', 'model': 'm'}", f"non-default args: {{'hf_token': '{REDACTED}', 'model': 'm'}}"),
        ("vllm serve m --hf-token abc --seed 0", f"vllm serve m --hf-token {REDACTED} --seed 0"),
        ("AWS_SECRET_ACCESS_KEY=abc/d+e", f"AWS_SECRET_ACCESS_KEY={REDACTED}"),
        ('{"api_key": "abc"}', f'{{"api_key": "{REDACTED}"}}'),
        ("postgresql://tuner:pass@host/db", f"postgresql://tuner:{REDACTED}@host/db"),
        ("header 'Bearer abcdefghijklmnop'", f"header 'Bearer {REDACTED}'"),
        ("password=abc", f"password={REDACTED}"),
    ],
)
def test_a_secret_that_is_named_in_a_log(text: str, expected: str) -> None:
    assert redacted_text(text) == expected
    assert redacted_text(expected) == expected, "and stays so"


@pytest.mark.parametrize(
    "text",
    [
        "scheduled 512 tokens",
        "eos_token_id: 2",
        "hf_token=None",
        "http://host:8000/v1",
        "sqlite:///tuner.db",
        "hf_config",
        "sk-learn",
        "first token: 12 ms",
        "--skip-tokenizer-init --max-num-batched-tokens 256",
        "postgresql://tuner@host/db",
        "key 3 of 5",
        "a bearer of bad news",
    ],
)
def test_other_text_is_untouched(text: str) -> None:
    assert redacted_text(text) == text


def test_nothing_secret_enters_the_database_or_leaves_it(storage: Storage) -> None:
    study = storage.create_study(
        Study(
            name="s",
            model="m",
            config={"engine_args": {"hf_token": HF, "x": {"api_key": "k", "y": [HF]}}},
            objective="throughput",
            model_features={},
        )
    )
    assert study.config == {"engine_args": {"hf_token": REDACTED, "x": {"api_key": REDACTED, "y": [REDACTED]}}}
    assert storage.get_study("s").config == study.config
