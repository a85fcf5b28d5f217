"""OLMo-core's state of its data loader, as JSON, with the order of the epoch's sequences that it keeps in a file.

The state itself counts all sources together. Which source a sequence is of follows from its number: OLMo-core numbers
the sequences of a source mixture file by file, in the order of the exported plan.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regmix_pipeline.errors import StudyError
from regmix_pipeline.executed.log import Executed, Options, RunLog
from regmix_pipeline.executed.planned import Planned

READINGS = 200
"""Of a state, which stands for all the sequences before it."""


def fits(path: Path, first: Any) -> bool:
    """A state, or the trainer's that holds one."""
    state = _state(first)
    return "tokens_processed" in state and "sequence_length" in state


def read(paths: Sequence[Path], planned: Planned, options: Options) -> Executed:
    """What the run drew in the epoch of the last state."""
    import polars as pl

    state = _state(json.loads(paths[-1].read_text(encoding="utf-8")))
    length = int(state["sequence_length"])
    if options.order is None or not planned.files:
        raise StudyError(
            "counts all sources together",
            where=str(paths[-1]),
            remedy="give the order of the sequences, global_indices_*.npy in the loader's work_dir, by --order, and "
            "the exported plan by --plan",
        )
    try:
        order = np.fromfile(options.order, np.uint32)
    except OSError as error:
        raise StudyError(
            f"cannot be read: {error.strerror}", where=str(options.order), remedy="name the file"
        ) from error
    sequences = [sum(tokens // length for tokens in planned.files[domain]) for domain in planned.shares]
    ends = np.cumsum(sequences)
    drawn = order[: int(state["tokens_processed"]) // length]
    if abs(len(order) - ends[-1]) > max(len(planned.addresses), 0.01 * len(order)):
        raise StudyError(
            f"orders {len(order):,} sequences, and the plan has {ends[-1]:,} of {length:,} tokens",
            where=str(options.order),
            remedy="give the plan of this run's export, with the run's budget by --tokens",
        )
    source = np.minimum(np.searchsorted(ends, drawn, side="right"), len(ends) - 1)
    marks = np.unique(np.linspace(0, len(drawn), READINGS + 1).astype(int))[1:]
    totals = np.stack([np.cumsum(source == number)[marks - 1] for number in range(len(ends))], axis=1) * length
    batches = int(state.get("batches_processed") or 0)
    steps = np.ceil(marks / len(drawn) * batches).astype(np.int64)
    frame = pl.DataFrame({"step": steps, **dict(zip(planned.shares, totals.T, strict=True))})
    return Executed(frame, "read the order of OLMo-core's sequences up to its state", length)


def _state(value: Any) -> Mapping[str, Any]:
    held = value.get("data_loader", value) if isinstance(value, Mapping) else {}
    return held if isinstance(held, Mapping) else {}


OLMO_CORE = RunLog(fits, read)
