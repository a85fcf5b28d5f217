"""The workspace as a Dagster resource: the study file and the folders its artefacts live in."""

from __future__ import annotations

import dagster as dg

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.resources.trainer import TrainerResource
from regmix_pipeline.study.file import default_study_file


class WorkspaceResource(dg.ConfigurableResource):
    """The study on disk: what every asset reads and writes.

    Left empty, fields come from the environment: REGMIX_STUDY, REGMIX_HOME, REGMIX_DATA.
    """

    trainer: TrainerResource
    study_file: str = ""
    home: str = ""
    data: str = ""

    def open(self, run: str = "") -> Workspace:
        """The workspace, with ``run`` as the id that new records carry.

        Raises:
            StudyError: the study file is wrong.
        """
        return Workspace(
            self.study_file or default_study_file(),
            self.home or None,
            self.data or None,
            run=run,
            workers=self.trainer.workers or None,
        )
