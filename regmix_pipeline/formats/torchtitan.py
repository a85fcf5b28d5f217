"""torchtitan: its weighted mixtures of text, as a Python module for 0.3 and for the loader on Grain after it."""

from __future__ import annotations

import json

from regmix_pipeline.formats.export import Export
from regmix_pipeline.formats.format import Format

MODULE = '''
import importlib.util
import warnings
from functools import partial

WEIGHTS = {weights}
DATA = {data}
REPEATED = {repeated}
"""Domain -> epochs, of those that a run of {budget} tokens reads more than once."""


def _text(sample, field):
    return sample[field]


def name_of(domain):
    """Name under which torchtitan 0.3 knows a domain."""
    return f"regmix_{domain}".lower()


def dataloader(**options):
    """The mixture as ``dataloader`` of a `Trainer.Config`; ``options`` are those of the loader's own Config.

    Each domain is packed before the domains are mixed: mixed first, the weights would be shares of documents.
    """
    if REPEATED:
        said = ", ".join(f"{domain} {epochs:g} times" for domain, epochs in REPEATED.items())
        warnings.warn(f"torchtitan repeats a domain without saying so; a run of {budget} tokens reads {said}")
    mixed = _on_grain if importlib.util.find_spec("torchtitan.components.data") else _interleaved
    return mixed({"seed": {seed}, **options})


def _on_grain(options):
    from torchtitan.components import data as titan
    from torchtitan.hf_datasets.text_datasets import TextProcessor

    def packed(domain):
        files = {"data_files": DATA[domain]["files"]}
        text = titan.SingleDatasetConfig(
            source=titan.HuggingFaceStreamingSource.Config(
                path=DATA[domain]["reader"], split="train", load_dataset_kwargs=files
            ),
            processor=TextProcessor.Config(text_fn=partial(_text, field=DATA[domain]["field"])),
            post_filters=(lambda sample: sample is not None,),
        )
        return titan.ConcatThenSplitPackingConfig(dataset=text)

    weighted = tuple(
        titan.WeightedDataset(dataset=packed(domain), weight=weight) for domain, weight in WEIGHTS.items()
    )
    return titan.GrainDataLoader.Config(dataset=titan.DatasetMixConfig(datasets=weighted), **options)


def _load(path, reader, files):
    from datasets import load_dataset

    return load_dataset(reader, data_files=files, split="train", streaming=True)


def _interleaved(options):
    from torchtitan.hf_datasets import DatasetConfig
    from torchtitan.hf_datasets.text_datasets import DATASETS, HFDataSource, InterleavedHuggingFaceTextDataLoader

    for domain, data in DATA.items():
        DATASETS[name_of(domain)] = DatasetConfig(
            path=data["files"][0],
            loader=partial(_load, reader=data["reader"], files=data["files"]),
            sample_processor=partial(_text, field=data["field"]),
        )
    sources = [HFDataSource(dataset=name_of(each), weight=weight, infinite=True) for each, weight in WEIGHTS.items()]
    return InterleavedHuggingFaceTextDataLoader.Config(sources=sources, **options)
'''


def torchtitan(export: Export) -> dict[str, str]:
    """A Python module that makes the loader's Config, with each domain a dataset.

    torchtitan packs each dataset into sequences of one length before it mixes them, so its weights are shares of
    tokens whatever the documents' lengths. Domains of weight zero are left out: torchtitan refuses them.
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
    fields = {"weights": export.weights, "data": data, "repeated": export.repeated}
    body = MODULE.replace("{seed}", str(export.seed)).replace("{budget}", f"{export.budget or 0:,}")
    for name, value in fields.items():
        body = body.replace(f"{{{name}}}", json.dumps(value, indent=4, ensure_ascii=False))
    return {"": comment + body}


TORCHTITAN = Format(torchtitan, ".py", "text", silent=True)
