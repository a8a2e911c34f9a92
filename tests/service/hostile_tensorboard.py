"""Requests at /tensorboard/ that read or write elsewhere, reach other machines, or come from another site."""

from __future__ import annotations

from urllib.parse import quote

from tests.service.hostile import Hostile

XPROF = "/tensorboard/data/plugin/profile"
REFUSED = frozenset({400, 403, 404, 405, 414, 422})


def requests_at(outside: str, listener: str) -> list[Hostile]:
    """`outside`: a session's folder beside the logdir; `listener`: HOST:PORT of somebody who waits for a connection. The logdir is that of
    tests.service.test_hostile_tensorboard."""
    return [*_folders(outside), *_writes(outside, listener), *_addresses(listener), *_routes(outside), *_origins()]


def _get(name: str, target: str, **headers: str) -> Hostile:
    return Hostile(name, "GET", target, {"headers": {key.replace("_", "-"): value for key, value in headers.items()}})


def _folders(outside: str) -> list[Hostile]:
    """What would be read elsewhere."""
    above = "../" * 12 + outside.lstrip("/")
    named = [
        ("session_path", f"runs?session_path={quote(outside)}"),
        ("run_path", f"runs?run_path={quote(outside)}"),
        ("session_path of data", f"data?run=now&tag=trace_viewer&host=h&session_path={quote(outside)}"),
        ("run_path of data", f"data?run=now&tag=trace_viewer&host=h&run_path={quote(outside)}"),
        ("session_path, encoded name", f"runs?session%5Fpath={quote(outside)}"),
        ("session_path beside a good one", f"runs?session_path=&session_path={quote(outside)}"),
        ("session_path of the logdir's own", "hosts?run=now&tag=trace_viewer&session_path=/tmp"),
        ("session_path in a bucket", "runs?session_path=gs://bucket/logs"),
        ("session_path over HTTP", "runs?run_path=http://127.0.0.1:9/logs"),
        ("session_path as a file URL", f"runs?session_path=file://{quote(outside)}"),
        ("session_path of a static page", f"index.html?session_path={quote(outside)}"),
        ("session_path of the tools", f"run_tools?run=now&session_path={quote(outside)}"),
        ("session_path of the modules", f"module_list?run=now&session_path={quote(outside)}"),
    ]
    runs = [
        ("dots", above),
        ("absolute", outside),
        ("an absolute session", f"s/trial-0//{outside}"),
        ("backslashes", "..\\..\\etc"),
        ("dots encoded twice", "%252e%252e%252fetc%252fpasswd"),
        ("dots within", f"s/../../{outside}"),
        ("a dot", "."),
        ("two dots", ".."),
        ("nothing but slashes", "///"),
        ("a symbolic link", "out/now"),
        ("a symbolic link within a session", "s/trial-0/linked"),
        ("a zero width dot", "\u2024\u2024/etc"),
        ("an overlong name", "a" * 600),
        ("the plugin's folder", "s/trial-0/plugins/profile/now"),
    ]
    tools = [("hosts?tag=trace_viewer&run=", "hosts"), ("data?tag=overview_page&run=", "data"), ("run_tools?run=", "tools")]
    found = [_get(f"{tool} of {name}", f"{XPROF}/{start}{quote(run)}") for start, tool in tools for name, run in runs]
    files = [
        ("a module elsewhere", "data?run=s/trial-0/now&tag=graph_viewer&host=h&module_name=../../../etc/passwd"),
        ("an absolute module", f"data?run=s/trial-0/now&tag=memory_viewer&module_name={quote(outside)}/x"),
        ("a host elsewhere", "data?run=s/trial-0/now&tag=trace_viewer&host=../../../../etc/passwd"),
        ("hosts elsewhere", "data?run=s/trial-0/now&tag=trace_viewer&hosts=h,..%2f..%2fetc"),
        ("a program elsewhere", "data?run=s/trial-0/now&tag=graph_viewer&program_id=..%5c..%5cetc"),
        ("a tool elsewhere", "data?run=s/trial-0/now&tag=../../etc/passwd&host=h"),
        ("another's comparison", "data?run=s/trial-0/now&tag=overview_page&base_session_id=out/now"),
        ("a device by path", "data?tag=perf_counters&names_only=1&device_type=../../../etc/passwd"),
        ("a number in words", "data?run=s/trial-0/now&tag=trace_viewer&resolution=1;ls"),
        ("two runs", "data?run=s/trial-0/now&run=out/now&tag=trace_viewer"),
        ("CSV of a symbolic link", "data_csv?run=out/now&tag=hlo_stats&host=h"),
        ("a line break", "data?run=s/trial-0/now&tag=trace_viewer&host=h%0d%0aX-Evil:1"),
        ("broken UTF-8", "data?run=%ff%fe&tag=trace_viewer"),
    ]
    return [*(_get(name, f"{XPROF}/{target}") for name, target in [*named, *files]), *found]


