"""The `regmix` command."""

from regmix_pipeline.cli import auditing, studies
from regmix_pipeline.cli.app import app

__all__ = ["app", "auditing", "studies"]
