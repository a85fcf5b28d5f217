"""What a study's home says of itself: what is made, and what it took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from regmix_pipeline.documents.stage import missing_corpora, stale_at_a_glance
from regmix_pipeline.errors import RegmixError
from regmix_pipeline.files import read_json
from regmix_pipeline.lab import Lab
from regmix_pipeline.mixtures.stage import current_mixtures
from regmix_pipeline.planning import stated
from regmix_pipeline.planning.rates import evaluation_seconds
from regmix_pipeline.planning.speed import Speed
from regmix_pipeline.planning.work import STRATEGIES, Comparison, Work
from regmix_pipeline.proxies.current import current_specs
from regmix_pipeline.stages import STAGES

_FOLDERS = {"proxies": "proxies", "confirmation": "confirmations", **dict.fromkeys(Comparison, "compared")}


@dataclass(frozen=True)
class Made:
    """What a home holds.

    Attributes:
        left: stage -> share of it that is still to be made, from 0 to 1.
        models: batch of models -> how many are still to be trained.
        seconds: stage -> seconds that what is current took; of proxies a worker's, of others the wall's.
    """

    left: Mapping[str, float] = field(default_factory=dict)
    models: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def left_of(self, stage: str) -> float:
        """Share of a stage that is still to be made."""
        return self.left.get(stage, 1.0)


def made_of(lab: Lab, works: tuple[Work, ...]) -> Made:
    """Look at a home; nothing is started, read in full or fetched.

    What stands behind something stale counts as to be made, although it may turn out the same.
    """
    if not (lab.home / "records").is_dir() or missing_corpora(lab):
        return Made()
    left: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for stage in STAGES:
        records = [lab.records.current(stage.name, key) for key in lab.records.keys(stage.name)]
        seconds[stage.name] = sum(record.seconds for record in records if record is not None)
        if any(left.get(name, 0.0) > 0 for name in stage.upstream if name != "imported_runs"):
            # Of these only the partitions that draw on what changed; without looking, all.
            left[stage.name] = 1.0
            continue
        try:
            wanted = len(stage.wanted(lab)) if stage.name != "documents" else len(lab.study.sources)
            stale = stale_at_a_glance(lab) if stage.name == "documents" else lab.stale(stage)
        except RegmixError:
            left[stage.name] = 1.0
            continue
        left[stage.name] = len(stale) / wanted if wanted else 0.0
    return Made(left, {work.what: _models_left(lab, work, left) for work in works}, seconds)


def _models_left(lab: Lab, work: Work, left: Mapping[str, float]) -> int:
    """Models that are not finished."""
    if work.what != "proxies":
        stage = STRATEGIES if isinstance(work.what, Comparison) else work.what
        return work.models if left.get(stage, 1.0) else 0
    if left.get("mixtures", 1.0) or left.get("token_shards", 1.0):
        return work.models
    specs = [spec for group in current_specs(lab, current_mixtures(lab)).values() for spec in group]
    return sum(not spec.is_finished for spec in specs)


def recorded_speed(lab: Lab, work: Work) -> Speed | None:
    """The speed at which this home's models of the same shape were trained; None where there are none."""
    found: list[dict[str, Any]] = []
    for path in sorted(lab.path(_FOLDERS[work.what]).glob("p*/proxy.json")):
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
        workers=lab.workers or 1,
    )
