"""A command of the user's own that trains the proxies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from shlex import quote
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from regmix_pipeline.formats.catalogue import FORMATS
from regmix_pipeline.study.settings.base import Settings, inside

if TYPE_CHECKING:
    FormatName = str
else:
    FormatName = FORMATS.name_type()

PLACEHOLDERS = {
    "out": "folder of this proxy: the command leaves losses.json here, and may keep its checkpoints here",
    "mixture_file": "the mixture in the format asked for",
    "shards": "JSON of the token files: each domain's training tokens, each target's validation tokens",
    "mixture": "id of the mixture",
    "proxy": "id of the proxy",
    "seed": "the proxy's seed",
    "tokens": "tokens to train on",
    "slot": "number, from 0, of the place that the command has among those that run at once: for instance of a GPU",
}
"""Name -> what a command is given by it."""
NEEDED = ("out", "mixture_file")
_PLACEHOLDER = re.compile(r"(?<!\$)\{(\w+)\}")


class TrainerSettings(Settings):
    """A command that trains one proxy, instead of this package's own model.

    It runs once for each proxy, by `/bin/sh` in the study file's folder, and leaves `losses.json` in `{out}`. What it
    makes depends on the command, the format, the address of the data and the content of the files: these are part of
    a proxy's identity.
    """

    command: str = Field(min_length=1)
    """The command, with placeholders in braces: `{out}` and `{mixture_file}`, which are needed, `{shards}`,
    `{mixture}`, `{proxy}`, `{seed}`, `{tokens}`, `{slot}`. For instance `./train.sh {mixture_file} {out} {seed}`."""
    files: tuple[str, ...] = ()
    """Files and folders that the command's results depend on, such as its code and configuration; a relative path
    starts at the study file's folder. A change of their content trains the proxies again."""
    format: FormatName = "json"
    """Format of `{mixture_file}`: one of those of `regmix export`."""
    data: str | None = None
    """Address of a domain's data, with `{domain}` where its name goes. Default: the study's token shards."""
    tolerance: float = Field(default=0.01, gt=0, lt=1)
    """Share of all tokens by which the tokens executed of a domain, and of all domains, may miss what was asked for."""
    retries: int = Field(default=1, ge=0, le=100)
    """How often a command that failed is run again, in the same folder. What it measured wrongly is not."""
    silent_minutes: float = Field(default=60.0, gt=0)
    """Minutes without a change of the command's log and folder after which it counts as hung, and is ended."""
    hours: float | None = Field(default=None, gt=0)
    """Hours that one command takes, for `regmix plan` as long as none has run here."""

    @model_validator(mode="after")
    def _placeholders(self) -> TrainerSettings:
        found = _PLACEHOLDER.findall(self.command)
        if unknown := [name for name in found if name not in PLACEHOLDERS]:
            raise inside(
                ("command",),
                f"{{{unknown[0]}}} is no placeholder: there are {', '.join(f'{{{name}}}' for name in PLACEHOLDERS)}; "
                "braces for the shell go into a script",
            )
        if missing := [name for name in NEEDED if name not in found]:
            raise inside(("command",), f"{{{missing[0]}}} is needed: {PLACEHOLDERS[missing[0]]}")
        if self.data is not None and set(re.findall(r"\{\w*\}", self.data)) != {"{domain}"}:
            raise inside(("data",), "{domain} is needed where a domain's name goes, for instance s3://bucket/{domain}")
        return self


def filled(command: str, values: Mapping[str, str]) -> str:
    """A command with its placeholders replaced, each quoted for the shell.

    Args:
        command: see `TrainerSettings.command`.
        values: name -> value, for all of `PLACEHOLDERS`.
    """
    return _PLACEHOLDER.sub(lambda found: quote(values[found[1]]), command)
