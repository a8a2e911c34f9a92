"""What may be asked of TensorBoard: an allow-list of routes and parameters, for reading below one logdir only.

TensorBoard has no access control, and XProf's plugin opens whatever folder a client names (`session_path`, `run_path`, a `run` that leaves
the logdir), writes into it (`generate_cache`) and connects to any host (`capture_profile`, with tensorboard 2.21 and xprof 2.24). So the
service asks `checked` before it passes anything on, and `Guard` stands inside TensorBoard's own process, whoever connects to its port.
"""

from __future__ import annotations

import gzip
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from profiles.errors import ProfileError
from profiles.links import session_folder
from profiles.xprof_notice import with_notice

AT_ONCE = 32  # requests in TensorBoard's process; each has a thread there
_LONGEST = 500  # characters of a value
_PLUGIN = "/data/plugin"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})

_WORD = re.compile(r"[A-Za-z0-9_@ .:;,=-]*")
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?(e[+-]?[0-9]{1,3})?")  # as JavaScript writes it
_TEXT = re.compile(r"[^\x00-\x1f\x7f]*")
_NAME = re.compile(r"(?!\.{1,2}$)[^\x00-\x1f\x7f/\\]*")  # of one file
_STATIC = re.compile(r"/(font-roboto/|tf-imports/(vs/([a-z]+/)*)?)?[A-Za-z0-9_.-]+\.(html|js|css|svg|woff2|ttf)|/")
_XPROF_STATIC = re.compile(rf"{_PLUGIN}/profile/([a-z0-9_]+\.(html|js|css|woff2|wasm))?")
_XPROF_PAGE = re.compile(rf"{_PLUGIN}/profile/(index\.html)?$")
_EXPERIMENT = re.compile(r"^/experiment/[A-Za-z0-9_-]{1,40}(?=/data/)")  # TensorBoard has one, and its pages name it so
# They name a folder of the client's choice, or an address: not even a page that ignores them is given where one stands in its address.
_NEVER = frozenset({"session_path", "run_path", "service_addr", "worker_list", "logdir"})


class Refused(Exception):
    """`status`: of HTTP."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class _Route:
    parameters: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    methods: tuple[str, ...] = ("GET",)
    runs: tuple[str, ...] = ()  # parameters that name a profile session


def _words(names: str) -> dict[str, re.Pattern[str]]:
    return dict.fromkeys(names.split(), _WORD)


_SESSION = ("run", "base_session_id", "session_id")
_TOOL = {
    "tag": _WORD,
    **dict.fromkeys(_SESSION, _TEXT),
    **dict.fromkeys(("host", "hosts", "module_name", "program_id", "moduleName", "hlo_module"), _NAME),
    **_words("tqx perfetto use_saved_result full_dma names_only device_type group_by refresh_suggestion"),
    **_words("memory_space view_memory_allocation_timeline search_metadata show_metadata merge_fusion format type"),
    **_words("graph_type use_xplane show_hats_survey apply_time_scale_multiplier group_tiny_events tool"),
    **_words("replace_model new_backend is_streaming"),
    **dict.fromkeys(("resolution", "start_time_ms", "end_time_ms", "duration_ms", "unique_id", "graph_width", "op_profile_limit"), _NUMBER),
    **dict.fromkeys(("event_name", "search_prefix", "node_name", "kernel_name", "trace_filter_config"), _TEXT),
}
_CORE = {"experiment": _WORD, "experimentalPlugin": _WORD}
_SERIES = {"tag": _TEXT, "run": _TEXT, "format": _WORD, "experiment": _WORD}
_ROUTES: Mapping[str, _Route] = {
    **{
        f"/data/{name}": _Route(_CORE)
        for name in ("environment", "runs", "experiments", "experiment_runs", "notifications", "window_properties", "plugins_listing")
    },
    "/data/plugin_entry.html": _Route({"name": _WORD}),
    f"{_PLUGIN}/scalars/tags": _Route(_SERIES),
    f"{_PLUGIN}/scalars/scalars": _Route(_SERIES),
    f"{_PLUGIN}/scalars/scalars_multirun": _Route(_SERIES, ("POST",)),
    f"{_PLUGIN}/timeseries/tags": _Route(_SERIES),
    f"{_PLUGIN}/timeseries/timeSeries": _Route(_SERIES, ("POST",)),
    **{f"{_PLUGIN}/hparams/{name}": _Route(_CORE, ("POST",)) for name in ("experiment", "session_groups", "metric_evals")},
    f"{_PLUGIN}/hparams/download_data": _Route({"format": _WORD, "columnsVisibility": _TEXT, "request": _TEXT}),
    f"{_PLUGIN}/profile/runs": _Route(_TOOL),
    f"{_PLUGIN}/profile/run_tools": _Route(_TOOL, runs=_SESSION),
    f"{_PLUGIN}/profile/hosts": _Route(_TOOL, runs=_SESSION),
    f"{_PLUGIN}/profile/module_list": _Route(_TOOL, runs=_SESSION),
    f"{_PLUGIN}/profile/version": _Route(),
    f"{_PLUGIN}/profile/config": _Route(_TOOL),
    f"{_PLUGIN}/profile/data": _Route(_TOOL, runs=_SESSION),
    f"{_PLUGIN}/profile/data_csv": _Route(_TOOL, runs=_SESSION),
}


def checked(method: str, path: str, query: str, logdir: Path) -> str:
    """The query to pass on, written anew of the known parameters; "" for a page or a script, which no query changes. Raises Refused.

    `path`: decoded once, below TensorBoard's prefix. A `run` must be a session's folder that lies below `logdir` with all that it holds,
    also when symbolic links are followed.
    """
    pairs = _pairs(query)
    never = sorted({name for name, _ in pairs} & _NEVER)
    if never:
        raise Refused(400, f"{never[0]}: profiles are read below the logdir only, and captured with `tuner profile capture`")
    route = _ROUTES.get(_EXPERIMENT.sub("", path))
    if route is None:
        if not (_STATIC.fullmatch(path) or _XPROF_STATIC.fullmatch(path)):
            raise Refused(404, "there is no such page of TensorBoard here")
        _require(method, ("GET",))
        return ""
    _require(method, route.methods)
    known = [(name, value, pattern) for name, value in pairs if (pattern := route.parameters.get(name)) is not None]
    for name, value, pattern in known:
        if len(value) > _LONGEST or not pattern.fullmatch(value):
            raise Refused(400, f"{name}: that value cannot be read")
    given = {name: value for name, value, _ in known}
    if len(given) < len(known):
        raise Refused(400, "a parameter is given more than once")
    for name in route.runs:
        if given.get(name):
            _require_session(given[name], logdir)
    return urlencode(given)


def same_origin(headers: Mapping[str, str], ours: Iterable[str]) -> bool:
    """Whether a request comes from a page of ours, from an address that somebody opened, or from no browser at all.

    `headers`: by name in lower case. `ours`: host names with ports, as in a Host header, under which we are reached.
    """
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() not in {name.lower() for name in ours if name}:
        return False
    return headers.get("sec-fetch-site", "none") in {"none", "same-origin"} or headers.get("sec-fetch-mode") == "navigate"


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=50)
    except ValueError as error:  # UnicodeDecodeError is one
        raise Refused(400, "the query cannot be read") from error


def _require(method: str, allowed: tuple[str, ...]) -> None:
    if method not in allowed and not (method == "HEAD" and "GET" in allowed):
        raise Refused(405, f"use {' or '.join(allowed)} here: TensorBoard is for reading")


def _require_session(run: str, logdir: Path) -> None:
    """Raises Refused unless XProf's session `run` (`run/session`, or a session of the logdir itself) lies below the logdir."""
    above, _, session = run.rpartition("/")
    missing = Refused(404, "there is no such profile session below the logdir")
    try:
        root = logdir.resolve(strict=True)
        folder = session_folder(root, above, session)
        if not folder.resolve(strict=True).is_relative_to(root) or not folder.is_dir():
            raise missing
        if not all(file.resolve().is_relative_to(root) for file in folder.iterdir()):
            raise missing
    except (ProfileError, OSError, ValueError) as error:
        raise missing from error


