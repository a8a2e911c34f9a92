"""`tuner serve`: the REST API and the pages."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.access.addresses import is_loopback, listen
from tuner.cli.options import examples, json_option, logdir_option, print_json, storage_option
from tuner.cli.secret_files import from_file
from tuner.cli.serve_options import with_submitting
from tuner.core.defaults import DEFAULT_STORAGE
from tuner.core.errors import BadInput

if TYPE_CHECKING:
    from types import FrameType

    from fastapi import FastAPI

TOKEN_VARIABLE = "TUNER_API_TOKEN"  # noqa: S105  # the variable's name
_SHORTEST_TOKEN = 16
_GRACE_S = 20

EPILOG = examples(
    "tuner serve                                            # http://127.0.0.1:8000, readable for everybody on this machine",
    "tuner serve --storage postgresql://user@host/db --port 9000",
    "TUNER_API_TOKEN=$(openssl rand -hex 32) tuner serve --host 0.0.0.0",
)


@click.command(epilog=EPILOG)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; beyond loopback every request needs a token.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option("--public-url", metavar="URL", help="Where browsers find the service, if behind a proxy; reading needs a token then.")
@click.option("--max-age-days", type=click.FloatRange(0, min_open=True), default=90.0, show_default=True, help="Older evidence is stale.")
@click.option("--rate-limit", default="6000/minute", show_default=True, help="Requests of one client address; '' is no limit.")
@click.option(
    "--trusted-proxy",
    "proxies",
    multiple=True,
    metavar="ADDRESS",
    help="A proxy, or a network of them, whose X-Forwarded-For says who the client is; may be repeated. Reading needs a token then.",
)
@click.option("--require-token", is_flag=True, help="Reading needs a token on loopback, too.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True)
@with_submitting
@storage_option
@logdir_option
@json_option
def serve(
    *,
    host: str,
    port: int,
    public_url: str | None,
    max_age_days: float,
    rate_limit: str,
    proxies: tuple[str, ...],
    require_token: bool,
    log_level: str,
    submitting: dict[str, Any],
    storage: str,
    logdir: str,
    as_json: bool,
) -> None:
    """Serve recommendations, studies and profiles: REST under /v1, reference at /docs. Ends with Ctrl-C or SIGTERM.

    Reads are open on a loopback address. Anywhere else, behind a proxy, and for every write, a token is needed: TUNER_API_TOKEN in the
    environment, or the file that TUNER_API_TOKEN_FILE names, sent as "Authorization: Bearer TOKEN".
    """
    for package in ("fastapi", "uvicorn", "jinja2"):
        if importlib.util.find_spec(package) is None:
            raise BadInput(f"{package} is not installed; install vllm-tpu-tuner[ui]")
    from service.app import create_app
    from service.web.logs import configure_logs
    from service.web.settings import ServiceSettings
    from storage.upgrade import require_file
    from tuner.setup.study_setup import refuse_address

    refuse_address(logdir)
    token = os.environ.get(TOKEN_VARIABLE) or from_file(TOKEN_VARIABLE)
    if token is not None and len(token) < _SHORTEST_TOKEN:
        raise BadInput(f"{TOKEN_VARIABLE} is shorter than {_SHORTEST_TOKEN} characters; make one with: openssl rand -hex 32")
    if token is None and not is_loopback(host):
        raise BadInput(f"--host {host} is reachable from other machines, so a token is needed; set {TOKEN_VARIABLE} or use 127.0.0.1")
    _check_networks(proxies)
    _check_limit(rate_limit)
    configure_logs(log_level)
    taken = listen(host, port)
    settings = ServiceSettings(
        storage_url=storage,
        logdir=Path(logdir).expanduser(),
        host=host,
        port=taken.getsockname()[1],
        token=token,
        public_url=public_url,
        require_token=require_token or bool(proxies),
        max_age_days=max_age_days,
        rate_limit=rate_limit,
        **submitting,
    )
    try:
        require_file(storage, unless=DEFAULT_STORAGE)
        app = create_app(settings)
        url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}/"
        if as_json:
            print_json({"url": url, "docs": f"{url}docs", "token_needed": not settings.open_reads})
        else:
            print(f"serving {url} (reference: {url}docs)")
        sys.stdout.flush()
        _run(app, taken, proxies)
    finally:
        taken.close()


def _check_networks(proxies: tuple[str, ...]) -> None:
    for proxy in proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError as error:
            raise BadInput(f"--trusted-proxy {proxy}: {error}; write for instance 10.0.0.7 or 10.0.0.0/8") from error


def _check_limit(text: str) -> None:
    from service.web.limits import RateLimit

    try:
        RateLimit(text)
    except ValueError as error:
        raise BadInput(f"--rate-limit {text!r} cannot be read; write for instance 6000/minute, or '' for none") from error


def _run(app: FastAPI, taken: socket.socket, proxies: tuple[str, ...]) -> None:
    """Until SIGTERM or SIGINT; requests in flight are finished. uvicorn raises the signal once more when it is done: that one is ours."""
    import uvicorn

    from service.web.protocol import strict_http

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            app.state.service.streams.ending = True  # who follows a study would be waited for
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app,
        http=strict_http(),
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=bool(proxies),  # from anybody else X-Forwarded-For is what a client says, not who it is
        forwarded_allow_ips=list(proxies),
        log_config=None,
        timeout_graceful_shutdown=_GRACE_S,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    Server(config).run(sockets=[taken])
