"""OLMo-core's source mixture (olmo_core.data.source_mixture.SourceMixtureList), as YAML."""

from __future__ import annotations

import yaml

from regmix_pipeline.formats.count import token_files
from regmix_pipeline.formats.export import Export
from regmix_pipeline.formats.format import Format


def olmo_core(export: Export) -> dict[str, str]:
    """The file that ``SourceMixtureList.from_yaml`` reads.

    ``target_ratio`` is a share of tokens, and the ratios must sum to 1; ``max_repetition_ratio`` is how often a source
    may be read, below which the library refuses to build the mixture. It is the study's own limit on epochs.
    """
    sources = [
        {
            "source_name": domain,
            "target_ratio": weight,
            "paths": [file.address for file in export.data[domain].files],
            "max_repetition_ratio": max(1.0, export.epochs_of(domain)),
            "max_source_fraction": 1.0,
        }
        for domain, weight in export.weights.items()
    ]
    kinds = sorted({data.dtype for data in export.data.values()} - {""})
    budget = f"requested_tokens={export.budget}" if export.budget else "requested_tokens=<tokens of the run>"
    notes = [
        "target_ratio is a share of tokens. max_repetition_ratio is the limit on epochs: the library "
        "refuses a mixture that would repeat a source more often.",
        f"Read it with SourceMixtureDatasetConfig(source_list=SourceMixtureList.from_yaml(path), {budget}, "
        f"global_batch_size=<tokens a step>, seed={export.seed}).build(npdtype=..., sequence_length=...).",
    ]
    if kinds:
        notes.append(f"The paths are headless token files, {' and '.join(kinds)} little-endian: npdtype has to agree.")
    return {"": export.comment(*notes) + yaml.safe_dump({"sources": sources}, sort_keys=False, allow_unicode=True)}


OLMO_CORE = Format(olmo_core, ".yaml", "token files", count=token_files)
