"""Addresses to listen on: which of them only this machine can reach, and how to open one."""

from __future__ import annotations

import ipaddress
import socket

from tuner.core.errors import BadInput

_BACKLOG = 2048


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`; names other than localhost are not resolved."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises BadInput naming --host or --port where the address cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise BadInput(f"--host {host}: no address of this name ({error}); use 127.0.0.1") from error
    taken = socket.socket(family, kind, protocol)  # asyncio sets TCP_NODELAY only where the protocol is named
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        taken.listen(_BACKLOG)
    except OSError as error:
        taken.close()
        raise BadInput(f"port {port} on {host} cannot be used: {error.strerror}; choose another with --port or --host") from error
    return taken
