"""When no page of a prompt is in another. What is left out then: test_real_schedule.py."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tuner.engine.lone_pages import none_shared

PROMPTS = st.lists(st.tuples(st.lists(st.integers(0, 30), max_size=3, unique=True).map(tuple), st.integers(0, 30)), max_size=5)


def test_a_page_in_two_prompts_is_shared() -> None:
    assert none_shared([((1, 2), 10), ((3,), 11)])
    assert not none_shared([((1, 2), 10), ((1, 3), 11)])


def test_equal_prompts_share_what_follows_them_even_without_a_whole_page() -> None:
    assert not none_shared([((), 10), ((), 10)])


def test_no_prompts_share_nothing() -> None:
    assert none_shared([])


@examples(200)
@given(PROMPTS)
def test_it_says_so_exactly_where_no_two_have_anything_in_common(prompts: Sequence[tuple[tuple[int, ...], int]]) -> None:
    apart = all(
        not set(pages) & set(others) and whole != other
        for index, (pages, whole) in enumerate(prompts)
        for others, other in prompts[index + 1 :]
    )
    assert none_shared(prompts) is apart
