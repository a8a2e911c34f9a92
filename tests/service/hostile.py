"""Requests that nobody with good intentions sends. Each is refused with a 4xx and changes nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

WRITE = "/v1/recommendations/2/publish"
ASK = "/v1/recommendations?model="


class Hostile(NamedTuple):
    name: str
    method: str
    target: str
    options: dict[str, Any]


def _get(name: str, target: str, **options: Any) -> Hostile:
    return Hostile(name, "GET", target, options)


def _headers(name: str, target: str = "/v1/studies", method: str = "GET", **headers: str) -> Hostile:
    return Hostile(name, method, target, {"headers": {key.replace("_", "-"): value for key, value in headers.items()}})


TRAVERSAL = [
    _get("dots", "/v1/studies/../../etc/passwd"),
    _get("encoded dots", "/v1/studies/%2e%2e%2f%2e%2e%2fetc%2fpasswd"),
    _get("doubly encoded dots", "/v1/studies/%252e%252e%252fetc"),
    _get("backslashes", "/v1/studies/..%5c..%5cwindows"),
    _get("overlong dots", "/v1/studies/%c0%ae%c0%ae/"),
    _get("absolute name", "/v1/studies/%2Fetc%2Fpasswd"),
    _get("hidden name", "/v1/studies/.ssh"),
    _get("dots in the trials", "/v1/studies/..%2f/trials"),
    _get("dots in the stylesheet", "/docs/../../settings.py"),
    _get("another file as the stylesheet", "/docs/%2e%2e/app.py"),
    _get("trial by path", "/v1/trials/..%2f1"),
    _get("profile by path", "/v1/profiles/diff?baseline=../../etc&candidate=1"),
    _get("logdir as a parameter", "/v1/profiles/diff?baseline=1&candidate=2&logdir=/etc"),
    _get("storage as a parameter", "/v1/studies?storage=sqlite:////etc/passwd"),
    _get("the database itself", "/tuner.db"),
    _get("the environment of the process", "/proc/self/environ"),
]
INJECTION = [
    _get("quote in a name", "/v1/studies/first'--"),
    _get("drop a table", "/v1/studies/first;DROP TABLE tuner_studies"),
    _get("union", "/v1/trials/1%20UNION%20SELECT%201"),
    _get("or true", "/v1/trials/1%20OR%201=1"),
    _get("limit expression", "/v1/studies?limit=1;DELETE"),
    _get("offset expression", "/v1/studies?offset=(SELECT%201)"),
    _get("state by quote", "/v1/studies?state=COMPLETE'"),
    _get("template", "/v1/studies/%7B%7B7*7%7D%7D"),
    _get("shell", "/v1/studies/$(id)"),
    _get("shell in the form", "/v1/recommendations/2/config?format=yaml;id"),
    _get("format string", "/v1/studies/%25s%25n"),
    _get("script in a name", "/v1/studies/%3Cscript%3E"),
    _get("line break in a name", "/v1/studies/a%0d%0aSet-Cookie:%20x=1"),
    _get("line break in a parameter", f"{ASK}a%0d%0aX-Evil:%201"),
    _get("deserialise me", "/v1/studies?model[$ne]=x"),
    _get("array parameter", "/v1/studies?limit[]=1"),
    _get("two values", "/v1/studies?limit=1&limit=2"),
    _get("two values in disguise", "/v1/studies?limit=1&l%69mit=2"),
]
QUESTIONS = [
    _get("another file as the form", "/v1/recommendations/config?model=a&format=../../etc/passwd"),
    _get("shell in a question", "/v1/recommendations/config?model=tiny-qwen3&format=env;id"),
    _get("what is weaker than accepted", "/v1/recommendations/config?model=$(id)"),
    _get("accept anything", "/v1/recommendations/config?model=a&accept=*"),
    _get("unknown parameter of a study", "/v1/studies/first?logdir=/etc"),
    _get("unknown parameter of a trial", "/v1/trials/1?callback=alert(1)"),
    _get("layers by the million", f"{ASK}a&layers=99999999999&hidden_size=1&heads=1&kv_heads=1&head_size=1"),
    _get("layers below nothing", f"{ASK}a&layers=-2"),
    _get("quantization by path", f"{ASK}a&quantization=../../etc"),
]
NUMBERS = [
    _get("huge id", f"/v1/trials/{'9' * 400}"),
    _get("beyond the column", "/v1/trials/2147483648"),
    _get("negative id", "/v1/trials/-1"),
    _get("zero", "/v1/recommendations/0"),
    _get("NaN id", "/v1/trials/NaN"),
    _get("exponent", "/v1/trials/1e2"),
    _get("hexadecimal", "/v1/trials/0x1"),
    _get("NaN feature", f"{ASK}a&input_tokens=NaN"),
    _get("infinite feature", f"{ASK}a&request_rate=Infinity"),
    _get("negative rate", f"{ASK}a&request_rate=-1"),
    _get("huge number", f"{ASK}a&output_tokens=1e999"),
    _get("too many devices", f"{ASK}a&device_count=99999999999"),
    _get("all rows", "/v1/studies?limit=1000000"),
    _get("negative offset", "/v1/studies?offset=-1"),
    _get("endless offset", "/v1/studies?offset=99999999999999999999"),
]
TEXT = [
    _get("zero byte in a name", "/v1/studies/a%00b"),
    _get("zero byte in a parameter", f"{ASK}a%00"),
    _get("other digits", "/v1/trials/%D9%A1"),
    _get("right to left", "/v1/studies/%E2%80%AEtsrif"),
    _get("half a surrogate", "/v1/studies/%ed%a0%80"),
    _get("broken UTF-8", "/v1/studies/%ff%fe"),
    _get("emoji", "/v1/studies/%F0%9F%92%A9"),
    _get("control characters", f"{ASK}%1b[2J"),
    _get("no model", ASK),
    _get("a long name", "/v1/studies/" + "a" * 1000),
    _get("a very long path", "/v1/studies/" + "a" * 5000),
    _get("a very long query", ASK + "a" * 5000),
    _get("many SLOs", f"{ASK}a" + "&slo=x" * 100),
]
METHODS = [
    Hostile(f"{method} {target}", method, target, {})
    for method, target in [
        ("DELETE", "/v1/studies/first"),
        ("PUT", "/v1/studies/first"),
        ("PATCH", "/v1/trials/1"),
        ("POST", "/v1/studies"),
        ("POST", "/v1/trials/1"),
        ("DELETE", "/v1/recommendations/2"),
        ("TRACE", "/v1/studies"),
        ("PROPFIND", "/v1/studies"),
        ("BREW", "/v1/studies"),
    ]
]
ACCESS = [
    _headers("unknown token", authorization="Bearer forged"),
    _headers("empty token", authorization="Bearer "),
    _headers("no scheme", authorization="a-token-of-the-tests-0123456789"),
    _headers("unsigned JWT", authorization="Bearer eyJhbGciOiJub25lIn0.eyJzY29wZSI6InB1Ymxpc2gifQ."),
    _headers("huge token", authorization="Bearer " + "a" * 8000),
    _headers("broken Basic", authorization="Basic %%%"),
    _headers("wrong password", authorization="Basic YTpi"),
    _headers("another host", host="evil.example"),
    _headers("another host with our port", host="evil.example:8000"),
    _headers("host with a path", host="127.0.0.1/evil"),
    _headers("huge headers", x_filler="a" * 20000),
    _headers("negative length", content_length="-1"),
    _headers("length in words", content_length="many"),
    _headers("through a proxy of this machine", x_forwarded_for="127.0.0.1"),
    _headers("through a proxy by its standard header", forwarded="for=127.0.0.1"),
    _headers("announced too large", content_length="99999999"),
]
FORM = "application/x-www-form-urlencoded"
DELETE = "/v1/studies/first/delete"
KEEP, MARK = "/studies/first/keep", "/recommendations/2"
_SENT = {"data": {"action": "delete", "typed": "first", "token": "a-token-of-the-tests-0123456789"}}


def _form(name: str, target: str, content: bytes, **headers: str) -> Hostile:
    return Hostile(name, "POST", target, {"content": content, "headers": {key.replace("_", "-"): value for key, value in headers.items()}})


# Of studies and recommendations. The forms have a right token in them, which no page of another site could know.
CHANGES = [
    Hostile("delete without a token", "POST", DELETE, {"json": {"name": "first"}}),
    Hostile("delete by a link", "GET", DELETE, {}),
    _headers("delete with a forged token", DELETE, "POST", authorization="Bearer forged"),
    _headers("delete as a browser would", DELETE, "POST", authorization="Basic bWU6YS10b2tlbi1vZi10aGUtdGVzdHMtMDEyMzQ1Njc4OQ=="),
    Hostile("rename without a token", "POST", "/v1/studies/first/rename", {"json": {"name": "taken"}}),
    Hostile("tags without a token", "POST", "/v1/studies/first/tags", {"json": {"tags": ["<script>"]}}),
    Hostile("archive without a token", "POST", "/v1/studies/first/archive", {}),
    Hostile("archive what is no name", "POST", "/v1/studies/..%2f..%2ffirst/archive", {}),
    Hostile("a verb that there is not", "POST", "/v1/studies/first/drop", {}),
    Hostile("submit without a token", "POST", "/v1/studies", {"json": {"study": "a", "model": "tiny-qwen3"}}),
    Hostile(
        "submit as a browser would",
        "POST",
        "/v1/studies?dry_run=true",
        {"json": {"study": "a"}, "headers": {"authorization": "Basic YTpi"}},
    ),
    Hostile("cancel without a token", "POST", "/v1/submissions/1/cancel", {}),
    Hostile("cancel by a link", "GET", "/v1/submissions/1/cancel", {}),
    Hostile("quarantine without a token", "POST", "/v1/hosts/tpu-7/quarantine", {}),
    Hostile("release by a link", "GET", "/v1/hosts/tpu-7/release", {}),
    Hostile("quarantine of a path", "POST", "/v1/hosts/..%2f..%2fetc/quarantine", {}),
    _get("hosts by quote", "/v1/hosts?host=tpu-7'&released='"),
    Hostile("priority without a token", "POST", "/v1/submissions/1/priority", {"json": {"priority": 100}}),
    Hostile("events of what is no number", "GET", "/v1/submissions/..%2f1/events", {}),
    Hostile("events of nobody", "GET", "/v1/submissions/999999/events", {}),
    _get("queue by quote", "/v1/submissions?state=QUEUED'"),
    *[
        Hostile(f"{name} at {target}", "POST", target, {**_SENT, "headers": headers})
        for target in (KEEP, MARK, "/submit", "/queue/1")
        for name, headers in {
            "another site": {"origin": "https://evil.example"},
            "a sandbox of another site": {"origin": "null"},
            "another port": {"origin": "http://127.0.0.1:9999"},
            "our name in another one": {"origin": "http://127.0.0.1:8000.evil.example"},
            "cross-site": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
        }.items()
    ],
    _form("two actions", KEEP, b"action=archive&action=delete&token=x", content_type=FORM),
    _form("a script's request", KEEP, b'{"action": "delete"}', content_type="application/json"),
    _form("plain text, which no browser asks about first", MARK, b"action=withdraw", content_type="text/plain"),
    _form("no text", MARK, b"action=%ff%fe&token=x", content_type=FORM),
    _form("fields by the hundred", MARK, b"&".join(b"f%d=1" % number for number in range(200)), content_type=FORM),
    _form("a form too large", KEEP, b"reason=" + b"a" * 20_000, content_type=FORM),
]
ALL = [*TRAVERSAL, *INJECTION, *QUESTIONS, *NUMBERS, *TEXT, *METHODS, *ACCESS, *CHANGES]
