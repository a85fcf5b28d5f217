"""MosaicML Streaming: streams with proportions, as LLM Foundry's ``dataset.streams`` takes them."""

from __future__ import annotations

import yaml

from regmix_pipeline.formats.export import Export, counts_of
from regmix_pipeline.formats.format import Format


def streaming(export: Export) -> dict[str, str]:
    """The mapping name -> keyword arguments of ``streaming.Stream``.

    ``proportion`` is a share of samples; StreamingDataset normalises the proportions and repeats or leaves out samples
    of a stream to meet them.
    """
    streams = {}
    for domain, share in export.shares.items():
        address = export.data[domain].address
        # A stream in another place is copied to this one as it is read.
        place = (
            {"remote": address, "local": f"/tmp/streaming/{export.origin.id}/{domain}"}
            if "://" in address
            else {"local": address}
        )
        streams[domain] = place | {"proportion": share}
    notes = [
        counts_of(export),
        f"Use it as dataset.streams in LLM Foundry, or StreamingDataset(streams=[Stream(**each) for each in "
        f"streams.values()], epoch_size=<samples of the run>, shuffle=True, shuffle_seed={export.seed}). Without "
        "epoch_size an epoch has as many samples as all streams together. The library knows no limit on epochs.",
    ]
    return {"": export.comment(*notes) + yaml.safe_dump({"streams": streams}, sort_keys=False, allow_unicode=True)}


STREAMING = Format(streaming, ".yaml", "template", documents=False, silent=True)
