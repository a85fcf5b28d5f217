"""The `regmix` command."""

from regmix_pipeline.cli import studies
from regmix_pipeline.cli.app import app

__all__ = ["app", "studies"]