def _writes(outside: str, listener: str) -> list[Hostile]:
    return [
        _get("a cache elsewhere", f"{XPROF}/generate_cache?session_path={quote(outside)}"),
        _get("a cache of ours", f"{XPROF}/generate_cache?session_path=now&tools=overview_page"),
        Hostile("a cache by POST", "POST", f"{XPROF}/generate_cache", {"data": {"session_path": outside}}),
        Hostile("data by POST", "POST", f"{XPROF}/data", {"data": {"session_path": outside}}),
        Hostile("runs by POST", "POST", f"{XPROF}/runs?session_path={quote(outside)}", {}),
        Hostile("a capture by POST", "POST", f"{XPROF}/capture_profile", {"data": {"service_addr": listener}}),
        Hostile("delete runs", "DELETE", "/tensorboard/data/runs", {}),
        Hostile("put a page", "PUT", "/tensorboard/index.html", {"content": b"x"}),
    ]


def _addresses(listener: str) -> list[Hostile]:
    return [
        _get("a capture", f"{XPROF}/capture_profile?service_addr={listener}&duration=1"),
        _get("a capture by gRPC", f"{XPROF}/capture_profile?service_addr=grpc://{listener}&duration=1000"),
        _get("a capture by workers", f"{XPROF}/capture_profile?service_addr=&worker_list={listener}"),
        _get("a capture with encoded dots", f"{XPROF}/x/%2e%2e/capture_profile?service_addr={listener}"),
        _get("a capture with an encoded letter", f"{XPROF}/c%61pture_profile?service_addr={listener}"),
        _get("a capture with two slashes", f"/tensorboard//data/plugin/profile/capture_profile?service_addr={listener}"),
        _get("a capture with a slash behind", f"{XPROF}/capture_profile/?service_addr={listener}"),
        _get("a capture in capitals", f"{XPROF}/Capture_Profile?service_addr={listener}"),
        _get("a capture of a TPU by name", f"{XPROF}/capture_profile?service_addr=tpu&is_tpu_name=true"),
        _get("an address at another route", f"{XPROF}/data?run=s/trial-0/now&tag=trace_viewer&service_addr={listener}"),
        _get("an absolute address as the path", f"/tensorboard/http://{listener}/"),
        _get("a path from an absolute session", f"{XPROF}/runs?session_path=http://{listener}/x"),
    ]


def _routes(outside: str) -> list[Hostile]:
    return [
        _get(f"route {path}", f"/tensorboard/{path}")
        for path in (
            "data/logdir",
            "data/plugin/projector/info",
            "data/plugin/debugger-v2/source_files/list",
            "data/plugin/text/text?tag=a&run=b",
            "data/plugin/images/individualImage?blob_key=x",
            "data/plugin/profile/local",
            "data/plugin/profile/../profile/generate_cache",
            "..%2f..%2fv1/studies",
            "%2e%2e/%2e%2e/etc/passwd",
            "%252e%252e/%252e%252e/etc/passwd",
            "data/..%5c..%5cx",
            quote(outside, safe=""),
            "font-roboto/..%2f..%2findex.html",
            "data/runs%00",
            "data/runs;x=1",
        )
    ]


def _origins() -> list[Hostile]:
    page = "/tensorboard/data/runs"
    return [
        _get("from another site", page, origin="https://evil.example"),
        _get("from a page without an origin", page, origin="null"),
        _get("from another port of this machine", page, origin="http://127.0.0.1:9"),
        _get("from a name that looks like ours", page, origin="http://127.0.0.1.evil.example:8000"),
        _get("from an image of another site", page, sec_fetch_site="cross-site", sec_fetch_mode="no-cors"),
        _get("from another page of this site", page, sec_fetch_site="same-site", sec_fetch_mode="cors"),
        Hostile(
            "a form of another site", "POST", "/tensorboard/data/plugin/hparams/experiment", {"headers": {"origin": "https://evil.example"}}
        ),
    ]
