"""A trainer in numpy: a bigram model of the tokens that a mixture asks for. It stands for any trainer of your own.

    python bigram.py MIXTURE_FILE OUT

It shows all that a trainer has to do: draw the tokens that `MIXTURE_FILE` (format json) asks for, measure the targets,
and leave `losses.json` in `OUT`, whole or not at all. It keeps a checkpoint in `OUT` after each domain, so that it goes
on where it was after a kill.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

PRIOR = 0.05
"""Added to every count, so that no pair of tokens is impossible."""


def main(mixture_file, out):
    """Train and measure one proxy."""
    asked = json.loads(mixture_file.read_text())
    counts, executed = resumed(out)
    for domain, data in asked["domains"].items():
        if domain in executed:
            continue
        tokens = np.concatenate([drawn(file, data["dtype"]) for file in data["files"]])
        size = 1 + int(max(tokens.max(), max(int(read(each).max()) for each in asked["targets"].values())))
        counts = grown(counts, size)
        np.add.at(counts, (tokens[:-1], tokens[1:]), 1.0)
        executed[domain] = len(tokens)
        save(out, counts, executed)
        print(f"{domain}: {len(tokens):,} tokens", flush=True)
    losses = {name: measured(counts, read(target)) for name, target in asked["targets"].items()}
    written = out / "losses.json.new"
    written.write_text(json.dumps({"losses": losses, "step": len(executed), "tokens": executed}))
    os.replace(written, out / "losses.json")


def drawn(file, dtype):
    """As many tokens of a file as are asked for, from its beginning, again and again."""
    available = np.fromfile(file["file"], dtype, count=file["available_tokens"])
    return np.resize(available, file["tokens"]).astype(np.int64)


def read(target):
    """A target's validation tokens."""
    return np.fromfile(target["file"], target["dtype"]).astype(np.int64)


def grown(counts, size):
    """The counts with room for tokens below ``size``."""
    room = np.zeros((max(size, len(counts)),) * 2)
    room[: len(counts), : len(counts)] = counts
    return room


def measured(counts, tokens):
    """Mean loss in nats per token, and its standard error over pieces of 64 tokens."""
    size = len(counts)
    chances = (counts + PRIOR) / (counts.sum(1, keepdims=True) + PRIOR * size)
    losses = -np.log(chances[tokens[:-1], tokens[1:]])
    pieces = losses[: len(losses) // 64 * 64].reshape(-1, 64).mean(1)
    return {"loss": float(losses.mean()), "standard_error": float(pieces.std(ddof=1) / np.sqrt(len(pieces)))}


def resumed(out):
    """Counts and executed tokens of a checkpoint; empty ones where there is none."""
    try:
        with np.load(out / "checkpoint.npz") as saved:
            return saved["counts"], json.loads(str(saved["executed"]))
    except FileNotFoundError:
        return np.zeros((1, 1)), {}


def save(out, counts, executed):
    """Keep a checkpoint, whole or not at all."""
    np.savez(out / "new.npz", counts=counts, executed=json.dumps(executed))
    os.replace(out / "new.npz", out / "checkpoint.npz")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
