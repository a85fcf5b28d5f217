"""The formats that blends are read in, in the order they are tried."""

from __future__ import annotations

from regmix_pipeline.registry import Registry

BLENDS = Registry(
    "blend format",
    __name__,
    {
        "olmo-core": "olmo_core:olmo_core",
        "energon": "energon:energon",
        "regmix": "regmix:regmix",
        "megatron": "megatron:megatron",
        "python": "python_module:python_module",
        "table": "rows:rows",
    },
)
"""Name -> function from a `Content` to a `Blend`, or to None where the content is something else."""
