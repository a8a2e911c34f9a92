"""The way of a value through the house, seen by following the calls of a real run: through which files is it handed on?

`follow` watches a run. A product file is *on the way* when one of its functions, before the run reaches its destination,

- is given the value as an argument (also inside a list, or held by an object that is given: a run's context holds the set-up),
- returns it, or gets it back from a call.

What a file merely imports or computes from plain numbers does not count, nor does what happens after the destination. The files stand in
the order in which the value first came to them. `python -m tests.ways` prints every way; ARCHITECTURE.md keeps the lists between
`<!-- way: NAME -->` and `<!-- end -->`, and tests/test_ways.py holds the two together.
"""

from __future__ import annotations

import re
import sys
import textwrap
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, GenericAlias
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("tuner", "storage", "service", "profiles")
_WIDTH = 150
_FEW = 4  # members of a list that are looked at: lists here hold one kind of thing
_GENERATED = "<string>"  # where a dataclass's own __init__ comes from


@dataclass(frozen=True)
class Way:
    """`run` does the real thing in an empty folder; `carried` are the types in which the value travels; `destination`, a function's
    qualified name and the file it is in, ends the way."""

    name: str
    run: Callable[[Path], None]
    carried: Callable[[], tuple[type, ...]]
    destination: tuple[str, str]
    most_files: int


@dataclass
class _Follower:
    carried: tuple[type, ...]
    destination: tuple[str, str]
    files: dict[str, None] = field(default_factory=dict)
    arrived: bool = False
    _known: dict[CodeType, str | None] = field(default_factory=dict)

    def __call__(self, frame: FrameType, event: str, result: Any) -> None:
        """A profile function, see sys.setprofile."""
        if self.arrived or event not in ("call", "return"):
            return
        file = self._file_of(frame)
        if event == "call":
            if file is not None and self._is_given(frame):
                self.files.setdefault(file)
            self.arrived = (frame.f_code.co_qualname, file) == self.destination
        elif result is not None and self._carries(result):
            caller = frame.f_back and self._file_of(frame.f_back)
            self.files.update({name: None for name in (file, caller) if name})

    def _file_of(self, frame: FrameType) -> str | None:
        """The product file of a frame; of a generated `__init__`, that of the class."""
        code = frame.f_code
        if code.co_filename == _GENERATED:
            owner = type(frame.f_locals.get("self"))
            return _product_file(getattr(sys.modules.get(owner.__module__), "__file__", None))
        if code not in self._known:
            self._known[code] = _product_file(code.co_filename)
        return self._known[code]

    def _is_given(self, frame: FrameType) -> bool:
        code = frame.f_code
        count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)  # *args, **kwargs
        return any(self._carries(frame.f_locals.get(name)) for name in code.co_varnames[:count])

    def _carries(self, value: Any) -> bool:
        return any(self._is_it(item) or any(map(self._is_it, _attributes(item))) for item in _members(value))

    def _is_it(self, value: Any) -> bool:
        return isinstance(value, self.carried)


def _members(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, list | tuple | set | frozenset | dict):
        yield from list(value.values() if isinstance(value, dict) else value)[:_FEW]


def _attributes(value: Any) -> Collection[Any]:
    """What an object of ours holds."""
    ours = str(type(value).__module__).partition(".")[0] in PRODUCT and not isinstance(value, type | GenericAlias)
    return list(getattr(value, "__dict__", {}).values()) if ours else ()


def _product_file(name: str | None) -> str | None:
    path = Path(name) if name else None
    if path is None or not path.is_relative_to(ROOT):
        return None
    relative = path.relative_to(ROOT)
    return str(relative) if relative.parts[0] in PRODUCT else None


def follow(way: Way, folder: Path) -> list[str]:
    """The files of the way, in order of first appearance. Raises AssertionError where the run never reached the destination."""
    follower = _Follower(way.carried(), way.destination)
    before = sys.getprofile()
    threading.setprofile(follower)  # for threads that the run starts
    sys.setprofile(follower)
    try:
        way.run(folder)
    finally:
        sys.setprofile(before)
        threading.setprofile(before)
    assert follower.arrived, f"the run of {way.name!r} never came to {way.destination}"
    return list(follower.files)


