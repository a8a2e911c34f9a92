"""What is recommended against what vLLM takes by itself."""

from __future__ import annotations

from tuner.verdict.answer import Answer
from tuner.verdict.changes import change_lines, change_rows, changes_of, with_changes

DEFAULTS = {"block_size": 32, "max_num_batched_tokens": 2048}


def test_every_setting_with_both_values() -> None:
    place = ("page_aligned", 128, 2048)
    assert changes_of(place, DEFAULTS) == [
        {"setting": "block_size", "default": 32, "recommended": 128},
        {"setting": "max_num_batched_tokens", "default": 2048, "recommended": 2048},
        {"setting": "page_aligned", "default": False, "recommended": True},
    ]
    assert change_lines(changes_of(place, DEFAULTS)) == [
        "page size 128 (vLLM's default: 32)",
        "chunk budget 2048 (same as vLLM's default)",
        "page-aligned scheduling on (vLLM's default: off)",
    ]


def test_vllms_own_is_the_same_everywhere() -> None:
    rows = change_rows(changes_of(("default", 32, 2048), DEFAULTS))
    assert {standing for _, _, standing in rows} == {"same as vLLM's default"} and rows[2][:2] == ("page-aligned scheduling", "off")


def test_what_is_not_known_is_said_to_be() -> None:
    lines = change_lines(changes_of(("default", 32, 256), {"block_size": 32}))
    assert lines[1] == "chunk budget 256 (vLLM's default is not known)"


def test_an_answer_of_an_earlier_version_gets_its_changes() -> None:
    assert change_rows([]) == [] and change_lines([]) == []
    settings = {"arm": "default", "block_size": 64, "max_num_batched_tokens": 512, "page_aligned": False}
    old = Answer.of_body({"status": "recommended", "settings": settings})
    assert old.changes == [] and with_changes(old, DEFAULTS).changes == changes_of(("default", 64, 512), DEFAULTS)
    new = old.changed(changes=changes_of(("default", 64, 512), {}))
    assert with_changes(new, DEFAULTS) == new, "what a study stored stands"
    none = Answer.of_body({"status": "none"})
    assert with_changes(none, DEFAULTS) == none
