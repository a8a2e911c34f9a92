"""A message is built from its parts, once: nobody takes it apart again."""

from __future__ import annotations

import pytest

from tuner.core.errors import BadInput


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (BadInput("all there is to say"), "all there is to say"),
        (BadInput("48 is odd", setting="page_sizes", fix="use 32"), "page_sizes: 48 is odd; use 32"),
        (BadInput("is too much", setting="rounds", value=9, fix="use 3"), "rounds 9 is too much; use 3"),
        (BadInput("/x is no folder", setting="logdir", value="/x/y:", fix="name another"), "logdir /x/y: /x is no folder; name another"),
        (BadInput("is empty", setting="logdir", value="", fix="name one"), "logdir is empty; name one"),
        (BadInput(setting="study", value="'a/b'", fix="use letters"), "study 'a/b': use letters"),
        (BadInput("48 is odd", setting="page_sizes", fix="use 32").found_in("s.yaml"), "s.yaml: page_sizes: 48 is odd; use 32"),
    ],
)
def test_the_printed_line(error: BadInput, line: str) -> None:
    assert str(error) == line
    assert error.complaint == (line if error.fix is None else line.removesuffix(error.fix)[:-2])
