"""A receiver of webhooks for tests of the routes."""

from __future__ import annotations

from storage.records import Json
from tuner.fleet.webhook import Delivery


class Sent:
    """Instead of the network, which tests/tuner/fleet/test_webhook.py has."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Json]] = []

    def __call__(self, url: str, event: Json) -> Delivery:
        self.events.append((url, event))
        return Delivery(True, 1, 200)
