"""The process of one job of a comparison: ``python -P -m regmix_pipeline.strategies.comparison.process``.

Started by `jobs.done`. Its task is a line of JSON on standard input, its answer one on standard output.
"""

from __future__ import annotations

import json
from typing import Any

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.progress import to_stderr
from regmix_pipeline.proxies.workers.local import explained
from regmix_pipeline.proxies.workers.worker import answers_no_signals, lines_of_stdin, private_stdout
from regmix_pipeline.stages import STRATEGY_COMPARISON  # with all stages, which say whose each folder is
from regmix_pipeline.strategies.comparison.job import Asked, chosen_and_steered


def main() -> None:
    """Do the one task of standard input, and answer."""
    answers_no_signals()
    answers = private_stdout()
    line = lines_of_stdin().get()
    if line is None:
        return
    task = json.loads(line)
    asked = Asked(**task["asked"])
    try:
        workspace = Workspace(task["study_file"], task["home"], task["data"], workers=task["workers"], say=to_stderr)
        workspace = STRATEGY_COMPARISON.view(workspace)
        chosen_and_steered(workspace, asked)
        answer: dict[str, Any] = {}
    except Exception as error:
        answer = {"error": explained(error, f"strategy {asked.strategy}").payload}
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