def written_down(text: str) -> Mapping[str, list[str]]:
    """The ways that a document holds: name -> the files named between its markers, in order."""
    return {
        name: re.findall(r"`([\w/]+\.py)`", body)
        for name, body in re.findall(r"<!-- way: (\w+) -->\n(.*?)<!-- end -->", text, flags=re.DOTALL)
    }


def as_written_down(way: Way, files: Sequence[str]) -> str:
    """As `written_down` reads it: a list that takes few lines."""
    words = " → ".join(f"`{name}`" for name in files)
    lines = textwrap.wrap(words, width=_WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join([f"<!-- way: {way.name} -->", *lines, "<!-- end -->"])


def _search_a_table(folder: Path) -> None:
    """`tuner search` in this process, from a YAML file, on the launcher that needs no engine."""
    from tests.tuner.cli.terminal import TABLE
    from tuner.cli.command_line import run

    (folder / "table.csv").write_text(TABLE)
    (folder / "study.yaml").write_text(
        f"model: tiny-qwen3\nstudy: s\npage_sizes: [16, 32]\nchunk_budgets: [128, 256]\nworkload: demo\nrounds: 3\n"
        f"launcher: table\ntable: {folder / 'table.csv'}\nstorage: sqlite:///{folder / 'tuner.db'}\nlogdir: {folder / 'profiles'}\n"
    )
    assert run(["search", str(folder / "study.yaml"), "--json"]) == 0


def _of_the_search() -> tuple[type, ...]:
    from tuner.core.contract import EngineSettings, LiveSettings, LoadPlan
    from tuner.search.plan import SearchPlan
    from tuner.setup.config import StudyConfig
    from tuner.setup.space import Configuration
    from tuner.setup.study_setup import StudySetup

    return StudyConfig, StudySetup, SearchPlan, Configuration, EngineSettings, LiveSettings, LoadPlan


def _of_a_window() -> tuple[type, ...]:
    from storage.records import Measurement
    from tuner.core.contract import RequestRecord, StepRecord, WindowResult

    return WindowResult, RequestRecord, StepRecord, Measurement


def _ask_the_service(folder: Path) -> None:
    """A question over HTTP that a stored recommendation answers."""
    from fastapi.testclient import TestClient

    from service.app import create_app
    from service.web.settings import ServiceSettings
    from storage.upgrade import open_storage
    from tests.service.builders import fill

    url = f"sqlite:///{folder / 'tuner.db'}"
    storage = open_storage(url)
    stored = fill(storage).recommended
    storage.close()
    with TestClient(create_app(ServiceSettings(storage_url=url)), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)) as client:
        question = {"model": stored.model, "accelerator": stored.accelerator, "workload": "chat", "slo": "ttft_p99_ms<=500"}
        assert client.get("/v1/recommendations", params=question).json()["match"]["kind"] == "exact"


def _of_an_answer() -> tuple[type, ...]:
    from storage.records import Recommendation
    from tuner.verdict.answer import Answer

    return Recommendation, Answer


WAYS = (
    Way("config", _search_a_table, _of_the_search, ("TableSession.measure", "tuner/launchers/table.py"), most_files=20),
    Way("window", _search_a_table, _of_a_window, ("SqlMeasurements.add_measurement", "storage/sql/measurements.py"), most_files=10),
    # Ends where the answer has become the bytes that are sent.
    Way("answer", _ask_the_service, _of_an_answer, ("_kept", "service/routes/recommendations.py"), most_files=10),
)


def main() -> None:
    """Prints every way as ARCHITECTURE.md keeps it."""
    import contextlib
    import os
    import tempfile

    for way in WAYS:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
            os.environ["TUNER_CACHE"] = str(Path(folder) / "cache")
            files = follow(way, Path(folder))
        sys.stdout.write(as_written_down(way, files) + "\n")


if __name__ == "__main__":
    main()
