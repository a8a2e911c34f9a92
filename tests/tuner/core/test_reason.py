from __future__ import annotations

import pytest
from pydantic import ValidationError

from service.schemas.history import WithReason
from tuner.core.errors import BadInput
from tuner.core.reason import check_reason


@pytest.mark.parametrize("text", ["", "another machine", "ü" * 500, "größer; 'quoted', 50 %", "モデル", "no\u00a0break"])
def test_what_the_api_takes_is_taken(text: str) -> None:
    assert check_reason(text) == WithReason(reason=text).reason == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\nb", r"reason 'a\nb' holds a line break"),
        ("ends in one\n", "holds a line break"),
        ("\x1b[31mred", r"reason '\x1b"),
        ("\x7f", "control character; write plain text in one line"),
        ("\n" * 500, "holds a line break"),
        ("x" * 501, "reason of 501 characters is too long; use at most 500"),
    ],
)
def test_what_the_api_refuses_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        check_reason(text)
    assert said in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert caught.value.setting == "reason"
    with pytest.raises(ValidationError):
        WithReason(reason=text)
