from __future__ import annotations

import json
import shlex

import yaml

from tuner.serve_formats import FORMATS
from tuner.vllm_args import vllm_flags

CONFIG = {"model": "a/b c", "block_size": 32, "enable_prefix_caching": False, "additional_config": {"tuner": {"variant": "it's"}}}
BODY = {"config": CONFIG, "vllm_args": vllm_flags(CONFIG), "env": {"JAX_PLATFORMS": "cpu", "ODD": "a 'b' $c"}}
ENVIRONMENT = {"JAX_PLATFORMS": "cpu", "ODD": "a 'b' $c"}


def test_yaml_is_the_configuration_with_hyphens() -> None:
    assert yaml.safe_load(FORMATS["yaml"](BODY)) == {name.replace("_", "-"): value for name, value in CONFIG.items()}


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
    assert {item["name"]: item["value"] for item in container["env"]} == ENVIRONMENT
    assert "env" not in yaml.safe_load(FORMATS["kubernetes"]({**BODY, "env": {}}))
