"""Ask the tuner's REST API what to run, from Python. Needs httpx.

python rest_client.py http://127.0.0.1:8000 Qwen/Qwen3-0.6B 'TPU v6e-1' chat
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import httpx


def connect(url: str) -> httpx.Client:
    """A client of the service at `url`. A token is needed from another machine: TUNER_API_TOKEN."""
    token = os.environ.get("TUNER_API_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=url, headers=headers, timeout=10.0)


def recommendation(client: httpx.Client, **question: str) -> dict[str, Any]:
    """The answer to model, accelerator, workload, objective and slo. Raises httpx.HTTPStatusError, with the API's reason as a note."""
    answer = client.get("/v1/recommendations", params=question)
    if answer.is_error:
        error = httpx.HTTPStatusError(f"HTTP {answer.status_code}", request=answer.request, response=answer)
        error.add_note(answer.json()["detail"])  # errors are application/problem+json (RFC 9457)
        raise error
    return dict(answer.json())


def every(client: httpx.Client, path: str) -> Iterator[dict[str, Any]]:
    """All entries of a list, page by page."""
    following: str | None = path
    while following is not None:
        document = client.get(following).raise_for_status().json()
        yield from document["items"]
        following = document["page"]["next"]


def main(url: str, model: str, accelerator: str, workload: str) -> None:
    with connect(url) as client:
        found = recommendation(client, model=model, accelerator=accelerator, workload=workload)
        if found["status"] != "recommended":  # "default": vLLM's own settings; "none": not even those
            sys.exit(f"nothing was measured for this: {found['reason']}")
        print("vllm serve", model, *found["vllm_args"])
        print(f"match: {found['match']['kind']}; stale: {found['stale']['stale']}")
        for metric, expected in found["expected"].items():
            between = "" if expected["low"] is None else f" ({expected['low']:g} to {expected['high']:g})"
            print(f"{metric}: {expected['value']:g} {expected['unit']}{between}")
        study = found["evidence"].get("study")
        if study is not None:
            states = [trial["state"] for trial in every(client, f"/v1/studies/{study}/trials?limit=100")]
            print(f"evidence: study {study}, {states.count('COMPLETE')} of {len(states)} trials complete")


if __name__ == "__main__":
    main(*sys.argv[1:])
