"""A profile of a server that runs already: `vllm serve` with a profiler, reached by URL, its profile folder on this machine.

POST /start_profile, a load, POST /stop_profile. The server writes where its own --profiler-config says; what is new there is copied into
the logdir. Steps are told apart by the markers in the trace, since nobody sees the server's scheduler from outside. A server that was
started with an API key is asked with the one in VLLM_API_KEY, where vLLM itself looks for it.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from profiles.links import XPLANE_SUFFIX
from profiles.session_plan import PhasePlan
from tuner.core.contract import ProfileTarget
from tuner.core.errors import BadInput, FailureClass, TrialFailed
from tuner.core.numbers import number

STOP_TIMEOUT_S = 300.0  # the profiler writes about 5 MB a second
_FIRST_TOKEN = 3  # ids below are often special
_SHOWN = 200


@dataclass(frozen=True)
class RemoteLoad:
    """What is sent, twice: once to warm up, once under the profiler. Prompts are random token ids, new each time."""

    requests: int = 16
    concurrency: int = 4
    prompt_tokens: int = 128
    output_tokens: int = 16
    vocabulary: int = 1000  # ids are below this; every real vocabulary is larger

    @property
    def steps(self) -> int:
        """About how many steps the server takes for it: one a request for its prompt, and each answer's tokens, `concurrency` at a time."""
        return self.requests + -(-self.requests // self.concurrency) * self.output_tokens

    def check(self) -> None:
        """Raises BadInput for a load whose trace would be larger than a trial's may be. Which device serves is not known from outside, so a
        TPU is assumed, whose steps are the larger ones."""
        most = PhasePlan().most_steps("tpu")
        if self.steps > most:
            raise BadInput(
                f"--requests {self.requests} with --output-tokens {self.output_tokens} are about {self.steps} steps, too large a trace "
                f"(at most {most} steps); lower one of them"
            )


class RunningServer:
    """`vllm serve` at a URL such as http://127.0.0.1:8000. Every method raises BadInput where it cannot be reached."""

    def __init__(self, url: str, timeout_s: float) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise BadInput(f"--url {url}: use http://HOST:PORT of a running vllm serve")
        self.url = url
        self._place = parts.hostname, parts.port or 80
        self._timeout_s = timeout_s

    def model(self) -> str:
        status, body = self._ask("GET", "/v1/models")
        if status == http.client.UNAUTHORIZED:
            raise BadInput(f"--url {self.url} asks for an API key; set VLLM_API_KEY")
        if status != http.client.OK:
            raise BadInput(f"--url {self.url}: /v1/models answers {status}; is this a vllm serve?")
        try:
            return str(json.loads(body)["data"][0]["id"])
        except (ValueError, KeyError, IndexError, TypeError):
            raise BadInput(f"--url {self.url}: /v1/models names no model; is this a vllm serve?") from None

    def send(self, model: str, load: RemoteLoad, seed: int) -> None:
        """The whole load. Raises TrialFailed where a request fails."""
        rng = random.Random(seed)  # noqa: S311  # prompts, not secrets
        prompts = [[rng.randrange(_FIRST_TOKEN, load.vocabulary) for _ in range(load.prompt_tokens)] for _ in range(load.requests)]
        with ThreadPoolExecutor(load.concurrency) as pool:
            list(pool.map(lambda prompt: self._complete(model, prompt, load.output_tokens), prompts))

    def _complete(self, model: str, prompt: list[int], output_tokens: int) -> None:
        request = {"model": model, "prompt": prompt, "max_tokens": output_tokens, "ignore_eos": True, "temperature": 0.0}
        extra = {"return_token_ids": True, "detokenize": False}  # works without a tokenizer, too
        status, body = self._ask("POST", "/v1/completions", {**request, **extra})
        if status != http.client.OK:
            raise TrialFailed(FailureClass.INTERNAL, f"{self.url} refused a request: {status} {_text(body)}")

    def profiler(self, action: str) -> None:
        """`action`: "start" or "stop"."""
        status, body = self._ask("POST", f"/{action}_profile", timeout_s=STOP_TIMEOUT_S)
        if status == http.client.NOT_FOUND:
            example = '--profiler-config \'{"profiler": "torch", "torch_profiler_dir": "/absolute/folder"}\''
            raise BadInput(f"--url {self.url} was started without a profiler; start vllm serve with {example}")
        if status != http.client.OK:
            raise TrialFailed(FailureClass.INTERNAL, f"{self.url} refused /{action}_profile: {status} {_text(body)}")

    def _ask(self, method: str, path: str, document: Any = None, timeout_s: float | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*self._place, timeout=timeout_s or self._timeout_s)
        headers = {"Content-Type": "application/json"} if document is not None else {}
        if key := os.environ.get("VLLM_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        try:
            connection.request(method, path, json.dumps(document) if document is not None else None, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except TimeoutError:
            raise TrialFailed(
                FailureClass.TIMEOUT, f"{self.url}{path} did not answer within {number(timeout_s or self._timeout_s)} s"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise BadInput(f"--url {self.url}: no answer ({error}); is vllm serve running there?") from error
        finally:
            connection.close()


def capture_running(
    server: RunningServer,
    load: RemoteLoad,
    profiler_dir: Path,
    target: ProfileTarget,
    doing: Callable[[str], None],
    number: int = 1,
) -> list[Path]:
    """Warm up, capture, copy. Returns the copies, one a host. Raises BadInput, TrialFailed.

    `number` counts the profile sessions of this server from 1: only the first one warms it up, and each sends other prompts.
    """
    load.check()
    if not profiler_dir.is_dir():
        raise BadInput(f"--profiler-dir {profiler_dir} does not exist here; name the server's torch_profiler_dir, on this machine")
    folder = target.folder
    model = server.model()
    before = _profile_files(profiler_dir)
    if number == 1:
        doing("warming up")
        server.send(model, load, seed=0)
    doing("profiling")
    server.profiler("start")
    try:
        server.send(model, load, seed=number)
    finally:
        server.profiler("stop")
    fresh = _profile_files(profiler_dir) - before
    if not fresh:
        raise BadInput(f"no new profile below --profiler-dir {profiler_dir}; name the torch_profiler_dir that the server was started with")
    newest = max(fresh, key=lambda path: path.stat().st_mtime).parent
    folder.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copyfile(path, folder / path.name)) for path in sorted(fresh) if path.parent == newest]


def _profile_files(folder: Path) -> set[Path]:
    return set(folder.rglob(f"*{XPLANE_SUFFIX}"))


def _text(body: bytes) -> str:
    return " ".join(body.decode(errors="replace").split())[:_SHOWN]
