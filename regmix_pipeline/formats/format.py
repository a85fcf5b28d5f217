"""What a format is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from regmix_pipeline.formats.data import DataFile, Need
from regmix_pipeline.formats.export import Export


@dataclass(frozen=True)
class Format:
    """A format that trainers read.

    Attributes:
        write: what to write -> suffix of the file beside the main one ("" for the main one itself) -> its text.
        suffix: ending of the main file.
        need: what it can take from the study when no template says where the data are.
        documents: whether samples are whole documents unless stated otherwise; None where they never can be.
        silent: whether the trainer starts a domain that is used up again without a word.
        schedule: whether it writes the earlier phases of a run as well, for a trainer that changes from one mixture to
            the next by itself.
        phases: what a run of several phases does with what is written, in words that follow the format's name.
        count: address and type of a token -> the files there, with their tokens; None where the format cannot say.
    """

    write: Callable[[Export], dict[str, str]]
    suffix: str
    need: Need
    documents: bool | None = None
    silent: bool = False
    schedule: bool = False
    phases: str = (
        "takes one mixture a run: train each phase in a run of its own, and begin this one from the last checkpoint of "
        "the phase before, with a new data loader"
    )
    count: Callable[[str, str], tuple[DataFile, ...]] | None = None
