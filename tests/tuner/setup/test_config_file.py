"""YAML and command line together: the command line wins, and every mistake says where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuner.core.errors import BadInput
from tuner.setup.config import StudyConfig
from tuner.setup.config_file import load_config, read_study_file


def write(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text)
    return path


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "model: a\nstudy: b\npage_sizes: [16]\nrounds: 7\n")
    found = load_config(path, {"page_sizes": [32], "study": "c"})
    assert (found.model, found.study, found.page_sizes, found.rounds.max) == ("a", "c", (32,), 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("page_size: [16]", "the key 'page_size' is unknown; did you mean page_sizes?"),
        ("block_size: 16", "the key 'block_size' is unknown; did you mean page_sizes?"),
        ("chunk-budgets: [128]", "the key 'chunk-budgets' is unknown; did you mean chunk_budgets?"),
        ("n_trials: 3", "the key 'n_trials' is unknown; did you mean trials?"),
        ("samplr: tpe", "the key 'samplr' is unknown; did you mean sampler?"),
        ("zzz: 1", "the key 'zzz' is unknown; known: study, model"),
        ("study: other", ":3: the key 'study' is there twice; keep one"),
        ("page_sizes: [16, x]", "page_sizes: 'x' is not a whole number"),
        ("page_sizes: ['16']", "page_sizes: '16' is not a whole number"),
        ("page_sizes: []", "page_sizes: must not be empty; name at least one"),
        ("page_sizes: [0]", "page_sizes: 0 is not above 0"),
        ("page_sizes: [24]", "page_sizes: 24 is not a power of two"),
        ("trials: many", "trials: 'many' is not a whole number"),
        ("enable_prefix_caching: 1", "enable_prefix_caching: 1 is not true or false"),
        ("sampler: bayes", "sampler: 'bayes' is unknown; use 'auto'"),
        ("time_budget: soon", "time_budget: 'soon' is not a duration"),
        ("rounds: {min: 3, most: 4}", "rounds.most: this key is unknown"),
        ("study_: 1\nstudy: 2024", "is there twice"),
        ("logdir: 2024", "logdir: 2024 is not text; put it in quotes"),
        ("page_sizes: [2097152]", "page_sizes: 2097152 is not at most 1048576"),
        ("kv_write: fast", "kv_write: 'fast' is unknown; use auto, or the implementations by token and by page, for instance scatter,loop"),
        (
            "slos: [ttft_p99_ms<=5, ttft_p99_ms<4]",
            "slos: ttft_p99_ms<=5 and ttft_p99_ms<4 limit the same metric on the same side",
        ),
        ("kv_write: scatter", "kv_write: 'scatter' is unknown"),
        ("- 1", ":3: not valid YAML ("),
        ("x: [", ":4: not valid YAML ("),
        ("engine_args: {block_size: 3}", "engine_args: block_size is set by the search"),
    ],
)
def test_a_mistake_names_file_key_and_mend(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, f"model: tiny-qwen3\nstudy: s\n{text}\n")
    with pytest.raises(BadInput) as caught:
        load_config(path, {})
    line = str(caught.value)
    assert line.startswith(str(path)) and message in line
    assert "\n" not in line


def test_a_mistake_on_the_command_line_names_the_option(tmp_path: Path) -> None:
    path = write(tmp_path, "model: tiny-qwen3\nstudy: s\npage_sizes: [16]\n")
    with pytest.raises(BadInput, match=r"^--page-sizes: 'abc' is not a whole number"):
        load_config(path, {"page_sizes": ["abc"]})


@pytest.mark.parametrize("missing", ["model", "study"])
def test_what_is_missing_is_asked_for(missing: str) -> None:
    given_keys = {"model": "tiny-qwen3", "study": "s"}
    del given_keys[missing]
    with pytest.raises(BadInput, match=f"{missing} is missing; give --{missing}"):
        load_config(None, given_keys)


@pytest.mark.parametrize(
    ("content", "message"), [(b"\xff\xfe", "it is not UTF-8"), (b"3", "must hold settings"), (b"1: 2", "must hold settings")]
)
def test_files_that_hold_no_settings(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=message):
        read_study_file(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        read_study_file(tmp_path / "none.yaml")


def test_yaml_cannot_make_objects(tmp_path: Path) -> None:
    path = write(tmp_path, "model: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(BadInput):
        read_study_file(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from([*StudyConfig.model_fields, "unknown"]),
        st.one_of(st.none(), st.booleans(), st.integers(-5, 600), st.text(max_size=8), st.lists(st.integers(-1, 300), max_size=3)),
        max_size=6,
    )
)
def test_any_mapping_is_a_configuration_or_one_line(tmp_path: Path, mapping: dict[str, Any]) -> None:
    message = ""
    try:
        load_config(None, {"model": "tiny-qwen3", "study": "s", **mapping})
    except BadInput as error:
        message = str(error)
    assert "\n" not in message
