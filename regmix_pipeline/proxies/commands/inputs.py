"""What a command is given: files in its proxy's folder, and the values of its placeholders."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import regmix_pipeline
from regmix_pipeline.files import write_json
from regmix_pipeline.formats.catalogue import FORMATS
from regmix_pipeline.formats.data import FIELD, DataFile, DomainData, reader_of
from regmix_pipeline.formats.export import Export, Origin, TargetTokens
from regmix_pipeline.formats.files import counted, main_file, texts_of, write_texts
from regmix_pipeline.formats.plan import sampling_plan
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.study.settings.trainer import filled

SHARDS = "shards.json"


def run_folder(spec: ProxySpec) -> Path:
    """The folder that a proxy's command writes into: `{out}`. It stays, with what the command keeps there."""
    return spec.folder.with_name("runs") / spec.id


def write_inputs(spec: ProxySpec, slot: int) -> str:
    """Write the files that a command reads into its folder; returns the command to run.

    Args:
        spec: the proxy.
        slot: the command's place among those that run at once.
    """
    assert spec.trainer is not None
    settings, out = spec.trainer.settings, run_folder(spec)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / SHARDS, token_files(spec))
    form = FORMATS.find(settings.format)
    main = main_file(out, spec.exact_mixture.id, settings.format, form)
    export = export_of(spec)
    plan = sampling_plan(export.weights, export.data, spec.training.tokens)
    write_texts(texts_of(export, settings.format, form, main, plan))
    values = {
        "out": out,
        "mixture_file": main,
        "shards": out / SHARDS,
        "mixture": spec.exact_mixture.id,
        "proxy": spec.id,
        "seed": spec.seed,
        "tokens": spec.training.tokens,
        "slot": slot,
    }
    return filled(settings.command, {name: str(value) for name, value in values.items()})


def token_files(spec: ProxySpec) -> dict[str, Any]:
    """The token files of domains and targets, JSON-able."""
    return {
        "domains": {
            domain: {
                "file": str(spec.shards[domain].path),
                "dtype": spec.shards[domain].dtype,
                "tokens": spec.shards[domain].tokens,
                "available_tokens": tokens,
            }
            for domain, tokens in spec.available_tokens.items()
        },
        "targets": {
            name: {"file": str(file.path), "dtype": file.dtype, "tokens": file.tokens, "bytes": file.bytes}
            for name, file in spec.targets.items()
        },
        "vocabulary": spec.vocabulary,
    }


def export_of(spec: ProxySpec) -> Export:
    """The proxy's mixture, as a format writes it."""
    assert spec.trainer is not None
    settings = spec.trainer.settings
    data: dict[str, DomainData] = {}
    for domain, tokens in spec.available_tokens.items():
        shard = spec.shards[domain]
        if settings.data is None:
            data[domain] = DomainData((DataFile(str(shard.path), tokens),), tokens, dtype=shard.dtype)
        else:
            address = settings.data.replace(FIELD, domain)
            data[domain] = DomainData((DataFile(address),), tokens, text_field="text", reader=reader_of(address))
    if settings.data is not None:
        data = counted(data, FORMATS.find(settings.format), next(iter(spec.shards.values())).dtype)
    about = {
        "study": spec.trainer.study,
        "proxy": spec.id,
        "mixture": spec.exact_mixture.id,
        "written_with": f"regmix-pipeline {regmix_pipeline.__version__}",
    }
    line = f"Mixture {about['mixture']} for proxy {spec.id} of study {about['study']}, by {about['written_with']}."
    weights = spec.exact_mixture.weights
    epochs = [spec.training.tokens * weights[name] / (data[name].available or math.inf) for name in weights]
    return Export(
        Origin(spec.exact_mixture.id, about, (line,)),
        weights,
        spec.trainer.objective,
        data,
        max_epochs=float(max(1, math.ceil(max(epochs)))),
        seed=spec.seed,
        budget=spec.training.tokens,
        targets={
            name: TargetTokens(str(file.path), file.dtype, file.tokens, file.bytes)
            for name, file in spec.targets.items()
        },
    )
