"""What tpu-inference's source says of `additional_config`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tuner.serving import additional_config_facts as facts
from tuner.serving.arg_facts import ArgFacts

SOURCE = """
a = config.additional_config.get("switch", False)
b = additional_config.get("way", "weights")
c = self.vllm_config.additional_config["inside"]["deeper"]
d = config.additional_config.get("steps", DEFAULT)
e = config.additional_config.get("torn", 1)
f = config.additional_config.get("torn", 2)
g = config.another.get("other", 1)
"""


def test_keys_and_defaults_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.py").write_text(SOURCE)
    (tmp_path / "broken.py").write_text("additional_config (")
    monkeypatch.setattr(facts, "package_folder", lambda _package, _python: tmp_path)
    assert facts.additional_config_facts(None) == {
        "additional_config.inside": ArgFacts(),
        "additional_config.steps": ArgFacts(),
        "additional_config.switch": ArgFacts(False, ("bool",)),
        "additional_config.torn": ArgFacts(),
        "additional_config.way": ArgFacts("weights", ("str",)),
    }
    monkeypatch.setattr(facts, "package_folder", lambda _package, _python: None)
    assert facts.additional_config_facts(None) == {}


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("tpu_inference") is None, reason="tpu-inference is not installed (extra: tpu)")
def test_the_installed_package_reads_the_keys_that_its_documents_name() -> None:
    known = facts.additional_config_facts(None)
    assert known["additional_config.enable_continue_decode"] == ArgFacts(False, ("bool",))
    assert {"additional_config.sharding", "additional_config.max_decode_steps", "additional_config.quantization"} <= known.keys()
    assert "additional_config.tuner" not in known, "that one is read by our plugin"
