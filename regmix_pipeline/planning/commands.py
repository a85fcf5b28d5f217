"""Wall time of proxies that a command of the user's own trains: as recorded here, as the study states, or not known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import mean

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.files import read_json
from regmix_pipeline.planning import stated
from regmix_pipeline.planning.rates import Trainers
from regmix_pipeline.planning.work import Work
from regmix_pipeline.proxies.memory import Memory
from regmix_pipeline.study.settings.trainer import TrainerSettings


@dataclass(frozen=True)
class Commands:
    """The command's proxies, each on a device of its own, beside models that this package trains.

    Attributes:
        others: whatever trains the others.
        at_once: commands at once.
        seconds: of one command; None where nobody knows.
        said: where they come from.
    """

    others: Trainers
    at_once: int
    seconds: float | None
    said: str

    @property
    def workers(self) -> int:
        """Commands at once."""
        return self.at_once

    def training(self, work: Work, models: int) -> float:
        """Rounds of equal commands."""
        if not work.command:
            return self.others.training(work, models)
        between = stated.TASK_SECONDS + stated.ORCHESTRATION_SECONDS
        return max(math.ceil(models / self.at_once) * (self.seconds or 0.0), models * between)

    def measuring(self, work: Work, models: int) -> float:
        """The command measures its own proxies; what it reported is read."""
        return models * work.targets * stated.TASK_SECONDS if work.command else self.others.measuring(work, models)

    def devices(self, work: Work) -> int:
        """One a command."""
        return min(self.at_once, work.models) if work.command else self.others.devices(work)

    def per_model(self, work: Work) -> int:
        """One of a command's, which may use what it likes."""
        return 1 if work.command else self.others.per_model(work)

    def divided(self, work: Work) -> bool:
        """None of a command's."""
        return not work.command and self.others.divided(work)

    def stack(self, work: Work) -> int:
        """One."""
        return 1 if work.command else self.others.stack(work)

    def memory(self, work: Work) -> Memory:
        """Not known of a command."""
        return Memory(0, 0, 0, 0, 0, 0, 0) if work.command else self.others.memory(work)

    def source(self, work: Work) -> str:
        """Of the seconds."""
        return self.said if work.command else self.others.source(work)

    def warnings(self, work: Work) -> list[str]:
        """Whether the time of a command is known."""
        if not work.command:
            return self.others.warnings(work)
        if self.seconds is not None:
            return []
        return [
            "proxies: nobody knows how long a command takes, so it is not counted: state proxies.trainer.hours, or "
            "train some first (`regmix train --slice 1/100`)"
        ]


def command_seconds(workspace: Workspace | None, settings: TrainerSettings, work: Work) -> tuple[float | None, str]:
    """Seconds of one command, None where nobody knows, and where they come from."""
    found = _recorded(workspace, settings, work) if workspace is not None else []
    if found:
        return mean(found), f"recorded here: {len(found)} commands"
    if settings.hours is not None:
        return 3600 * settings.hours, "proxies.trainer.hours"
    return None, "not known"


def _recorded(workspace: Workspace, settings: TrainerSettings, work: Work) -> list[float]:
    found = []
    for path in sorted(workspace.path("proxies").glob("p*/proxy.json")):
        try:
            value = read_json(path)
            spec, seconds = value["spec"], value["seconds"]["total"]
            alike = spec["trainer"]["settings"]["command"] == settings.command
        except (ValueError, KeyError, TypeError):
            continue  # of this package's own training, or damaged
        if alike and spec["training"]["tokens"] == work.training.tokens and seconds:
            found.append(seconds)
    return found
