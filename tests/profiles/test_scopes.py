"""Scopes that compare between compilations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.scopes import clean, fold, group


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("jit(f)/jit(main)/add:", "jit(f)/jit(main)/add"),
        ("jit(f)/dot_general:MatMul", "jit(f)/dot_general"),
        ("jit(f)/aten::mul.Tensor/mul", "jit(f)/aten::mul.Tensor/mul"),
        ("jit(f)/aten::mul", "jit(f)/aten::mul"),
        ("", ""),
    ],
)
def test_the_op_type_at_the_end_goes(raw: str, expected: str) -> None:
    assert clean(raw) == expected


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("jit(step_fun)/jit(main)/layers.3/mlp/dot_general", "step_fun/layers.*/mlp/dot_general"),
        ("jit(step_fun)/model/layers_12/norm/mul", "step_fun/model/layers_*/norm/mul"),
        ("jit(f)/h.7/attn/dot", "f/h.*/attn/dot"),
        ("jit(f)/vmap(jit(g))/while/body/add", "f/g/add"),
        ("jit(f)/named_1/add", "f/named/add"),
        ("jit(f)/tuner_attention_decode/while/body/jit(_where)/select_n", "f/tuner_attention_decode/select_n"),
        ("jit(f)/rqkgd,rbkd->rqkgb/dot_general", "f/dot_general"),
    ],
)
def test_folding(scope: str, expected: str) -> None:
    assert fold(scope) == expected


def test_grouping_drops_the_primitive_but_never_everything() -> None:
    assert group("jit(f)/jit(main)/layers.0/mlp/dot_general") == "f/layers.*/mlp"
    assert group("jit(f)/tuner_attention_decode/while/body/jit(_where)") == "f/tuner_attention_decode"
    assert group("add") == "add"
    assert group("jit(main)/while") == "jit(main)/while"


@pytest.mark.slow
@given(st.text(max_size=80))
def test_any_text_is_folded(scope: str) -> None:
    assert isinstance(group(scope), str)
    assert group(scope) or not scope


@given(st.integers(0, 999), st.integers(0, 999))
def test_layers_fold_together(one: int, other: int) -> None:
    assert fold(f"jit(f)/layers.{one}/mlp/dot") == fold(f"jit(f)/layers.{other}/mlp/dot")
