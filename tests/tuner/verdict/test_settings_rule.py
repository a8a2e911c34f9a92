"""Rules that a person would say, and only those that the cells support."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.verdict.cell_claims import Place
from tuner.verdict.settings_rule import SettingsRule, find_rule

QUANTITIES: dict[str, Callable[[Place], Fraction]] = {
    "page size": lambda place: Fraction(place[0]),
    "chunk budget": lambda place: Fraction(place[1]),
    "page size / chunk budget": lambda place: Fraction(place[0], place[1]),
}
CELLS: list[Place] = [(page, budget) for page in (16, 32, 64, 128) for budget in (128, 256, 512)]


def rule_of(wins: list[Place], loses: list[Place]) -> SettingsRule | None:
    """All cells but those that lose are safe."""
    return find_rule(CELLS, wins=wins, loses=loses, safe=set(CELLS) - set(loses))


@pytest.mark.parametrize(
    ("loses", "words"),
    [
        (lambda page, budget: page > 32, "page size at most 32"),
        (lambda page, budget: page < 64, "page size at least 64"),
        (lambda page, budget: budget < 256, "chunk budget at least 256"),
        (lambda page, budget: budget > 128, "chunk budget at most 128"),
        (lambda page, budget: 4 * page > budget, "page size at most a quarter of the chunk budget"),
        (lambda page, budget: 2 * page > budget, "page size at most half of the chunk budget"),
        (lambda page, budget: 8 * page < budget, "page size at least an eighth of the chunk budget"),
    ],
)
def test_harm_on_one_side_is_a_rule_in_words(loses: object, words: str) -> None:
    harmed = [place for place in CELLS if loses(*place)]  # type: ignore[operator]
    rule = rule_of([place for place in CELLS if place not in harmed], harmed)
    assert rule is not None and rule.words == words
    assert [place for place in CELLS if not rule.holds(place)] == harmed


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (Fraction(1), "page size at most the chunk budget"),
        (Fraction(1, 48), "page size at most 1/48 of the chunk budget"),
        (Fraction(3, 8), "page size at most 3/8 of the chunk budget"),
        (Fraction(2), "page size at most twice the chunk budget"),
        (Fraction(3), "page size at most 3 times the chunk budget"),
    ],
)
def test_any_ratio_has_words(limit: Fraction, words: str) -> None:
    assert SettingsRule("page size / chunk budget", at_most=True, limit=limit).words == words


def test_every_second_cell_has_no_rule() -> None:
    wins, loses = CELLS[::2], CELLS[1::2]
    assert rule_of(wins, loses) is None


def test_a_cell_that_is_not_shown_to_be_safe_is_never_inside() -> None:
    loses = [(16, 128)]
    unsafe = [(16, 512), *loses]
    rule = find_rule(CELLS, wins=[(32, 256), (64, 256)], loses=loses, safe=set(CELLS) - set(unsafe))
    assert rule is not None and not any(rule.holds(place) for place in unsafe)


def test_one_winner_is_not_set_apart_from_the_others() -> None:
    """ "On where the page is 1/32 of the budget" would be true and useless: (32, 512) wins as well."""
    wins, loses = [(16, 512), (32, 512)], [(128, 128)]
    assert find_rule(CELLS, wins=wins, loses=loses, safe=set(wins)) is None


def test_the_simplest_rule_is_taken() -> None:
    """Page size at most 16 and the ratio at most 1/8 both separate these two."""
    cells = [(16, 128), (32, 128)]
    rule = find_rule(cells, wins=cells[:1], loses=cells[1:], safe=cells[:1])
    assert rule is not None and rule.words == "page size at most 16"


@given(st.sets(st.sampled_from(CELLS)), st.sets(st.sampled_from(CELLS)), st.sets(st.sampled_from(CELLS)))
def test_what_a_rule_says_is_shown_of_its_cells(wins: set[Place], loses: set[Place], safe: set[Place]) -> None:
    rule = find_rule(CELLS, wins=wins - loses, loses=loses, safe=safe)
    if rule is not None:
        inside = {place for place in CELLS if rule.holds(place)}
        assert inside and inside <= safe and not inside & loses and inside & (wins - loses) and inside != set(CELLS)


def all_rules(wins: set[Place], loses: set[Place], safe: set[Place]) -> list[SettingsRule]:
    """By trying each one on each cell: what may be a rule at all."""
    found = []
    for rule in (SettingsRule(name, at_most, value(p)) for name, value in QUANTITIES.items() for at_most in (True, False) for p in CELLS):
        inside = {place for place in CELLS if rule.holds(place)}
        kept, missed = len(inside & wins), len(wins - inside)
        if inside != set(CELLS) and not inside & loses and inside <= safe and kept >= max(1, missed) and (not missed or len(inside) > 1):
            found.append(rule)
    return found


@given(st.sets(st.sampled_from(CELLS)), st.sets(st.sampled_from(CELLS)), st.sets(st.sampled_from(CELLS)))
def test_a_rule_is_found_where_there_is_one_and_leaves_out_the_fewest_wins(wins: set[Place], loses: set[Place], unsafe: set[Place]) -> None:
    wins, safe = wins - loses, set(CELLS) - unsafe
    possible = all_rules(wins, loses, safe)
    rule = find_rule(CELLS, wins=wins, loses=loses, safe=safe)
    assert (rule is None) is (not possible) and (rule is None or rule in possible)
    left_out = [sum(not item.holds(place) for place in wins) for item in possible]
    assert rule is None or sum(not rule.holds(place) for place in wins) == min(left_out)


def test_a_factor_of_numbers_may_separate_them() -> None:
    places: list[Place] = [(16, 128, (("mode", "a"), ("share", share))) for share in (0.5, 0.75, 1)]
    places += [(32, 128, (("mode", "a"), ("share", share))) for share in (0.5, 0.75, 1)]
    loses = [place for place in places if dict(place[2])["share"] == 1]  # type: ignore[misc]
    good = [place for place in places if place not in loses]
    rule = find_rule(places, wins=good, loses=loses, safe=good)
    assert rule is not None and rule.words == "share at most 0.75"
    assert [rule.holds(place) for place in places] == [place in good for place in places]


def test_words_separate_nothing() -> None:
    places: list[Place] = [(16, 128, (("mode", mode),)) for mode in "ab"]
    assert find_rule(places, wins=places[:1], loses=places[1:], safe=places[:1]) is None
