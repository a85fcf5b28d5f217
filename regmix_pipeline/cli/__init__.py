"""The `regmix` command."""

from regmix_pipeline.cli import (
    asking,
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
    tracking,
    training,
    verifying,
)
from regmix_pipeline.cli.app import app

__all__ = [
    "app",
    "asking",
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
    "tracking",
    "training",
    "verifying",
]
