"""Telling another program that a study has ended: one signed POST to an address that the operator's rules allow.

The address comes from whoever submits, and the request leaves from inside the operator's network (server-side request forgery). So only
hosts that the operator names are asked; one that resolves to a private, link-local or loopback address is asked only where the operator
names that network; the connection goes to the very address that was checked; no redirect is followed and nothing of the answer is passed
on.
"""

from __future__ import annotations

import fnmatch
import hashlib
import hmac
import http.client
import ipaddress
import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from tuner.core.errors import BadInput

SIGNATURE = "X-Tuner-Signature-256"
MOMENT = "X-Tuner-Timestamp"
LONGEST_URL = 500
_TIMEOUT_S = 10.0
_WAITS_S = (1.0, 5.0, 25.0)  # before the second, third and fourth attempt

_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,252}[a-z0-9])?")

type Address = ipaddress.IPv4Address | ipaddress.IPv6Address
type Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class AllowedHosts:
    """`names`: host names, or patterns such as *.example.com; `networks`: of addresses that are reached although they are private."""

    names: Sequence[str] = ()
    networks: Sequence[Network] = ()

    @classmethod
    def parse(cls, texts: Sequence[str]) -> AllowedHosts:
        """From what --allow-webhook-host names. Raises BadInput."""
        names, networks = [], []
        for text in texts:
            try:
                networks.append(ipaddress.ip_network(text))
            except ValueError as error:
                if not text or "/" in text or ":" in text:
                    reason = f"--allow-webhook-host {text!r} is neither a host name nor a network"
                    raise BadInput(f"{reason}; write for instance hooks.example.com, *.example.com or 10.0.0.0/8") from error
                names.append(text.lower())
        return cls(tuple(names), tuple(networks))

    def check(self, url: str) -> SplitResult:
        """The address's parts. Raises BadInput; looks nothing up."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname or "", parts.port
        except ValueError as error:
            raise _bad("is no address of a web server") from error
        if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
            raise _bad(f"is no address of a web server, or longer than {LONGEST_URL} characters")
        if parts.scheme not in ("https", "http") or not host or parts.username is not None or parts.fragment:
            raise _bad("has to be http(s)://HOST/PATH without a name or password")
        literal = _literal(host)
        if literal is None and not _HOST.fullmatch(host):
            raise _bad("names no host")
        known = self._covers(literal) if literal is not None else any(fnmatch.fnmatchcase(host, name) for name in self.names)
        if not known:
            raise _bad("goes to a host that is not allowed here", "have --allow-webhook-host name it")
        return parts

    def address_of(self, host: str, port: int) -> str:
        """The address that is asked: the host's first, where all that it has are allowed. Raises OSError, BadInput."""
        found = [ipaddress.ip_address(item[4][0]) for item in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        for address in found:
            plain = address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address
            if not plain.is_global and not self._covers(plain):
                raise _bad(f"goes to {plain}, which is not public", "have --allow-webhook-host name its network")
        return str(found[0])

    def _covers(self, address: Address) -> bool:
        return any(address in network for network in self.networks if network.version == address.version)


@dataclass(frozen=True)
class Delivery:
    """`status`: the receiver's last answer, None where there was none; `attempts` made."""

    delivered: bool
    attempts: int
    status: int | None
    reason: str = ""


def sign(secret: str, moment: str, body: bytes) -> str:
    """HMAC-SHA256 over "MOMENT.BODY", so that an old message cannot be sent again as a new one."""
    return "sha256=" + hmac.new(secret.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()


def deliver(
    url: str, event: Mapping[str, Any], *, hosts: AllowedHosts, secret: str | None, sleep: Callable[[float], None] = time.sleep
) -> Delivery:
    """Posts `event` as JSON, up to four times while the receiver cannot be reached or answers with 5xx or 429. Never raises for what the
    receiver or the network does."""
    body = json.dumps(event, sort_keys=True).encode()
    status, reason = None, ""
    for attempt, wait_s in enumerate((0.0, *_WAITS_S), start=1):
        if wait_s:
            sleep(wait_s)
        try:
            status = _post(hosts, url, body, secret)
        except BadInput as error:  # what is not allowed does not get allowed by waiting
            return Delivery(False, attempt, None, str(error))
        except (OSError, http.client.HTTPException) as error:
            status, reason = None, f"{type(error).__name__}: {error}"[:200]
            continue
        if 200 <= status < 300:
            return Delivery(True, attempt, status)
        reason = f"answered {status}"
        if status < 500 and status != 429:
            break
    return Delivery(False, attempt, status, reason)


def _post(hosts: AllowedHosts, url: str, body: bytes, secret: str | None) -> int:
    parts = hosts.check(url)
    host, tls = str(parts.hostname), parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    address = hosts.address_of(host, port)
    connection = (
        http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=ssl.create_default_context())
        if tls
        else (http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S))
    )
    # The name is looked up once: by the time of a second look-up it could lead elsewhere.
    connection._create_connection = lambda _address, timeout, source: socket.create_connection((address, port), timeout, source)  # type: ignore[attr-defined]
    moment = str(int(time.time()))
    headers = {"Content-Type": "application/json", "User-Agent": "vllm-tpu-tuner", MOMENT: moment}
    if secret is not None:
        headers[SIGNATURE] = sign(secret, moment, body)
    try:
        connection.request("POST", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _bad(reason: str, fix: str = "name another address") -> BadInput:
    return BadInput(reason, setting="webhook", fix=fix)
