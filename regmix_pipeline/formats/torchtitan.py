"""torchtitan: its interleaved loader of text (since 0.3), as a Python module."""

from __future__ import annotations

import json

from regmix_pipeline.formats.export import Export
from regmix_pipeline.formats.format import Format

MODULE = '''
from functools import partial

from datasets import load_dataset
from torchtitan.hf_datasets import DatasetConfig
from torchtitan.hf_datasets.text_datasets import DATASETS, HFDataSource, InterleavedHuggingFaceTextDataLoader

WEIGHTS = {weights}
DATA = {data}


def _load(path, reader, files):
    return load_dataset(reader, data_files=files, split="train", streaming=True)


def _text(sample, field):
    return sample[field]


def name_of(domain):
    """Name under which torchtitan knows a domain."""
    return f"regmix_{domain}".lower()


for _domain, _data in DATA.items():
    DATASETS[name_of(_domain)] = DatasetConfig(
        path=_data["files"][0],
        loader=partial(_load, reader=_data["reader"], files=_data["files"]),
        sample_processor=partial(_text, field=_data["field"]),
    )


def dataloader(**options):
    """The mixture as ``dataloader`` of a `Trainer.Config`; ``options`` are those of the loader's own Config."""
    sources = [HFDataSource(dataset=name_of(each), weight=weight, infinite=True) for each, weight in WEIGHTS.items()]
    return InterleavedHuggingFaceTextDataLoader.Config(sources=sources, **{"seed": {seed}, **options})
'''


def torchtitan(export: Export) -> dict[str, str]:
    """A Python module that registers the domains as datasets and makes the loader's Config.

    torchtitan packs each dataset into sequences of one length before it interleaves them, so its weights are shares of
    tokens whatever the documents' lengths.
    """
    comment = export.comment(
        "Weights are chances of a sequence. Each domain is packed into sequences of one length, so they are shares of "
        "tokens.",
        f"Put this module's folder on PYTHONPATH and give {export.main.removesuffix('.py')}.dataloader() as dataloader "
        "of the Trainer.Config. A domain that is used up starts again: the library knows no limit on epochs.",
    )
    data = {
        domain: {
            "reader": export.data[domain].reader or "json",
            "files": [file.address for file in export.data[domain].files],
            "field": export.data[domain].text_field or "text",
        }
        for domain in export.weights
    }
    body = (
        MODULE.replace("{weights}", json.dumps(export.weights, indent=4, ensure_ascii=False))
        .replace("{data}", json.dumps(data, indent=4, ensure_ascii=False))
        .replace("{seed}", str(export.seed))
    )
    return {"": comment + body}


TORCHTITAN = Format(torchtitan, ".py", "text")
