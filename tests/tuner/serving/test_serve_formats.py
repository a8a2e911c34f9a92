from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tuner.serving.serve_formats import FORMATS
from tuner.serving.vllm_args import vllm_flags

CONFIG = {"model": "a/b c", "block_size": 32, "enable_prefix_caching": False, "additional_config": {"tuner": {"variant": "it's"}}}
BODY = {"config": CONFIG, "vllm_args": vllm_flags(CONFIG), "env": {"JAX_PLATFORMS": "cpu", "ODD": "a 'b' $c"}}
ENVIRONMENT = {"JAX_PLATFORMS": "cpu", "ODD": "a 'b' $c"}


def _as_vllm_takes_it(config: Mapping[str, Any]) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in config.items() if value is not None}
    return {f"no-{name}" if value is False else name: value is False or value for name, value in named.items()}


def test_yaml_is_the_configuration_with_hyphens() -> None:
    """A false value is set by its negation; tests/service/test_config_on_the_engine.py asks vLLM's own parser."""
    found = yaml.safe_load(FORMATS["yaml"](BODY))
    assert found == _as_vllm_takes_it(CONFIG)
    assert found["no-enable-prefix-caching"] is True and "enable-prefix-caching" not in found


def test_flags_are_shell_words() -> None:
    words = shlex.split(FORMATS["flags"](BODY))
    assert words == BODY["vllm_args"]
    assert json.loads(words[-1]) == CONFIG["additional_config"]


def test_environment_survives_a_shell() -> None:
    assert dict(line.split("=", 1) for line in shlex.split(FORMATS["env"](BODY))) == ENVIRONMENT
    assert FORMATS["env"]({**BODY, "env": {}}).startswith("#")


def test_a_container_gets_the_same() -> None:
    container = yaml.safe_load(FORMATS["kubernetes"](BODY))
    assert container["command"] == ["vllm", "serve"]
    assert container["args"] == ["a/b c", *BODY["vllm_args"]]
    assert {item["name"]: item["value"].replace("$$", "$") for item in container["env"]} == ENVIRONMENT
    assert "env" not in yaml.safe_load(FORMATS["kubernetes"]({**BODY, "env": {}}))


_TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), min_size=1, max_size=30)
_VALUES = st.one_of(_TEXT, st.integers(), st.booleans(), st.none(), st.dictionaries(_TEXT, _TEXT, max_size=3), st.lists(_TEXT, max_size=3))
_CONFIGS = st.dictionaries(st.from_regex(r"[a-z][a-z_]{0,12}", fullmatch=True), _VALUES, max_size=5).map(
    lambda found: {"model": "m"} | found
)


@pytest.mark.slow
@given(_CONFIGS, _TEXT)
@examples(100)
def test_nasty_values_come_through_every_form(config: dict[str, object], value: str) -> None:
    body = {"config": config, "vllm_args": vllm_flags(config), "env": {"ODD": value}}
    assert yaml.safe_load(FORMATS["yaml"](body)) == _as_vllm_takes_it(config)
    assert shlex.split(FORMATS["flags"](body)) == body["vllm_args"]
    assert shlex.split(FORMATS["env"](body)) == [f"ODD={value}"]
    container = yaml.safe_load(FORMATS["kubernetes"](body))
    assert [word.replace("$$", "$") for word in container["args"][1:]] == body["vllm_args"]
    assert all("$(" not in word.replace("$$", "") for word in container["args"])


@given(st.lists(_TEXT.filter(lambda text: "\r" not in text), min_size=1, max_size=4))
@examples(15)
def test_a_real_shell_reads_the_same_words(words: list[str]) -> None:
    flags = FORMATS["flags"]({"config": {}, "vllm_args": words}).removesuffix("\n")
    script = f"printf '%s\\0' {flags}"
    out = subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout
    assert out.decode().split("\0")[:-1] == words
