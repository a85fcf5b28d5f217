"""Tokens in the large run's files, as far as they lie on this machine and say how many they hold."""

from __future__ import annotations

import glob
import json
import os
import struct
from pathlib import Path

import numpy as np

from regmix_pipeline.documents.token_formats.megatron import MAGIC, TYPES
from regmix_pipeline.errors import TokenError
from regmix_pipeline.formats.data import DataFile
from regmix_pipeline.tokens.manifest import BYTES_OF


def token_files(address: str, dtype: str) -> tuple[DataFile, ...]:
    """The headless token files that a path or glob matches, with their tokens; empty where none is on this machine."""
    if "://" in address or dtype not in BYTES_OF:
        return ()
    paths = [path for path in sorted(glob.glob(os.path.expanduser(address))) if os.path.isfile(path)]
    return tuple(DataFile(path, os.path.getsize(path) // BYTES_OF[dtype]) for path in paths)


def megatron_prefix(prefix: str, dtype: str) -> tuple[DataFile, ...]:
    """An indexed dataset, ``prefix``.bin and ``prefix``.idx, with its tokens; empty where it is not on this machine.

    Raises:
        TokenError: the index is not one that Megatron reads.
    """
    index, tokens = Path(f"{prefix}.idx"), Path(f"{prefix}.bin")
    if "://" in prefix or not index.is_file() or not tokens.is_file():
        return ()
    with index.open("rb") as file:
        head = file.read(18)
    code = struct.unpack("<B", head[17:18])[0] if head.startswith(MAGIC) and len(head) == 18 else 0
    if code not in TYPES:
        raise TokenError(
            "is not the index of a Megatron dataset", where=str(index), remedy="make it with tools/preprocess_data.py"
        )
    return (DataFile(prefix, tokens.stat().st_size // np.dtype(TYPES[code]).itemsize),)


def litdata_folder(folder: str, dtype: str) -> tuple[DataFile, ...]:
    """The chunks of a folder that litdata's `optimize` wrote, with their tokens; empty where it is not on this machine.

    Raises:
        TokenError: the folder's index is malformed, or its chunks do not hold tokens.
    """
    index = Path(folder) / "index.json"
    if "://" in folder or not index.is_file():
        return ()
    try:
        chunks = json.loads(index.read_text(encoding="utf-8"))["chunks"]
        return tuple(DataFile(str(Path(folder) / chunk["filename"]), int(chunk["dim"])) for chunk in chunks)
    except (ValueError, KeyError, TypeError) as error:
        raise TokenError(
            "does not say how many tokens its chunks hold",
            where=str(index),
            remedy="write it with litdata's optimize and item_loader=TokensLoader()",
        ) from error
