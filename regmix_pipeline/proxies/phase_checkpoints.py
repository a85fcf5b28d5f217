"""Stage of the settled phases: one model trained through them, from which every proxy goes on with its own mixture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import UNPARTITIONED, Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.files import fingerprint, read_json
from regmix_pipeline.numbers import amount
from regmix_pipeline.proxies.larger import train_larger
from regmix_pipeline.proxies.spec import TRAINING_CODE, ProxySpec, files_of
from regmix_pipeline.proxies.tasks import PHASES, start_of_proxies
from regmix_pipeline.study.phases import goes_on, settled


def phase_specs(workspace: Workspace) -> list[ProxySpec]:
    """The proxies' model after each settled phase, in order; none where proxies go on from no such model."""
    start = start_of_proxies(workspace) if goes_on(workspace.study) else None
    return [] if start is None else start.phases


def _expected_recipes(workspace: Workspace) -> dict[str, Recipe]:
    specs = phase_specs(workspace)
    if not specs:
        return {}
    drawn = sorted({domain for spec in specs for domain, _ in spec.exact_mixture.parts})
    settings = {"proxies": [spec.id for spec in specs], "code": TRAINING_CODE}
    return {UNPARTITIONED: Recipe(workspace.versions("token_shards", drawn), settings)}


def phases_version(specs: list[ProxySpec]) -> str:
    """Version of the models of earlier phases: known before they are trained."""
    return fingerprint("phase checkpoints", [spec.id for spec in specs])


def _compute(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    specs, phases = phase_specs(workspace), settled(workspace.study)
    through = ", ".join(
        f"{phase.name} ({amount(spec.training.tokens)} tokens)" for phase, spec in zip(phases, specs, strict=True)
    )
    workspace.say(
        f"  a model of {amount(specs[0].model.parameters(specs[0].vocabulary))} parameters, through {through}"
    )
    weights = train_larger(workspace, specs, "phase_checkpoints", "phases trained")
    values = [read_json(spec.output / "proxy.json") for spec in specs]
    facts = {
        "phases": {
            phase.name: {"proxy": spec.id, "tokens": value["tokens"], "training loss": value["training_loss"]}
            for phase, spec, value in zip(phases, specs, values, strict=True)
        },
        "tokens": sum(value["tokens"] for value in values),
        "parameters": values[-1]["parameters"],
    }
    seconds = sum(value["seconds"]["total"] for value in values)
    files = files_of(specs)
    yield Output(UNPARTITIONED, phases_version(specs), facts, files, seconds, weights)


PHASE_CHECKPOINTS = Stage(
    "phase_checkpoints",
    ("token_shards",),
    None,
    TRAINING_CODE,
    _expected_recipes,
    _compute,
    folders=(PHASES,),
    output_folder=PHASES,
    kinds=("torch",),
    group="proxies",
    description="A model trained once through the phases before the last, from which every proxy goes on.",
)
