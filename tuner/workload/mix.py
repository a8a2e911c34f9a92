"""A mix: several kinds of requests in one stream, each with its weight. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tuner.workload.lengths import draw_lengths
from tuner.workload.prompts import Stream, Tokens, grouped_prompts, stream
from tuner.workload.sources import MixSource


def part_of_each(source: MixSource, seed: int) -> list[int]:
    """The part that each request belongs to, [num_prompts]: drawn with the parts' weights, independently."""
    weights = [part.weight for part in source.parts]
    shares = [weight / sum(weights) for weight in weights]
    return [int(part) for part in stream(seed, Stream.MIX).choice(len(shares), source.num_prompts, p=shares)]


def mixed_lengths(source: MixSource, seed: int) -> list[tuple[int, int]]:
    """(input, output) tokens of each request. What one part draws does not depend on the others' lengths."""
    belongs = part_of_each(source, seed)
    drawn = []
    for number, part in enumerate(source.parts):
        count = belongs.count(number)
        inputs = draw_lengths(part.input, count, stream(seed, Stream.INPUT_LENGTHS, number))
        outputs = draw_lengths(part.output, count, stream(seed, Stream.OUTPUT_LENGTHS, number))
        drawn.append(zip(inputs, outputs, strict=True))
    return [next(drawn[number]) for number in belongs]


def mixed_prompts(source: MixSource, lengths: Sequence[int], vocab_size: int, seed: int) -> list[Tokens]:
    """One prompt a request; parts share no prefix."""
    belongs = part_of_each(source, seed)
    made = []
    for number, part in enumerate(source.parts):
        own = [length for length, owner in zip(lengths, belongs, strict=True) if owner == number]
        part_seed = int(stream(seed, Stream.MIX, number + 1).integers(2**31))
        made.append(iter(grouped_prompts(own, part.prefix_share, part.prefix_groups, vocab_size, part_seed) if own else []))
    return [next(made[number]) for number in belongs]
