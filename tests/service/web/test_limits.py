from __future__ import annotations

import pytest

from service.web.limits import RateLimit, client_key


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),  # IPv4 on a socket for both families
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_clients_are_told_apart_by_address(host: str, key: str) -> None:
    assert client_key(host) == key


def test_one_client_does_not_use_up_what_another_may() -> None:
    limit = RateLimit("3/minute")
    assert [limit.take("a") is None for _ in range(5)] == [True, True, True, False, False]
    assert limit.take("b") is None


def test_a_large_limit_drawn_in_portions_is_still_that_limit() -> None:
    limit = RateLimit("500/minute")
    assert sum(limit.take("a") is None for _ in range(700)) == 500


def test_none_is_no_limit_and_nonsense_is_refused() -> None:
    assert all(RateLimit("").take("a") is None for _ in range(100))
    with pytest.raises(ValueError, match="parse"):
        RateLimit("many")
