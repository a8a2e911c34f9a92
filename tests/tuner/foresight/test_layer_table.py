from __future__ import annotations

from pathlib import Path

import pytest

from tests.tuner.foresight.tables import product_of, real_table
from tuner.core.errors import BadInput
from tuner.foresight.layer_table import anomalies, read_layer_table

ATTENTION = "prefill_chunk_size,kv_cache_size,batch_size,is_prefill,mean_ns,p50_ns,p90_ns,max_ns\n32,0,1,True,7000,7100,7200,7300\n"


def _folder(folder: Path, layers: str, attention: str = ATTENTION) -> Path:
    (folder / "layers.csv").write_text(layers)
    (folder / "attention.csv").write_text(attention)
    return folder


def _layers(kind: str, count: int) -> str:
    rows = "".join(f"{kind},{tokens},0,1,{1000 + tokens}\n" for tokens in range(1, count + 1))
    return f"layer_name,input,kv_cache,tp_size,latency(ns)\n{rows}"


def test_times_are_seconds_and_tokens_ascend(tmp_path: Path) -> None:
    (item,), few = read_layer_table(_folder(tmp_path, _layers("post_layernorm", 100)))
    assert (item.kind, len(item.seconds)) == ("post_layernorm", 100)
    assert item.seconds[0] == pytest.approx(1.001e-6)
    assert (item.tokens[1:] > item.tokens[:-1]).all()
    assert few == ["prefill_attention: 1 point(s), too few for a fit"]


@pytest.mark.parametrize(
    ("layers", "complaint"),
    [
        ("layer_name,input,kv_cache,latency(ns)\nrope,1,0,5\n", "no column tp_size"),
        ("", "no column layer_name"),
        ("layer_name;input;kv_cache;tp_size;latency(ns)\nrope;1;0;1;5\n", "no column layer_name"),
    ],
)
def test_what_is_no_such_table_is_refused_in_one_line(tmp_path: Path, layers: str, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        read_layer_table(_folder(tmp_path, layers))


def test_a_folder_without_the_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"layers\.csv cannot be read"):
        read_layer_table(tmp_path)


def test_a_jump_between_two_sizes_is_named() -> None:
    smooth = product_of("q_proj", 4096, 4096)
    assert not [line for line in anomalies([smooth]) if "jumps" in line]
    jumping = smooth.where(smooth.tokens > 0)
    jumping.seconds[60:70] *= 2
    assert "2 jumps" in next(line for line in anomalies([jumping]) if "jumps" in line)


def test_times_below_the_roofline_are_named() -> None:
    fast = product_of("o_proj", 4096, 4096)
    fast.seconds[:20] /= 5
    assert any("20 points below 90% of the roofline" in line for line in anomalies([fast]))


@pytest.mark.slow
def test_the_real_tables_oddities_are_named() -> None:
    """One point of act_fn; weights of o_proj in VMEM; down_proj twice as slow up to 312 tokens; lm_head half as slow for one token."""
    table, few = read_layer_table(real_table())
    assert few == ["act_fn: 1 point(s), too few for a fit"]
    assert len(table) == 13
    lines = anomalies(table)
    assert any(line.startswith("o_proj") and "roofline" in line for line in lines)
    assert any(line.startswith("down_proj") and "312 -> 313" in line for line in lines)
    assert any(line.startswith("lm_head") and "1 -> 2" in line for line in lines)
