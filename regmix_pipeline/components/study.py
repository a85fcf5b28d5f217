"""A study as a component: a Dagster project adds one with a few lines of YAML."""

from pathlib import Path

import dagster as dg

from regmix_pipeline.assets.names import names_in
from regmix_pipeline.definitions import build_definitions


class RegMixStudy(dg.Component, dg.Model, dg.Resolvable):
    """All that Dagster runs for a study: assets, checks, sensors, schedule and jobs.

    Attributes:
        study: the study's YAML; relative to the folder of the component's file.
        home: the study's home; relative to the same. Default: found by the study file.
        data: folder of downloaded corpora; relative to the same.
        workers: processes that train at once; 0 takes the study's number.
        automation: whether sensors and schedule start running.

    Names of jobs, sensors, resources and the schedule begin with the study's name, so a project may have several
    studies, each of a name of its own.
    """

    study: str
    home: str = ""
    data: str = ""
    workers: int = 0
    automation: bool = True

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """See `dagster.Component`."""
        folder = context.path if context.path.is_dir() else context.path.parent

        def placed(path: str) -> Path | str:
            return (folder / Path(path).expanduser()).resolve() if path else ""

        study = placed(self.study)
        # The project's own executor and instance run it.
        return build_definitions(
            study,
            placed(self.home),
            placed(self.data),
            self.workers,
            automation=self.automation,
            executor=None,
            prefix=f"{names_in(Path(study)).study}_",
        )
