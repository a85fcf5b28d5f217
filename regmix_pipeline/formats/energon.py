"""NVIDIA Energon: a metadataset that blends prepared folders of webdataset shards."""

from __future__ import annotations

import yaml

from regmix_pipeline.formats.export import Export, counts_of
from regmix_pipeline.formats.format import Format


def energon(export: Export) -> dict[str, str]:
    """The metadataset for ``get_train_dataset``. Its weights are shares of samples, which Energon normalises.

    Every sample says its domain as a subflavor, so that a trainer can log it.
    """
    blend = [
        {"weight": share, "path": export.data[domain].address, "subflavors": {"domain": domain}}
        for domain, share in export.shares.items()
    ]
    metadataset = {
        "__module__": "megatron.energon",
        "__class__": "MetadatasetV2",
        "splits": {"train": {"blend": blend}},
    }
    comment = export.comment(
        counts_of(export),
        "Give this file to megatron.energon.get_train_dataset. A domain that is used up starts again: the library "
        "knows no limit on epochs, the plan does.",
    )
    return {"": comment + yaml.safe_dump(metadataset, sort_keys=False, allow_unicode=True)}


ENERGON = Format(energon, ".yaml", "template", documents=True, silent=True)
