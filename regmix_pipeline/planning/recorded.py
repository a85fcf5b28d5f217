"""What a study's home says of itself: what is made, and what it took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.files import read_json
from regmix_pipeline.planning import stated
from regmix_pipeline.planning.forecast.forecast import Forecast, StageForecast, forecast_of
from regmix_pipeline.planning.rates import evaluation_seconds
from regmix_pipeline.planning.speed import Speed
from regmix_pipeline.planning.work import LARGER, SIZES, STRATEGIES, Comparison, Work
from regmix_pipeline.proxies.tasks import PHASES
from regmix_pipeline.stages import PROXY_LOSSES, STAGES, behind

_FOLDERS = {"proxies": "proxies", "confirmation": "confirmations", **dict.fromkeys(Comparison, "compared")}
_FOLDERS |= {f"{LARGER} {number}": "sizes" for number in (1, 2)}


_OF_PROXIES = ("proxy_checkpoints", "proxy_losses")
"""Stages with a part for every proxy."""


@dataclass(frozen=True)
class ToTrain:
    """What is still to be trained of a batch of models.

    Attributes:
        models: how many.
        tokens: tokens that they are trained on, all together.
        at_most: whether both are an upper bound.
    """

    models: int
    tokens: int
    at_most: bool = False


@dataclass(frozen=True)
class RecordedWork:
    """What a home holds.

    Attributes:
        left: stage -> share of it that is still to be made, from 0 to 1.
        to_train: batch of models -> what is still to be trained of it.
        seconds: stage -> seconds that what is current took; of proxies a worker's, of others the wall's.
        guesses: why something is an upper bound, in words.
    """

    left: Mapping[str, float] = field(default_factory=dict)
    to_train: Mapping[str, ToTrain] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    guesses: tuple[str, ...] = ()

    def left_of(self, stage: str) -> float:
        """Share of a stage that is still to be made."""
        return self.left.get(stage, 1.0)


def made_of(workspace: Workspace, works: Sequence[Work]) -> RecordedWork:
    """Look at a home, and ahead at what `regmix run` would make in it; nothing is trained, tokenised or fetched.

    Without a home nothing is made: text is then not looked at.
    """
    if not (workspace.home / "records").is_dir():
        return nothing_made(works)
    found = forecast_of(workspace)
    seconds = {
        stage.name: sum(
            record.seconds
            for key in workspace.records.keys(stage.name)
            if (record := workspace.records.current(stage.name, key)) is not None
        )
        for stage in STAGES
    }
    later = found.later_rounds.models
    left = {row.stage: _share_left(row, later if row.stage in _OF_PROXIES else 0) for row in found.stages}
    if later:
        # A round's losses make all that follows from them anew.
        left |= {stage.name: 1.0 for stage in STAGES if PROXY_LOSSES in behind(stage)}
    return RecordedWork(left, {work.what: _to_train(found, work) for work in works}, seconds, found.guesses)


def nothing_made(works: Sequence[Work]) -> RecordedWork:
    """What there is before anything is made."""
    return RecordedWork(to_train={work.what: _all_of(work) for work in works})


def _share_left(row: StageForecast, later: int) -> float:
    """Share of a stage that would be made, with what later rounds add to it; all of it where that is not known."""
    if row.problem:
        return 1.0
    wanted = row.wanted + later
    return (len(row.stale) - len(row.restored) + later) / wanted if wanted else 0.0


def _all_of(work: Work, *, at_most: bool = False) -> ToTrain:
    return ToTrain(work.models, work.models * work.training.tokens, at_most)


def _to_train(found: Forecast, work: Work) -> ToTrain:
    """What the forecast says of a batch; all of it where the forecast does not know."""
    if work.before:
        row = found.of({"proxies": "phase_checkpoints", "confirmation": "confirmation"}.get(work.before, SIZES))
        # The forecast counts all phases together.
        return _all_of(work, at_most=bool(row.problem)) if row.models or row.problem else ToTrain(0, 0)
    if isinstance(work.what, Comparison):
        row = found.of(STRATEGIES)
        return _all_of(work, at_most=True) if row.models or row.problem else ToTrain(0, 0)
    if work.what.startswith(LARGER):
        row = found.of(SIZES)
        # The forecast counts all larger sizes together.
        return _all_of(work, at_most=True) if row.models or row.problem else ToTrain(0, 0)
    row = found.of("proxy_checkpoints" if work.what == "proxies" else work.what)
    if row.problem:
        return _all_of(work, at_most=True)
    now = ToTrain(row.models, row.tokens, row.tokens_at_most and row.models > 0)
    later = found.later_rounds
    if work.what != "proxies" or not later.models:
        return now
    return ToTrain(now.models + later.models, now.tokens + later.tokens, now.at_most or later.at_most)


def recorded_speed(workspace: Workspace, work: Work) -> Speed | None:
    """The speed at which this home's models of the same shape were trained; None where there are none."""
    found: list[dict[str, Any]] = []
    for path in sorted(workspace.path(PHASES if work.before else _FOLDERS[work.what]).glob("p*/proxy.json")):
        try:
            value = read_json(path)
            spec = value["spec"]
        except (ValueError, KeyError, TypeError):
            continue  # damaged: `regmix run` trains it again
        alike = spec["model"] == work.model.model_dump(mode="json") and spec["vocabulary"] == work.vocabulary
        if alike and spec["training"]["windows_per_step"] == work.training.windows_per_step and value["steps"]:
            found.append(value)
    if not found:
        return None
    clocks: dict[str, list[float]] = defaultdict(list)
    for value in found:
        for name in ("steps", "evaluation", "loading", "snapshots"):
            clocks[name].append(value["seconds"].get(name, 0.0))
        clocks["step"].append(value["seconds"]["steps"] / value["steps"])
    return Speed(
        startup=stated.WORKER_STARTUP["cuda" if found[0]["device"].startswith("cuda") else "cpu"],
        loading=mean(clocks["loading"]),
        step=mean(clocks["step"]),
        sampling=mean(clocks["evaluation"]),
        writing=mean(clocks["snapshots"]) + stated.WRITING_SECONDS,
        evaluation=evaluation_seconds(work, mean(clocks["step"])),
        source=f"recorded here: {len(found)} models",
        workers=workspace.workers or 1,
        stack=max(value.get("stacked", 1) for value in found),
    )
