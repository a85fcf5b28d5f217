"""`regmix compare`: strategies of choosing a mixture, compared by the models that their choices lead to."""

from __future__ import annotations

from regmix_pipeline.cli.app import AsJson, Data, Home, StudyFile, Workers, answer, app, open_workspace, plain_errors
from regmix_pipeline.stopping import stoppable
from regmix_pipeline.study_check.check import begin


@app.command()
@plain_errors
@stoppable
def compare(
    study: StudyFile = None, home: Home = None, data: Data = None, workers: Workers = None, as_json: AsJson = False
) -> None:
    """Compare strategies of choosing a mixture: each chooses within one budget, then the target model is trained.

    Brings up to date what the comparison is based on, but trains no confirmation and writes no report.
    """
    from regmix_pipeline.assets.runner import run_stale
    from regmix_pipeline.stages import TO_COMPARE
    from regmix_pipeline.strategies.comparison.show import show_comparison
    from regmix_pipeline.strategies.trained.arena import settings_of

    workspace = open_workspace(study, home, data, workers=workers)
    settings_of(workspace)
    begin(workspace)
    run_stale(workspace, TO_COMPARE, "regmix compare")
    result = workspace.json("strategy_comparison")
    answer(result, lambda console: show_comparison(result, console), as_json)
