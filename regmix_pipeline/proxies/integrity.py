"""Whether a finished proxy's folder is what was written, and what becomes of one that is not."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regmix_pipeline.errors import ProxyError
from regmix_pipeline.files import read_json, sha256_of

RECORD, TRAJECTORY = "proxy.json", "trajectory.parquet"
SPEED = "speed.parquet"
"""Tokens per second during training. No part of what is recorded of a proxy: a clock's answer differs each time."""
WEIGHTS, REPORTED = "model.safetensors", "losses.json"
STATE = "optimiser.safetensors"
"""AdamW's averages, beside the weights of a model that others go on from."""


def evidence_of(folder: Path) -> str:
    """The file of a finished proxy whose checksum is in its record: its weights, or the losses that a command of the
    user's own reported of it."""
    return REPORTED if (folder / REPORTED).is_file() else WEIGHTS


def damage_of(folder: Path) -> str:
    """What is wrong with the evidence and the record of a finished proxy; empty for nothing."""
    evidence = evidence_of(folder)
    missing = [name for name in (evidence, RECORD) if not (folder / name).is_file()]
    if missing:
        return f"{', '.join(missing)} missing"
    try:
        written = read_json(folder / RECORD)["sha256"]
    except (KeyError, TypeError, ValueError) as error:
        return f"{RECORD}: {type(error).__name__}: {error}"
    return "" if sha256_of(folder / evidence) == written else f"{evidence} was altered after it was written"


def trajectory_of(folder: Path) -> list[dict[str, Any]]:
    """Rows of a finished proxy's `trajectory.parquet`.

    Raises:
        ProxyError: the file is damaged; the proxy's folder is then set aside.
    """
    import pyarrow.parquet as pq

    try:
        return pq.read_table(folder / TRAJECTORY).to_pylist()
    except (OSError, ValueError) as error:
        require_intact(folder, f"{TRAJECTORY}: {error}")
        raise


def trajectory_schema() -> Any:
    """Columns of `trajectory.parquet`, named as in the ledger's tables.

    A row is a target's loss at a step, or, without a target, an optimiser step: the mean loss of its tokens (nats per
    token), the gradient's norm before clipping, and the learning rate.
    """
    import pyarrow as pa

    whole, real = pa.int64(), pa.float64()
    return pa.schema(
        [
            ("target", pa.string()),
            ("target_version", pa.string()),
            ("step", whole),
            ("tokens", whole),
            ("loss", real),
            ("standard_error", real),
            ("bits_per_byte", real),
            ("bits_per_byte_standard_error", real),
            ("evaluated_tokens", whole),
            ("training_loss", real),
            ("gradient_norm", real),
            ("learning_rate", real),
        ]
    )


STEP_COLUMNS = ("training_loss", "gradient_norm", "learning_rate")
"""Columns of a trajectory that optimiser steps have."""


def speed_schema() -> Any:
    """Columns of `speed.parquet`: a step, and the tokens per second from the row before until then."""
    import pyarrow as pa

    return pa.schema([("step", pa.int64()), ("tokens_per_second", pa.float64())])


def is_step(row: Mapping[str, Any]) -> bool:
    """Whether a row of a trajectory is an optimiser step; otherwise it is a target's loss."""
    return row.get("target") is None


def require_intact(folder: Path, problem: str = "") -> None:
    """Set a damaged proxy's folder aside and say so.

    Args:
        folder: the finished proxy's.
        problem: damage that the caller has found already.

    Raises:
        ProxyError: the folder is not a finished proxy, or its weights are not the ones that were written.
    """
    problem = problem or damage_of(folder)
    if problem:
        set_aside(folder)
        raise ProxyError(
            f"not a complete proxy: {problem}",
            where=str(folder),
            remedy="run again: it was set aside, and this proxy alone is trained again",
        )


def set_aside(folder: Path) -> None:
    """Rename a damaged proxy's folder, so that the next run trains the proxy again; it is swept away later."""
    with contextlib.suppress(FileNotFoundError):
        folder.rename(folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.damaged.tmp"))
