"""Hugging Face datasets: what interleave_datasets takes, as JSON, and a loader that hands it over."""

from __future__ import annotations

import json

from regmix_pipeline.exports.about import Export, counts_of
from regmix_pipeline.exports.format import Format

STOPPING = "all_exhausted"
"""Go on until every domain was read once: the budget ends the run, not the smallest domain."""

LOADER = '''\
import json
from pathlib import Path

from datasets import interleave_datasets, load_dataset

EXPORT = Path(__file__).with_name({main})


def load(streaming=True):
    """The decided mixture as one stream of documents under the name text."""
    export = json.loads(EXPORT.read_text(encoding="utf-8"))
    parts = []
    for name in export["names"]:
        data = export["data"][name]
        part = load_dataset(data["reader"], data_files=data["files"], split="train", streaming=streaming)
        part = part.select_columns([data["text_field"]])
        parts.append(part if data["text_field"] == "text" else part.rename_column(data["text_field"], "text"))
    return interleave_datasets(
        parts,
        probabilities=export["probabilities"],
        seed=export["seed"],
        stopping_strategy=export["stopping_strategy"],
    )


if __name__ == "__main__":
    for document in load().take(3):
        print(document["text"][:200])
'''


def hf(export: Export) -> dict[str, str]:
    """JSON of names, probabilities, seed and stopping strategy, and a loader beside it.

    Probabilities are of samples: of documents unless the data are packed into sequences of equal length. With
    ``all_exhausted`` a domain that is used up starts again from its first document.
    """
    shares = export.shares
    content = {
        "about": export.about(),
        "counts": counts_of(export),
        "names": list(shares),
        "probabilities": list(shares.values()),
        "token_shares": list(export.weights.values()),
        "tokens_per_document": [export.data[domain].tokens_per_document for domain in shares],
        "seed": export.seed,
        "stopping_strategy": STOPPING,
        "data": {
            domain: {
                "reader": export.data[domain].reader or "json",
                "files": [file.address for file in export.data[domain].files],
                "text_field": export.data[domain].text_field or "text",
            }
            | ({"note": export.data[domain].note} if export.data[domain].note else {})
            for domain in shares
        },
    }
    loader = export.comment() + "\n" + LOADER.replace("{main}", json.dumps(export.main))
    return {"": json.dumps(content, indent=2, ensure_ascii=False) + "\n", ".loader.py": loader}


HF = Format(hf, ".json", "text", documents=True)
