"""The settings of a running service, in one frozen object; `tuner serve` fills it from its options."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tuner.access.addresses import is_loopback
from tuner.core.defaults import DEFAULT_LOGDIR, DEFAULT_STORAGE
from tuner.fleet.allowed import Allowed
from tuner.fleet.webhook import AllowedHosts

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class ServiceSettings:
    """`token` (from TUNER_API_TOKEN) has every scope; those in the database have their own. Rate limits are those of the `limits` package,
    for each client address; an empty one is no limit."""

    storage_url: str = DEFAULT_STORAGE
    logdir: Path = Path(DEFAULT_LOGDIR)
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    public_url: str | None = None  # where browsers find the service, e.g. behind a proxy; for absolute links
    require_token: bool = False  # also on loopback: a proxy there may pass on what comes from elsewhere, and say nothing of it
    max_age_days: float = 90.0  # older evidence is called stale
    max_body_bytes: int = 16 * 1024
    max_query_bytes: int = 4 * 1024
    rate_limit: str = "6000/minute"
    write_rate_limit: str = "60/minute"
    failed_auth_rate_limit: str = "20/minute"
    allowed: Allowed = field(default_factory=Allowed)  # what a submitted study may ask for
    most_submissions: int = 50  # of one token in the queue at once
    webhook_hosts: AllowedHosts = field(default_factory=AllowedHosts)
    webhook_secret: str | None = field(default=None, repr=False)
    host_webhook: str | None = field(default=None, repr=False)  # told of hosts that go into quarantine and out of it
    refresh_s: float = 0.5  # an answer may lag up to twice as long behind what other processes write

    @property
    def open_reads(self) -> bool:
        """On loopback everybody on this machine may read; from elsewhere every request needs a token. A public address means elsewhere."""
        public = urlsplit(self.public_url).hostname or "" if self.public_url else "localhost"
        return is_loopback(self.host) and is_loopback(public) and not self.require_token

    @property
    def host_names(self) -> frozenset[str] | None:
        """The host names that a request may be for, None for any. With open reads the check keeps a web page from reading through a
        name of its own that it points to this machine (DNS rebinding)."""
        if not self.open_reads:
            return None
        public = urlsplit(self.public_url).hostname if self.public_url else None
        return frozenset(name for name in (*_LOOPBACK_NAMES, self.host, public) if name)
