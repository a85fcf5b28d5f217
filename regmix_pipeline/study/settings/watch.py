"""A watched address, as the study file states it."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from regmix_pipeline.study.settings.base import Settings
from regmix_pipeline.study.settings.documents import Source


class WatchSettings(Settings):
    """An address whose folders are domains, each named after its folder: `/data/inbox/poems/` is the domain `poems`."""

    address: str = Field(min_length=1)
    """Folder or fsspec address; relative: from the study file's folder."""
    source: Source
    """What to read in each folder, for instance {jsonl: "*.jsonl.gz"}: the pattern starts at the domain's folder."""
    cap: float | None = Field(default=None, gt=0, le=1)
    """Highest weight of each such domain in any mixture."""
    target_weight: float | None = Field(default=None, ge=0)
    """Make each such domain's own validation loss a target of this weight; 0: measured only. None: not measured."""

    @field_validator("source")
    @classmethod
    def _pattern_inside(cls, source: Source) -> Source:
        if source.corpus is not None:
            raise ValueError("a watched folder holds files: give a pattern of files, not a corpus")
        if "://" in source.address or os.path.isabs(source.address) or ".." in Path(source.address).parts:
            raise ValueError(f"{source.address!r} leaves the watched folder: give a pattern inside it, such as *.jsonl")
        return source

    @model_validator(mode="after")
    def _tokens_on_a_disk(self) -> Self:
        if self.remote and self.source.tokens is not None:
            raise ValueError(f"{self.address!r} is not on a disk: tokens are read where they lie; copy or mount them")
        return self

    @property
    def remote(self) -> bool:
        """Whether the address names another file system."""
        return "://" in self.address or "::" in self.address

    def source_of(self, folder: str) -> Source:
        """The source of the domain that a folder is."""
        # A glob's special characters in the address itself are meant literally.
        root = self.address.rstrip("/") if self.remote else glob.escape(self.address.rstrip("/"))
        return self.source.at(f"{root}/{folder}/{self.source.address}")
