"""What vLLM's source says of its arguments."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.serving import engine_arg_facts
from tuner.serving.arg_facts import ArgFacts

ARGUMENTS = """
class EngineArgs:
    size: int = SomeConfig.size
    share: float = get_field(SomeConfig, "share")
    mode: Mode = SomeConfig.mode
    loose: Mode | str = "a"
    later: bool | None = None
    listed: list[int] | None = None
    unknown: int = made()
"""
CONFIG = """
Mode = Literal["a", "b"]
class SomeConfig:
    size: int = Field(default=4, ge=1, lt=10)
    share: float = 0.5
    mode: Mode = "b"
"""


@pytest.fixture
def facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, ArgFacts]:
    for folder, name, text in (("engine", "arg_utils.py", ARGUMENTS), ("config", "some.py", CONFIG)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text)
    (tmp_path / "config" / "broken.py").write_text("class (")
    monkeypatch.setattr(engine_arg_facts, "package_folder", lambda _package, _python: tmp_path)
    return engine_arg_facts.engine_arg_facts(None)


def test_defaults_types_words_and_bounds_are_read(facts: dict[str, ArgFacts]) -> None:
    assert facts == {
        "size": ArgFacts(4, ("int",), (), {"ge": 1.0, "lt": 10.0}),
        "share": ArgFacts(0.5, ("float",)),
        "mode": ArgFacts("b", (), ("a", "b")),
        "loose": ArgFacts("a", ("str",), ("a", "b")),
        "later": ArgFacts("unset", ("bool",)),
        "listed": ArgFacts("unset"),
        "unknown": ArgFacts(None, ("int",)),
    }


@pytest.mark.parametrize(
    ("name", "level", "why"),
    [
        ("size", 9, None),
        ("size", 10, "10 is not below 10"),
        ("size", True, "true is not a whole number"),
        ("share", 1, None),
        ("share", "much", "much is not a number"),
        ("mode", "c", "c is not one of a, b"),
        ("loose", "c", None),
        ("later", False, None),
        ("later", 0, "0 is not true or false"),
        ("listed", "anything", None),
        ("mode", "unset", None),
    ],
)
def test_a_level_is_refused_as_vllm_would(facts: dict[str, ArgFacts], name: str, level: str | int, why: str | None) -> None:
    assert facts[name].refuses(level) == why


def test_where_there_is_no_vllm_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_arg_facts, "package_folder", lambda _package, _python: None)
    assert engine_arg_facts.engine_arg_facts(None) == {}


@pytest.mark.slow
def test_of_the_real_one_the_arguments_that_people_search() -> None:
    found = engine_arg_facts.engine_arg_facts(None)
    if not found:
        pytest.skip("no vLLM here")
    assert found["kv_cache_dtype"].default == "auto" and "fp8" in found["kv_cache_dtype"].words
    assert found["gpu_memory_utilization"].refuses(1.5) and not found["gpu_memory_utilization"].refuses(0.9)
    assert found["long_prefill_token_threshold"].default == 0
