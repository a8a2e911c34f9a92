"""Rules that put each HLO op into a category (attention, mlp, kv_write ...). The set of rules has a version.

Rules look at the scope (JAX named scopes and, for vLLM's torch models, layer classes and aten ops), at the scope of the nearest producer
(`context`: a RowParallelLinear fed by the gate is the MLP's, one fed by attention is the output projection) and at XLA's category, never at
an HLO name alone: those change with every compilation. The first rule that matches decides. Any change of a rule is a new RULES_VERSION,
which every summary carries. Rules for TPU kernels are derived from their sources. They have not been tested on a profile
of vLLM on a TPU, because we have none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

RULES_VERSION = "2026.11-3"


class Category(StrEnum):
    """Members are never removed: stored summaries refer to them."""

    KV_WRITE = "kv_write"
    ATTENTION = "attention"
    ATTENTION_FUSED_KV = "attention_fused_kv"  # one kernel writes the KV cache and attends: the two cannot be told apart
    PROJECTION = "projection"  # query, key, value and output projections, token embedding, LM head
    MLP = "mlp"
    NORM = "norm"  # with the residual addition in front of it, which vLLM's layer includes
    SAMPLING = "sampling"
    COPY = "copy"  # copies that XLA put in, and data movement that belongs to no scope
    LOOP_CONTROL = "loop_control"  # XLA:CPU: of a loop what its body does not take, mostly the tracer's own work (profiles.steps)
    COLLECTIVE = "collective"  # between devices; over a group of one device it is its layer's (hlo.LOCAL)
    HOST_GAP = "host_gap"  # no program on the device
    IDLE = "idle"  # a program on the device, but no op running
    UNATTRIBUTED = "unattributed"


CATEGORIES = tuple(Category)
GAPS = (Category.HOST_GAP, Category.IDLE)


@dataclass(frozen=True)
class Rule:
    """All given patterns must be found (re.search); None matches everything."""

    name: str
    category: Category
    scope: re.Pattern[str] | None = None
    context: re.Pattern[str] | None = None
    hlo_category: re.Pattern[str] | None = None
    module: re.Pattern[str] | None = None

    def matches(self, scope: str, context: str, hlo_category: str, module: str) -> bool:
        pairs = ((self.scope, scope), (self.context, context), (self.hlo_category, hlo_category), (self.module, module))
        return all(pattern is None or pattern.search(value) is not None for pattern, value in pairs)


def _re(alternatives: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(alternatives))


_PART = r"(?:^|/)"  # the start of a component of the scope
_MLP = _re(
    [r"MergedColumnParallelLinear", r"\bmlp\b", r"\bffn?w?\b", r"feed_forward", r"gate_(up_)?proj", r"\bup_proj", r"down_proj",
    r"[Mm]o[Ee]\b", r"experts", r"aten::(silu|gelu)", r"SiluAndMul", r"\bwi_[01]\b", r"\b(up|down)_projection\b", r"\bgating\b"],
)  # fmt: skip
_NORM = _re([r"[Nn]orm(?!al)", r"[Nn]ormaliz", r"aten::(rsqrt|pow|mean|var|rms_norm)\b"])
_EMBED = _re([r"embed", r"lm_?head", r"[Ll]ogits"])
_PROJECTION = _re(
    [r"Linear\b", _PART + r"linear\b", r"\b(q|k|v|qkv|o|kv|out|q_a|q_b|kv_a|kv_b)_proj\b", _EMBED.pattern, r"einsum_linear",
    r"matmul_kernel"],
)  # fmt: skip
_ROW_LINEAR = _re([r"RowParallelLinear\b"])
_ROTARY = _re([r"aten::index_select", r"rotary", r"\brope\b"])
_ATTENTION = _re([r"tuner_attention", r"[Aa]ttention", r"\b(self_)?attn(_op)?\b", r"_jax_attn_func", r"\bRPA\b", _ROTARY.pattern])
_KV_WRITE = _re([r"tuner_kv_write", r"\b(kv_cache_update|update_kv_cache|write_kv|reshape_and_cache)"])
_SAMPLING = _re([r"\bsampl", r"argmax", r"top_?[kp]\b", r"categorical", r"gumbel", r"threefry", r"random_(bits|wrap|seed)", r"penalt"])
_GENERIC = _re([_PART + r"aten::"])  # a torch op outside any layer that says its name: its producer tells what it is part of
_COLLECTIVES = _re([r"^(async )?(all-reduce|all-gather|all-to-all|reduce-scatter|collective-\w+|ragged-all-to-all|send|recv)"])
_COPIES = _re([r"^(copy|copy-start|copy-done|async copy|async-copy|host transfer|infeed|outfeed)"])
_MOVES = _re(
    [r"^(data formatting|transpose|reshape|broadcast|pad|slice|dynamic-slice|concatenate|iota|bitcast|convert|dynamic-update-slice)",
    r"slice-(start|done)"]
)  # fmt: skip
_RPA = _re([r"ragged_paged_attention", r"\bRPA", r"-p_\d+-bq_\d+"])

RULES: tuple[Rule, ...] = (
    Rule("kv write scope", Category.KV_WRITE, scope=_KV_WRITE),
    Rule("RPA kernel", Category.ATTENTION_FUSED_KV, scope=_RPA, hlo_category=_re([r"custom[- ]call", r"custom fusion"])),
    Rule("attention scope", Category.ATTENTION, scope=_re([r"tuner_attention"])),
    Rule("collective op", Category.COLLECTIVE, hlo_category=_COLLECTIVES),
    Rule("copy op", Category.COPY, hlo_category=_COPIES),
    Rule("sampling program", Category.SAMPLING, module=_re([r"sampl", r"jit_split$", r"threefry", r"jit__?(rejection|penalt)"])),
    Rule("down projection", Category.MLP, scope=_ROW_LINEAR, context=_MLP),
    Rule("mlp scope", Category.MLP, scope=_MLP),
    Rule("sampling scope", Category.SAMPLING, scope=_SAMPLING),
    Rule("norm scope", Category.NORM, scope=_NORM),
    Rule("projection scope", Category.PROJECTION, scope=_PROJECTION),
    Rule("attention layer", Category.ATTENTION, scope=_ATTENTION),
    Rule("logits program", Category.PROJECTION, module=_re([r"logits"])),
    Rule("rotary op", Category.ATTENTION, scope=_GENERIC, context=_ROTARY),
    Rule("activation op", Category.MLP, scope=_GENERIC, context=_MLP),
    Rule("norm op", Category.NORM, scope=_GENERIC, context=_NORM),
    Rule("residual op", Category.NORM, scope=_GENERIC, context=_re([_ROW_LINEAR.pattern, _EMBED.pattern])),
    Rule("attention input op", Category.ATTENTION, scope=_GENERIC, context=_re([_PROJECTION.pattern, _ATTENTION.pattern])),
    Rule("select program", Category.COPY, module=_re([r"select_from_array"])),
    Rule("data movement", Category.COPY, hlo_category=_MOVES),
    Rule("collective of one device", Category.COPY, hlo_category=_re([r"^local "])),
)  # fmt: skip


def classify(scope: str, context: str, hlo_category: str, module: str) -> tuple[Category, str]:
    """Returns the category and the name of the rule that decided, "" where none did."""
    for rule in RULES:
        if rule.matches(scope, context, hlo_category, module):
            return rule.category, rule.name
    return Category.UNATTRIBUTED, ""


def is_anchor(scope: str) -> bool:
    """Whether the scope says by itself which part of the model it is, so that a neighbour can be judged by it."""
    return any(pattern.search(scope) for pattern in (_KV_WRITE, _MLP, _NORM, _PROJECTION, _ATTENTION))