type _Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Guard:
    """WSGI in front of TensorBoard: reached under a loopback name, by `checked` requests of its own pages, AT_ONCE of them."""

    def __init__(self, app: _Wsgi, logdir: Path, prefix: str = "") -> None:
        self._app = app
        self._logdir = logdir
        self._prefix = prefix.rstrip("/")
        self._places = threading.BoundedSemaphore(AT_ONCE)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            environ["QUERY_STRING"] = self._checked(environ)
        except Refused as error:
            return _answer(start_response, error.status, str(error))
        if not self._places.acquire(blocking=False):
            return _answer(start_response, 429, "TensorBoard is busy; ask again")
        try:
            if _XPROF_PAGE.search(str(environ.get("PATH_INFO", ""))):
                return _noticed(self._app, environ, start_response)
            return list(self._app(environ, start_response))  # TensorBoard makes its answers whole
        finally:
            self._places.release()

    def _checked(self, environ: Mapping[str, Any]) -> str:
        headers = {name[5:].lower().replace("_", "-"): str(value) for name, value in environ.items() if name.startswith("HTTP_")}
        host = headers.get("host", "")
        if re.sub(r":[0-9]+$", "", host).lower() not in _LOOPBACK:
            raise Refused(421, "TensorBoard answers under localhost and 127.0.0.1 only")
        if not same_origin(headers, [host]):
            raise Refused(403, "a page of another site may not ask TensorBoard")
        path = str(environ.get("PATH_INFO", "")).encode("latin-1").decode(errors="replace")
        if path != self._prefix and not path.startswith(f"{self._prefix}/"):
            raise Refused(404, "there is no such page of TensorBoard here")
        below = path[len(self._prefix) :] or "/"
        return checked(str(environ["REQUEST_METHOD"]), below, str(environ.get("QUERY_STRING", "")), self._logdir)


def _noticed(app: _Wsgi, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """XProf's page with what it does not say itself (profiles.xprof_notice)."""
    said: list[Any] = []
    body = b"".join(app(environ, lambda *words: said.extend(words)))
    status, headers, *rest = said
    if any(name.lower() == "content-encoding" and value == "gzip" for name, value in headers) and body:  # whatever was asked for
        body = gzip.decompress(body)
    noticed = with_notice(body)
    kept = [(name, value) for name, value in headers if name.lower() not in {"content-length", "content-encoding", "etag"}]
    start_response(status, [*kept, ("Content-Length", str(len(noticed)))], *rest)
    return [noticed]


def _answer(start_response: Callable[..., Any], status: int, text: str) -> list[bytes]:
    start_response(f"{status} {'Refused' if status < 429 else 'Busy'}", [("Content-Type", "text/plain; charset=utf-8")])
    return [text.encode()]
