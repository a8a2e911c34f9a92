"""Runs `tuner` command lines: in this process, or as a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tuner.cli.command_line import run

ROOT = Path(__file__).resolve().parents[3]

TABLE = "block_size,max_num_batched_tokens,arm,total_token_throughput,ttft_p99_ms\n" + "".join(
    f"{page},{budget},{arm},{(1.1 if arm == 'page_aligned' else 1) * (100 + page + budget / 10)},{50 - page / 10}\n"
    for page in (16, 32)
    for budget in (128, 256)
    for arm in ("default", "page_aligned")
)


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The whole of standard output as one document."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Terminal:
    """A working directory with a table of measured configurations; `storage` and `logdir` are in it and do not exist at first."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder / 'tuner.db'}"

    @property
    def table(self) -> Path:
        return self.folder / "table.csv"

    def run(self, *arguments: str | Path) -> Result:
        self.capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = self.capsys.readouterr()
        return Result(code, captured.out, captured.err)

    def search_arguments(self, *more: str | Path) -> list[str]:
        """A search of the table: two page sizes, two budgets, both arms."""
        basic = ["--model", "tiny-qwen3", "--page-sizes", "16,32", "--chunk-budgets", "128,256", "--workload", "demo", "--rounds", "3"]
        places = ["--storage", self.url, "--logdir", str(self.folder / "profiles")]
        table = ["--launcher", "table", "--table", str(self.table)]
        return ["search", *basic, *places, *table, *map(str, more)]

    def search(self, *more: str | Path) -> Result:
        return self.run(*self.search_arguments(*more))

    def files(self) -> dict[str, bytes]:
        """Everything below the folder, with its content."""
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file()}


def start_process(arguments: list[str], env: Mapping[str, str], module: str = "tuner.cli.main") -> subprocess.Popen[str]:
    """`python -m module ...` with the repository on its path."""
    code = "from tuner.cli.main import main; main()" if module == "tuner.cli.main" else f"from {module} import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**env, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def is_one_line_error(result: Result) -> bool:
    return result.err.startswith("error: ") and result.err.count("\n") == 1 and "Traceback" not in result.err and result.out == ""
