"""The `regmix` command."""

from regmix_pipeline.cli import (
    auditing,
    blends,
    comparing,
    designing,
    explaining,
    exporting,
    importing,
    lineage,
    opening,
    proxies,
    starting,
    studies,
    training,
    verifying,
)
from regmix_pipeline.cli.app import app

__all__ = [
    "app",
    "auditing",
    "blends",
    "comparing",
    "designing",
    "explaining",
    "exporting",
    "importing",
    "lineage",
    "opening",
    "proxies",
    "starting",
    "studies",
    "training",
    "verifying",
]
