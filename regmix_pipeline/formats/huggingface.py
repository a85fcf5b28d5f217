"""Hugging Face datasets: what interleave_datasets takes, as JSON, and a loader that hands it over."""

from __future__ import annotations

import json

from regmix_pipeline.formats.export import Export, counts_of
from regmix_pipeline.formats.format import Format

STOPPING = "all_exhausted"
"""Go on until every domain was read once: the budget ends the run, not the smallest domain."""

LOADER = '''\
import json
from pathlib import Path

import pyarrow.parquet as pq
from datasets import Dataset, Features, IterableDataset, Value, interleave_datasets
from fsspec.core import url_to_fs

EXPORT = Path(__file__).with_name({main})


def texts(files, reader, field):
    """The documents' text alone, whatever other columns the files have, and of whatever types."""
    for address in files:
        fs, path = url_to_fs(address)
        if reader == "parquet":
            with fs.open(path, "rb") as file:
                for batch in pq.ParquetFile(file).iter_batches(columns=[field]):
                    yield from ({"text": text} for text in batch.column(0).to_pylist() if text and text.strip())
            continue
        with fs.open(path, "rb", compression="infer") as lines:
            for line in lines:
                text = json.loads(line.removeprefix(b"\\xef\\xbb\\xbf")).get(field) if line.strip() else None
                if text and text.strip():
                    yield {"text": text}


def load(streaming=True):
    """The mixture as one stream of documents under the name text."""
    export = json.loads(EXPORT.read_text(encoding="utf-8"))
    make = (IterableDataset if streaming else Dataset).from_generator
    parts = []
    for name in export["names"]:
        data = export["data"][name]
        given = {"files": data["files"], "reader": data["reader"], "field": data["text_field"]}
        parts.append(make(texts, features=Features({"text": Value("string")}), gen_kwargs=given))
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


HF = Format(hf, ".json", "text", documents=True, silent=True)
