"""A small measured table for tests: two page sizes that work, one that never starts, and one cell that crashes the engine."""

from __future__ import annotations

from pathlib import Path

from tuner.core.contract import EngineSettings, LiveSettings, LoadPlan, PlannedRequest

TABLE = """\
block_size,max_num_batched_tokens,arm,total_token_throughput,ttft_p99_ms,start_s,measure_s,error_class,error_message
16,128,default,100,50,8,0.5,,
16,128,page_aligned,103,48,8,0.5,,
16,256,default,120,60,8,0.5,,
16,256,page_aligned,126,57,8,0.5,,
32,128,default,110,45,9,0.5,,
32,128,page_aligned,,,9,0.5,engine_crash,bus error
32,256,default,130,55,9,0.5,,
32,256,page_aligned,,,9,0.5,request_failed,3 of 20 requests failed
128,128,default,,,20,,out_of_memory,no room for 512 pages
128,256,default,,,20,,out_of_memory,no room for 512 pages
"""

SETTINGS = EngineSettings("tiny", "tiny", block_size=16, max_num_batched_tokens=256, max_num_seqs=8, max_model_len=512)
LIVE = (LiveSettings("page_aligned", 256), LiveSettings("default", 128))
PLAN = LoadPlan((PlannedRequest("r0", (1, 2, 3), 4),), 1, "0" * 64)


def write_table(folder: Path, text: str = TABLE, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path
