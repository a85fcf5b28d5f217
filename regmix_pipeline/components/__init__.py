"""Components for projects of Dagster's `dg`."""

from regmix_pipeline.components.study import RegMixStudy

__all__ = ["RegMixStudy"]
