"""Command lines out of documents and help texts: found, split as a shell does, parsed by the command without being run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator

import click

from tuner.cli.command_line import cli

_FENCE = re.compile(r"^```(?:sh)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^ {4}(tuner .+)$", re.MULTILINE)
_SHELL = ("|", ">", ">>", "&&", "||", ";", "&", "<")


def fenced(markdown: str) -> list[str]:
    """Code blocks, fenced or indented."""
    return [*_FENCE.findall(markdown), *_INDENTED.findall(markdown)]


def tuner_lines(blocks: Iterable[str]) -> Iterator[str]:
    """Lines that call `tuner`, continued ones joined."""
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            if re.match(r"(?:\w+=\S+ )*tuner ", line.strip()):
                yield line.strip()


def arguments_of(line: str) -> list[str]:
    """What a shell hands to `tuner`: without comments, redirections, pipes and variables in front."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word in _SHELL:
            break
        words.append(word)
    return words[words.index("tuner") + 1 :]


def parse(line: str) -> None:
    """Raises click.UsageError, with the line, where a verb, an option or an argument is wrong. Nothing is run."""
    arguments = arguments_of(line)
    try:
        command: click.Command = cli
        context = cli.make_context("tuner", list(arguments))
        while isinstance(command, click.Group):
            name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            assert found is not None, line
            command, context = found, found.make_context(name, rest, parent=context)
    except click.UsageError as error:
        raise click.UsageError(f"{line}: {error.format_message()}") from error
