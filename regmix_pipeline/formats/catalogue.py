"""The formats of trainers by name."""

from __future__ import annotations

from regmix_pipeline.registry import Registry

FORMATS = Registry(
    "format",
    __name__,
    {
        "regmix": "regmix:REGMIX",
        "olmo-core": "olmo_core:OLMO_CORE",
        "megatron": "megatron:MEGATRON",
        "nemo": "megatron:NEMO",
        "energon": "energon:ENERGON",
        "litgpt": "litgpt:LITGPT",
        "torchtitan": "torchtitan:TORCHTITAN",
        "mixtera": "mixtera:MIXTERA",
        "hf": "huggingface:HF",
        "streaming": "streaming:STREAMING",
        "csv": "csv_rows:CSV",
        "json": "json_tokens:JSON",
        "phases": "phases:PHASES",
    },
)
"""Name -> `Format`."""
