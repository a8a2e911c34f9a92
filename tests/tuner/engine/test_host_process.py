"""Two installations that meet: a host of another release, and one that does not keep to the protocol. The hosts are real processes that
speak our own wire; only what they import is nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tuner.core.errors import EngineLost, FailureClass, TrialFailed
from tuner.engine import commands
from tuner.engine.commands import CommandHost
from tuner.engine.host_process import HostLost, HostProcess, failure_class
from tuner.engine.messages import Forked, Nothing, Run, Status
from tuner.engine.processes import group_alive, kill_group
from tuner.engine.protocol import PROTOCOL_VERSION, receive

pytestmark = pytest.mark.slow

HOST = """
    import os, socket, sys, time
    from tuner.engine import forking
    from tuner.engine.messages import Run
    from tuner.engine.protocol import ProtocolViolation, read_message, send

    class Small(forking.Host):
        def import_engine(self):
            {imports}

        def start(self, request):
            if request.op != "run":
                raise ProtocolViolation(f"unknown operation {{request.op!r}}")
            message = read_message(Run, request.params, "run")
            return self.fork(message.log_path, lambda: time.sleep(600) if message.argv[0] == "sleep" else int(message.argv[0]))

    {main}
"""
OLD_HOST = "send(socket.socket(fileno=int(sys.argv[1])), {'id': 0, 'result': {'pid': 1, 'threads': 1}}); time.sleep(60)"
ODD_HELLOS = [
    f"send(socket.socket(fileno=int(sys.argv[1])), {{'id': 0, {hello}}}); time.sleep(60)"
    for hello in (
        "'result': [2]",
        "'result': None",
        "'error': 'no'",
        "'error': {'class': 'startup'}",
        "'error': {'class': 1, 'message': 'x'}",
    )
]
NO_REPLY = "send(socket.socket(fileno=int(sys.argv[1])), {'id': 0, 'outcome': 1}); time.sleep(60)"

Start = Callable[..., HostProcess]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """A host whose module has this import step and this main."""
    started: list[HostProcess] = []

    def begin(
        main: str = "forking.run_host(Small)", imports: str = "pass", timeout_s: float = 60.0, kind: type[HostProcess] = HostProcess
    ) -> HostProcess:
        (tmp_path / "small_host.py").write_text(textwrap.dedent(HOST).format(main=main, imports=imports))

        class Client(kind):  # type: ignore[valid-type,misc]
            what, module, log_name = "small host", "small_host", "small.log"
            import_timeout_s = timeout_s

        env = {**os.environ, "PYTHONPATH": str(tmp_path)}
        started.append(Client(None, env, tmp_path / "logs"))
        return started[-1]

    yield begin
    for host in started:
        host.close()


def run(host: HostProcess, folder: Path, code: int) -> int:
    return host.ask("run", Run("", (str(code),), str(folder / "child.log")), Forked).pid


def wait(host: HostProcess, pid: int) -> int:
    while (code := host.exit_code(pid)) is None:
        pass
    return code


def test_a_child_is_forked_and_its_exit_code_known(start: Start, tmp_path: Path) -> None:
    host = start()
    assert [wait(host, run(host, tmp_path, code)) for code in (0, 3)] == [0, 3]
    host.close()
    host.close()
    assert not group_alive(host.pid) and not host.alive


def test_a_child_collects_its_own_garbage_and_not_what_was_imported(start: Start, tmp_path: Path) -> None:
    collecting = "forking.gc.isenabled() and forking.gc.get_freeze_count() > 1000"
    host = start(
        f"Small.start = lambda self, request: self.fork({str(tmp_path / 'log')!r}, lambda: int({collecting})); forking.run_host(Small)"
    )
    assert wait(host, run(host, tmp_path, 0)) == 1


def test_a_host_of_an_older_release_is_refused_in_one_line(start: Start) -> None:
    with pytest.raises(
        EngineLost, match=rf"small host speaks version 1 .* this side version {PROTOCOL_VERSION}; install the same"
    ) as caught:
        start(OLD_HOST)
    assert caught.value.failure is FailureClass.STARTUP
    assert not isinstance(caught.value, HostLost), "another one would not be better"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("said", [[], [str(PROTOCOL_VERSION + 1)]])
def test_a_tuner_of_another_release_is_told_before_the_import(said: list[str], tmp_path: Path) -> None:
    """It may be an older one, which says no version; it shows the message of the error it gets."""
    ours, theirs = socket.socketpair()
    program = "from tuner.engine.host import EngineForker as Host, run_host; Host.import_engine = lambda self: 1 / 0; run_host(Host)"
    with ours, theirs:
        command = [sys.executable, "-c", program, str(theirs.fileno()), str(os.getpid()), *said]
        with subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.DEVNULL):
            ours.settimeout(60)
            hello = receive(ours)
    assert hello["error"]["class"] == "startup"
    assert "install the same release of vllm-tpu-tuner" in hello["error"]["message"]


def test_what_cannot_be_imported_is_said_with_its_reason(start: Start) -> None:
    with pytest.raises(EngineLost, match=r"^vLLM cannot be imported: division by zero$") as caught:
        start(imports="1 / 0")
    assert not isinstance(caught.value, HostLost)


@pytest.mark.parametrize(("main", "word"), [("sys.exit(3)", "died"), ("time.sleep(60)", r"took more than 0.5 s"), (NO_REPLY, "died")])
def test_a_host_that_never_says_hello_is_lost(start: Start, main: str, word: str) -> None:
    with pytest.raises(HostLost, match=f"the small host {word} while importing vLLM"):
        start(main, timeout_s=0.5 if main[5:] == "sleep(60)" else 60.0)


@pytest.mark.parametrize("main", ODD_HELLOS)
def test_a_hello_of_another_shape_is_a_lost_host_not_a_traceback(start: Start, main: str) -> None:
    with pytest.raises(HostLost, match="the small host died while importing vLLM"):
        start(main)


def test_a_failure_that_only_a_later_release_knows_is_internal() -> None:
    assert failure_class("timeout") is FailureClass.TIMEOUT
    assert failure_class("melted") is FailureClass.INTERNAL


def test_an_operation_that_a_host_does_not_know_is_refused_and_it_goes_on(start: Start, tmp_path: Path) -> None:
    host = start()
    for op, message, word in (("dance", Nothing(), "unknown operation 'dance'"), ("run", Status(1), "Run: the field pid is unknown")):
        with pytest.raises(TrialFailed, match=f"the small host refused {op}: .*{word}") as caught:
            host.ask(op, message, Forked)
        assert caught.value.failure is FailureClass.INTERNAL and not isinstance(caught.value, EngineLost)
    assert wait(host, run(host, tmp_path, 0)) == 0


def test_a_command_that_takes_too_long_is_ended(start: Start, tmp_path: Path) -> None:
    host = start(kind=CommandHost)
    assert isinstance(host, CommandHost)
    assert host.run("", ["3"], tmp_path / "quick.log").finish(20) == 3
    slow = host.run("", ["sleep"], tmp_path / "slow.log")
    with pytest.raises(TimeoutError, match=r"still running after 0\.1 s"):
        slow.finish(0.1)
    assert not group_alive(slow.pid)


def test_an_interrupt_while_a_command_is_stopped_leaves_nothing_behind(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first command's end was cut short by Ctrl-C: the others and the host went on."""
    host = start(kind=CommandHost)
    assert isinstance(host, CommandHost)
    running = [host.run("", ["sleep"], tmp_path / f"{number}.log") for number in range(2)]
    interrupted: list[int] = []

    def interrupt_once(pid: int, grace_s: float) -> None:
        if not interrupted:
            interrupted.append(pid)
            raise KeyboardInterrupt
        kill_group(pid, grace_s)

    monkeypatch.setattr(commands, "kill_group", interrupt_once)
    with pytest.raises(KeyboardInterrupt):
        host.close()
    assert not group_alive(host.pid)
    deadline = time.monotonic() + 20
    while any(group_alive(command.pid) for command in running) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(group_alive(command.pid) for command in running)
    host.close()


def test_a_host_whose_log_cannot_be_written_leaves_no_process_and_no_socket(start: Start, tmp_path: Path) -> None:
    (tmp_path / "logs" / "small.log").mkdir(parents=True)
    before = set(Path("/proc/self/fd").iterdir())
    with pytest.raises(IsADirectoryError):
        start()
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_a_host_that_was_killed_is_lost_with_everything_it_forked(start: Start, tmp_path: Path) -> None:
    host = start()
    os.kill(host.pid, 9)
    with pytest.raises(HostLost, match="the small host is gone"):
        run(host, tmp_path, 0)


def test_a_host_loads_nothing_that_it_does_not_need() -> None:
    """One is started for each engine, and was half of its time with NumPy, for a constant in a module that computes as well."""
    code = "import sys; from tuner.engine import commands, forking, messages; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
