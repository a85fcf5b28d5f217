"""Every `regmix` command, found in the application itself, run in this process as a person would type it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from regmix_pipeline.cli import app

ARGUMENTS = {"domain": "code", "folder": "text", "mixtures": "weights.csv", "losses": "losses.csv"}
"""Argument that a command needs -> what is given for it; another one gets "nonsense"."""
PYTHON = re.compile(r"Traceback|\b(?!RegmixError)[A-Z]\w*(Error|Exception)\b(?!:? \()|object at 0x|<class ")
"""What only a programmer reads."""


def commands() -> dict[str, Any]:
    """Name -> command, those added later among them."""
    group = typer.main.get_command(app)
    assert hasattr(group, "commands")
    return dict(sorted(group.commands.items()))


@dataclass(frozen=True)
class Answer:
    """What a command answered."""

    words: list[str]
    status: int
    out: str
    err: str
    raised: BaseException | None

    @property
    def fault(self) -> str:
        """Why this answer is unworthy of a person; "" where it is a sensible success or a readable error."""
        said = self.out + self.err
        if self.raised is not None and not isinstance(self.raised, SystemExit):
            return f"{type(self.raised).__name__}: {self.raised}"
        if self.status == 70 or "a fault of regmix-pipeline" in said:
            return f"unexpected: {said[-600:]}"
        if found := PYTHON.search(said):
            return f"speaks Python ({found.group(0)}): {said[-600:]}"
        errors = [line for line in self.err.splitlines() if line.startswith("error: ")]
        usage = self.status == 2 and "Usage:" in said
        if self.status and not usage and len(errors) != 1 and self.words[0] != "audit":
            return f"status {self.status} and {len(errors)} lines of error: {said[-600:]}"
        if errors and not self.status:
            return f"status 0 beside an error: {said[-600:]}"
        if errors and "\n  remedy: " not in self.err:
            return f"names no remedy: {said[-600:]}"
        return ""


def words_of(name: str, study: Path | str | None, home: Path | str | None, more: tuple[str, ...] = ()) -> list[str]:
    """A command line: required arguments, then study, home and data where the command has such options."""
    command = commands()[name]
    options = {option for each in command.params for option in each.opts}
    words = [name]
    for each in command.params:
        if each.param_type_name == "argument" and each.required:
            words.append(ARGUMENTS.get(str(each.name), "nonsense"))
        elif each.required:
            # A place that nothing else lies at.
            words += [each.opts[0], f"{home or study or 'nowhere'}-{each.name}"]
    given = {"--study": study, "--home": home}
    for option, value in given.items():
        if value is not None and option in options:
            words += [option, str(value)]
    return [*words, *more]


def ask(words: list[str]) -> Answer:
    """Run one command."""
    result = CliRunner().invoke(app, words)
    return Answer(words, result.exit_code, result.stdout, result.stderr, result.exception)
