"""The `regmix` command."""

from regmix_pipeline.cli import (
    auditing,
    comparing,
    explaining,
    exporting,
    lineage,
    opening,
    proxies,
    starting,
    studies,
    training,
)
from regmix_pipeline.cli.app import app

__all__ = [
    "app",
    "auditing",
    "comparing",
    "explaining",
    "exporting",
    "lineage",
    "opening",
    "proxies",
    "starting",
    "studies",
    "training",
]
