"""What a trainer's account of its run may be, by name."""

from __future__ import annotations

from regmix_pipeline.registry import Registry

RUN_LOGS = Registry(
    "kind of log",
    __name__,
    {
        "table": "table:TABLE",
        "litdata": "litdata:LITDATA",
        "olmo-core": "olmo_core:OLMO_CORE",
    },
)
"""Name -> `RunLog`, in the order in which they are tried."""
