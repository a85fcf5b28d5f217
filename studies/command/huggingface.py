# ruff: noqa: TID253 - a program of its own.
"""A trainer with Hugging Face transformers: a small Llama on the tokens that a mixture asks for.

    python huggingface.py MIXTURE_FILE OUT SEED

It reads `MIXTURE_FILE` (format json), keeps the Trainer's checkpoints in `OUT` and goes on from the last one, measures
the targets and leaves `losses.json` in `OUT`, whole or not at all. It needs transformers and accelerate.
"""

import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

CONTEXT, BATCH, EVALUATED = 64, 16, 64
"""Tokens of a window, windows of a step, windows measured for each target."""


class Windows(torch.utils.data.Dataset):
    """Windows of all domains, each as often as its share of the tokens, in an order that the seed decides."""

    def __init__(self, asked, total):
        rng = np.random.default_rng(asked["seed"])
        parts = []
        self.executed = {}
        names = list(asked["domains"])
        shares = np.array([asked["domains"][name]["weight"] for name in names])
        counts = np.floor(shares * total).astype(int)
        counts[: total - counts.sum()] += 1
        for name, count in zip(names, counts.tolist(), strict=True):
            data = asked["domains"][name]
            tokens = np.concatenate(
                [np.fromfile(file["file"], data["dtype"], count=file["available_tokens"]) for file in data["files"]]
            )
            windows = tokens[: len(tokens) // CONTEXT * CONTEXT].reshape(-1, CONTEXT)
            # Every window once before any is seen again.
            order = np.concatenate([rng.permutation(len(windows)) for _ in range(math.ceil(count / len(windows)))])
            parts.append(windows[order[:count]])
            self.executed[name] = count * CONTEXT
        self.rows = rng.permutation(np.concatenate(parts)).astype(np.int64)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, number):
        row = torch.from_numpy(self.rows[number])
        return {"input_ids": row, "labels": row}


@torch.no_grad()
def measured(model, target):
    """Mean loss in nats per token over evenly spaced windows, and its standard error."""
    tokens = np.fromfile(target["file"], target["dtype"]).astype(np.int64)
    windows = tokens[: len(tokens) // CONTEXT * CONTEXT].reshape(-1, CONTEXT)
    rows = torch.from_numpy(windows[np.linspace(0, len(windows) - 1, min(EVALUATED, len(windows))).astype(int)])
    logits = model(rows).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="none")
    losses = losses.view(len(rows), -1).mean(1).double()
    return {"loss": float(losses.mean()), "standard_error": float(losses.std() / math.sqrt(len(losses)))}


def main(mixture_file, out, seed):
    """Train and measure one proxy."""
    asked = json.loads(mixture_file.read_text())
    torch.manual_seed(seed)
    files = [*asked["targets"].values(), *(file | data for data in asked["domains"].values() for file in data["files"])]
    vocabulary = 1 + max(int(np.fromfile(each["file"], each["dtype"]).max()) for each in files)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, max_position_embeddings=CONTEXT, **shape))
    steps = max(1, round(asked["tokens"] / (BATCH * CONTEXT)))
    data = Windows(asked, steps * BATCH)
    settings = TrainingArguments(
        output_dir=str(out / "checkpoints"),
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        learning_rate=1e-2,
        save_steps=max(1, steps // 2),
        save_total_limit=1,
        logging_steps=max(1, steps // 4),
        report_to=[],
        use_cpu=not torch.cuda.is_available(),
        seed=seed,
        disable_tqdm=True,
    )
    last = get_last_checkpoint(settings.output_dir) if Path(settings.output_dir).is_dir() else None
    Trainer(model=model, args=settings, train_dataset=data).train(resume_from_checkpoint=last)
    model.eval().cpu()
    report = {
        "losses": {name: measured(model, target) for name, target in asked["targets"].items()},
        "step": steps,
        "tokens": data.executed,
        "parameters": model.num_parameters(),
    }
    written = out / "losses.json.new"
    written.write_text(json.dumps(report))
    os.replace(written, out / "losses.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
