"""What a recommendation's page gives to copy is what works."""

from __future__ import annotations

import subprocess

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from service.pages.recommendation_view import can_be_served, command_text, snippets
from tests.storage.builders import a_recommendation
from tuner.serving.serve_formats import config_yaml, kubernetes
from tuner.verdict.answer import Answer, answer_of

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
BODY = {
    "config": {"model": "a/model", "block_size": 64, "num_gpu_blocks_override": None},
    "vllm_args": ["--block-size", "64", "--additional-config", '{"tuner":{"variant":"demote"}}', "--no-async-scheduling"],
    "env": {"PRICE": "5 $ each"},
}


@pytest.mark.slow
@given(st.lists(st.tuples(st.from_regex(r"--[a-z][a-z-]{0,8}", fullmatch=True), st.lists(WORDS, max_size=2)), max_size=4), WORDS)
def test_a_shell_reads_the_command_as_the_very_words(options: list[tuple[str, list[str]]], model: str) -> None:
    args = [word for option, values in options for word in (option, *values)]
    answer = Answer.of_body({"config": {"model": model}, "vllm_args": args, "env": {"ONE": model}}, status="recommended")
    script = f'vllm() {{ printf "%s\\0" "$ONE" "$@"; }}\n{command_text(answer)}'
    said = subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout
    assert said.decode().split("\0")[:-1] == [model, "serve", model, *args]


def test_the_command_has_an_option_a_line() -> None:
    lines = command_text(answer_of(a_recommendation(1, body=BODY))).splitlines()
    assert lines == [
        "PRICE='5 $ each' \\",
        "  vllm serve a/model \\",
        "  --block-size 64 \\",
        """  --additional-config '{"tuner":{"variant":"demote"}}' \\""",
        "  --no-async-scheduling",
    ]


def test_yaml_and_container_are_the_apis_own() -> None:
    found = {item.key: item.text for item in snippets(answer_of(a_recommendation(1, body=BODY)))}
    assert (found["yaml"], found["kubernetes"]) == (config_yaml(BODY), kubernetes(BODY))
    assert yaml.safe_load(found["yaml"]) == {"model": "a/model", "block-size": 64}  # vLLM would read null as a word
    assert yaml.safe_load(found["kubernetes"])["env"] == [{"name": "PRICE", "value": "5 $$ each"}]


def test_there_is_nothing_to_copy_where_nothing_is_recommended() -> None:
    assert snippets(answer_of(a_recommendation(1, status="none", body=BODY))) == []
    assert not can_be_served(answer_of(a_recommendation(1, body={"config": {}})))
    older = answer_of(a_recommendation(1, body={"config": {"block_size": 32}, "vllm_args": []}))
    assert can_be_served(older) and command_text(older) == "vllm serve tiny-qwen3\n"
