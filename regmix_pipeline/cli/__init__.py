"""The `regmix` command."""

from regmix_pipeline.cli import auditing, exporting, studies
from regmix_pipeline.cli.app import app

__all__ = ["app", "auditing", "exporting", "studies"]
