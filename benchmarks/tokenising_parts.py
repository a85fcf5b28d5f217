"""Tokenising in parts: memory for each document, and seconds with and without an executor.

    python benchmarks/tokenising_parts.py [DOCUMENTS]

Prints a JSON object. Memory is the peak of what Python and NumPy ask for; text is made of random words.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from regmix_pipeline.documents.observe import observe
from regmix_pipeline.documents.readers import reader
from regmix_pipeline.study.settings.documents import Source
from regmix_pipeline.study.settings.tokens import ExecutorSettings, ShardSettings, TokenizerSettings, TokenizerTraining
from regmix_pipeline.tokens.distribute import Tokenization
from regmix_pipeline.tokens.join import first_of_equals, join_parts
from regmix_pipeline.tokens.source_plan import ShardRequest
from regmix_pipeline.tokens.tokenizer import ensure_tokenizer

FILES = 8


def memory_of_join(documents: int) -> float:
    """Bytes for each document while parts are compared."""
    rng = np.random.default_rng(0)
    tracemalloc.start()
    high, low = (rng.integers(0, 2**63, documents, dtype=np.uint64) for _ in range(2))
    first_of_equals(high, low)
    return _peak() / documents


def memory_of_task(documents: int) -> float:
    """Bytes for each document of what a task keeps of it: its digest and its end."""
    from regmix_pipeline.tokens.steps import DropDuplicates

    def texts() -> Iterator[Any]:
        for number in range(documents):
            yield SimpleNamespace(text=str(number), metadata={})

    tracemalloc.start()
    ends: list[int] = []
    for number, _ in enumerate(DropDuplicates().run(texts())):
        ends.append(1000 * number)  # as datatrove's TokenizedFile keeps them
    return _peak() / documents


def _peak() -> int:
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def speed(megabytes: int, folder: Path) -> dict[str, float]:
    """Seconds for so much text in one process, and in tasks on this machine."""
    words = [f"{number:x}" for number in range(0, 200_000, 7)]
    dice = random.Random(0)
    (folder / "text").mkdir()
    for number in range(FILES):
        with (folder / "text" / f"{number}.jsonl").open("w") as file:
            while file.tell() < megabytes * 1_000_000 / FILES:
                file.write(json.dumps({"text": " ".join(dice.choices(words, k=400))}) + "\n")
    source = Source.model_validate({"jsonl": "text/*.jsonl"})
    settings = TokenizerSettings(train=TokenizerTraining(vocab_size=8192))
    tokenizer = ensure_tokenizer(settings, {"text": reader(source, folder, folder)}, folder / "tokenizer", folder)
    wanted = ShardRequest("text", source, "domain", observe(source, folder, folder).version)
    seconds = {}
    for name, tasks in (("one process", None), (f"{FILES} tasks", FILES)):
        shards = ShardSettings(executor=ExecutorSettings(tasks=tasks))
        started = time.monotonic()
        list(Tokenization(folder, folder, tokenizer, folder / name, shards).shards([wanted]))
        seconds[name] = round(time.monotonic() - started, 1)
    return seconds


def join_speed(megabytes: int, folder: Path) -> float:
    """Megabytes of tokens joined in a second, from parts that share no text."""
    parts = []
    count = megabytes * 1_000_000 // 2 // 500 // FILES
    for number in range(FILES):
        part = folder / f"part{number}"
        part.mkdir()
        np.zeros(count * 500, "<u2").tofile(part / "train.ds")
        (np.arange(1, count + 1, dtype="<u8") * 500).tofile(part / "train.ds.index")
        np.random.default_rng(number).integers(0, 2**63, (count, 3), dtype="<u8").tofile(part / "train.documents")
        parts.append(part)
    (folder / "joined").mkdir()
    started = time.monotonic()
    join_parts(parts, folder / "joined", ["train"], "uint16")
    return megabytes / (time.monotonic() - started)


if __name__ == "__main__":
    asked = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    with tempfile.TemporaryDirectory() as place:
        print(
            json.dumps(
                {
                    "bytes a document, joining": round(memory_of_join(asked), 1),
                    "bytes a document, in a task": round(memory_of_task(asked), 1),
                    "MB of tokens joined a second": round(join_speed(1000, Path(place))),
                    "seconds for 100 MB of text": speed(100, Path(place)),
                },
                indent=2,
            )
        )
