"""MosaicML Streaming: streams with proportions, as LLM Foundry's ``dataset.streams`` takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from regmix_pipeline.formats.export import Export, counts_of
from regmix_pipeline.formats.format import Format


def streaming(export: Export) -> dict[str, str]:
    """The mapping name -> keyword arguments of ``streaming.Stream``.

    ``proportion`` is a share of samples; StreamingDataset normalises the proportions and repeats or leaves out samples
    of a stream to meet them.
    """
    streams = _streams(export, export.weights)
    notes = [
        counts_of(export),
        f"Use it as dataset.streams in LLM Foundry, or StreamingDataset(streams=[Stream(**each) for each in "
        f"streams.values()], epoch_size=<samples of the run>, shuffle=True, shuffle_seed={export.seed}). Without "
        "epoch_size an epoch has as many samples as all streams together. The library knows no limit on epochs.",
    ]
    texts = {"": export.comment(*notes) + yaml.safe_dump({"streams": streams}, sort_keys=False, allow_unicode=True)}
    if export.earlier:
        texts[".phases.yaml"] = export.comment(*notes[:1], _SCHEDULE) + yaml.safe_dump(
            _schedule(export), sort_keys=False, allow_unicode=True
        )
    return texts


def _streams(export: Export, weights: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Name -> keyword arguments of a stream, for a mixture over the export's data."""
    streams = {}
    for domain, share in export.shares_of(weights).items():
        address = export.data[domain].address
        # A stream in another place is copied to this one as it is read.
        place = (
            {"remote": address, "local": f"/tmp/streaming/{export.origin.id}/{domain}"}
            if "://" in address
            else {"local": address}
        )
        streams[domain] = place | {"proportion": share}
    return streams


def _schedule(export: Export) -> dict[str, Any]:
    """The phases as LLM Foundry's callback takes them, which has the first one's data from the loader."""
    first, *others = export.earlier
    datamixes = [(phase.tokens, phase.weights) for phase in others] + [(export.budget or 0, export.weights)]
    schedule = [
        {"duration": f"{tokens}tok", "dataset": {"streams": _streams(export, weights)}} for tokens, weights in datamixes
    ]
    return {
        "train_loader": {"dataset": {"streams": _streams(export, first.weights)}},
        "callbacks": {"curriculum_learning": {"duration": f"{first.tokens}tok", "schedule": schedule}},
    }


_SCHEDULE = (
    "Parts of LLM Foundry's configuration: the callback curriculum_learning changes from one phase's streams to the "
    "next. Add to every dataset what else yours has, and give max_duration in tokens."
)
STREAMING = Format(
    streaming,
    ".yaml",
    "template",
    documents=False,
    silent=True,
    schedule=True,
    phases="has LLM Foundry's callback curriculum_learning in the .phases.yaml beside, with all phases; the streams of "
    "the main file are the last one's",
)
