"""litdata's states of a `StreamingDataLoader` over a `CombinedStreamingDataset`, as JSON, one file a reading."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regmix_pipeline.errors import StudyError
from regmix_pipeline.executed.log import Executed, Options, RunLog, domain_at, domain_of
from regmix_pipeline.executed.planned import Planned


def fits(path: Path, first: Any) -> bool:
    """A state, or what holds one."""
    return bool(_datasets(first))


def read(paths: Sequence[Path], planned: Planned, options: Options) -> Executed:
    """What the run drew: pieces yielded times their tokens, on every process alike."""
    import polars as pl

    rows, sequence = [], options.sequence
    for path in paths:
        row: dict[str, Any] = {"step": None, **dict.fromkeys(planned.shares, 0)}
        datasets = _datasets(json.loads(path.read_text(encoding="utf-8")))
        for number, state in datasets.items():
            where = f"{path}: dataset {number}"
            address = state.get("input_dir_url") or state.get("input_dir_path") or ""
            # A copy in a cache is not where the plan says; datasets are in the order of the export.
            domain = domain_at(address, planned) or domain_of(number, planned, options, where)
            length = (state.get("item_loader") or {}).get("block_size") or options.sequence
            if not length:
                raise StudyError("says no block size", where=where, remedy="give --sequence-length")
            row[domain] += int(state["num_samples_yielded"]) * int(length) * int(state.get("world_size") or 1)
            sequence = int(length)
        rows.append(row)
    schema = {"step": pl.Int64, **dict.fromkeys(planned.shares, pl.Int64)}
    return Executed(pl.DataFrame(rows, schema=schema), "read the states of litdata's loader", sequence)


def _datasets(value: Any) -> Mapping[str, Any]:
    """Number -> state of each dataset; empty for anything but such a state."""
    held = value.get("dataset", value) if isinstance(value, Mapping) else {}
    states = list(held.values()) if isinstance(held, Mapping) else []
    whole = all(isinstance(each, Mapping) and "num_samples_yielded" in each for each in states)
    return held if states and whole else {}


LITDATA = RunLog(fits, read)
