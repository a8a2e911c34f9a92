"""Which implementation of the KV write is fastest: timed once for a device, cache and batch, then remembered."""

from __future__ import annotations

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from tuner.vllm_plugin.calibrate import fastest_implementations, prefill_batch, time_implementations

pytestmark = pytest.mark.slow  # each compiles

SHAPE = (9, 16, 4, 8)  # pages, page size, 2 x KV heads, head size
NAMES = {"token_scatter", "token_loop", "page_scatter", "page_loop"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLLM_XLA_CACHE_PATH", str(tmp_path / "xla"))
    return tmp_path / "xla"


def memo(folder: Path) -> Path:
    (found,) = folder.glob("*.json")
    return found


def test_every_implementation_is_timed_in_every_round() -> None:
    times = time_implementations(SHAPE, jnp.float32, 64, 4, rounds=2)
    assert set(times) == NAMES
    assert all(len(values) == 2 and min(values) > 0 for values in times.values())


def test_what_was_timed_once_is_remembered_and_decides(folder: Path) -> None:
    token, page, times = fastest_implementations(SHAPE, jnp.float32, 64, 4)
    assert json.loads(memo(folder).read_text()) == times and set(times) == NAMES
    assert times[f"token_{token}"] == min(times["token_scatter"], times["token_loop"])
    assert times[f"page_{page}"] == min(times["page_scatter"], times["page_loop"])
    told = {"token_scatter": 2.0, "token_loop": 1.0, "page_scatter": 1.0, "page_loop": 2.0}
    memo(folder).write_text(json.dumps(told))
    assert fastest_implementations(SHAPE, jnp.float32, 64, 4) == ("loop", "scatter", told)


def test_another_version_dtype_or_shape_is_timed_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fastest_implementations(SHAPE, jnp.float32, 64, 4)
    fastest_implementations(SHAPE, jnp.bfloat16, 64, 4)
    fastest_implementations((9, 16, 4, 16), jnp.float32, 64, 4)
    assert len(list(folder.glob("*.json"))) == 3
    monkeypatch.setattr("tuner.vllm_plugin.calibrate.WRITES_VERSION", -1)
    fastest_implementations(SHAPE, jnp.float32, 64, 4)
    assert len(list(folder.glob("*.json"))) == 4


def test_a_damaged_memo_is_timed_anew(folder: Path) -> None:
    fastest_implementations(SHAPE, jnp.float32, 64, 4)
    memo(folder).write_text("{")
    assert set(fastest_implementations(SHAPE, jnp.float32, 64, 4)[2]) == NAMES


def test_without_a_cache_folder_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_XLA_CACHE_PATH", raising=False)
    monkeypatch.chdir(tmp_path)
    assert set(fastest_implementations(SHAPE, jnp.float32, 64, 4)[2]) == NAMES
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("tokens", "width", "requests"), [(64, 4, 4), (65, 5, 2), (2, 1, 1)])
def test_the_batch_is_two_prefills_on_pages_of_their_own(tokens: int, width: int, requests: int) -> None:
    batch = prefill_batch(tokens, width, requests)
    assert int(batch.num_tokens) == tokens and int(batch.num_decodes) == 0
    np.testing.assert_array_equal(batch.query_lens, batch.seq_lens)  # the first chunk of each: it starts on a page boundary
    pages = np.asarray(batch.block_tables)[:2].ravel()
    assert len(set(pages.tolist())) == 2 * width
