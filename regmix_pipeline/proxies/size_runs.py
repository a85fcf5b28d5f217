"""Stage of larger proxies: some of the mixtures trained again at a second size, and their losses there.

Which mixtures: the natural one, the best measured, and of all others a spread over the measured objective, one from
each of as many equal parts of its range of ranks. Inside a part the lowest id is taken, a choice at random that hardly
moves when mixtures come and go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import UNPARTITIONED, Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.files import fingerprint
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.rounds import has_pilots, next_round
from regmix_pipeline.mixtures.stage import current_mixtures, rounds_of_mixtures
from regmix_pipeline.proxies.larger import measure_larger, train_larger, with_starts
from regmix_pipeline.proxies.spec import EVALUATION_CODE, TRAINING_CODE, ProxySpec
from regmix_pipeline.proxies.stage import models_of
from regmix_pipeline.proxies.tasks import (
    PHASES,
    evaluation_specs,
    proxy_seed,
    proxy_specs,
    target_files,
    target_kinds,
    vocabulary_of,
)

CODE_VERSION = f"1-{TRAINING_CODE}-{EVALUATION_CODE}"
FOLDER = "sizes"
BEST = 3
"""Best measured mixtures that are always among the chosen: the decision is among the like of these."""
LAST_ROUND = 2
"""Round after which n-gram counts may end a study's rounds: the mixtures are then chosen, and not again."""


def has_sizes(workspace: Workspace) -> bool:
    """Whether the study trains larger proxies."""
    return bool(workspace.study.proxies.sizes)


def spread_of(losses: Mapping[str, float], count: int, always: list[str]) -> list[str]:
    """``count`` of the mixtures: those of ``always``, the best, and the lowest id of each part of the others' ranks.

    Args:
        losses: mixture id -> measured objective.
        count: how many; all where there are no more.
        always: ids that are taken first.

    >>> spread_of({f"m{number}": number for number in range(10)}, count=5, always=["m9"])
    ['m9', 'm0', 'm1', 'm2', 'm3']
    """
    ranked = sorted(losses, key=lambda key: (losses[key], key))
    chosen = list(dict.fromkeys([*(key for key in always if key in losses), *ranked[:BEST]]))[:count]
    others = [key for key in ranked if key not in chosen]
    parts = np.array_split(np.arange(len(others)), max(min(count - len(chosen), len(others)), 1))
    return chosen + [min(others[row] for row in part) for part in parts if len(part) and len(chosen) < count]


def chosen_mixtures(workspace: Workspace) -> list[dict[str, Mixture]]:
    """Id -> mixture of each size; none while a round of the study is still to come.

    Raises:
        LedgerError: the proxies' losses were not measured.
    """
    sizes = workspace.study.proxies.sizes
    mixtures = _eligible(workspace)
    if mixtures is None:
        return [{} for _ in sizes]
    objective = workspace.study.objective
    losses = {
        key: sum(share * measured[target] for target, share in objective.items())
        for key in mixtures
        if (measured := workspace.need("proxy_losses", key).facts["losses (nats/token)"])
    }
    natural = [
        entry["id"] for entry in workspace.json("mixtures")["mixtures"] if entry["origin"] in ("natural", "uniform")
    ]
    return [{key: mixtures[key] for key in spread_of(losses, size.mixtures, natural)} for size in sizes]


def _eligible(workspace: Workspace) -> dict[str, Mixture] | None:
    """The mixtures to choose from; None while rounds are to come that may change them."""
    mixtures, following = current_mixtures(workspace), next_round(workspace)
    if not has_pilots(workspace.study):
        return mixtures if following is None else None
    if following is not None and following.number <= LAST_ROUND:
        return None
    rounds = rounds_of_mixtures(workspace)
    return {key: mixture for key, mixture in mixtures.items() if rounds.get(key, 1) <= LAST_ROUND}


def size_specs(workspace: Workspace, chosen: list[dict[str, Mixture]]) -> list[dict[str, list[ProxySpec]]]:
    """Mixture id -> its larger proxy, of each size."""
    seed = [proxy_seed(workspace, 0)]
    return [
        proxy_specs(
            workspace,
            mixtures,
            size.model_settings,
            size.training_settings,
            dict.fromkeys(mixtures, seed),
            FOLDER,
            trajectory=False,
        )
        if mixtures
        else {}
        for size, mixtures in zip(workspace.study.proxies.sizes, chosen, strict=True)
    ]


def _expected_recipes(workspace: Workspace) -> dict[str, Recipe]:
    if not has_sizes(workspace):
        return {}
    study = workspace.study
    settings: dict[str, Any] = {
        "sizes": [size.model_dump(mode="json") for size in study.proxies.sizes],
        "proxies": [study.proxies.model_settings.model_dump(mode="json"), study.proxies.training_settings.tokens],
        "objective": study.objective,
        "seed": study.seed,
        "windows": study.proxies.evaluation.windows,
        "code": CODE_VERSION,
    } | target_kinds(workspace)
    inputs = workspace.versions("mixtures")
    eligible = _eligible(workspace)
    if eligible is not None:
        inputs |= workspace.versions("proxy_losses", list(eligible))
        inputs |= workspace.versions("token_shards", list(study.sources))
    return {UNPARTITIONED: Recipe(inputs, settings)}


def _compute(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    version = fingerprint("size runs", recipes[UNPARTITIONED].id)
    vocabulary, study = vocabulary_of(workspace), workspace.study
    chosen = chosen_mixtures(workspace)
    specs = size_specs(workspace, chosen)
    models = [spec for group in specs for each in group.values() for spec in each]
    sums = _trained(workspace, specs)
    tasks = evaluation_specs(workspace, models, target_files(workspace), study.proxies.evaluation)
    measured = measure_larger(workspace, tasks)
    own = study.proxies
    sizes = [_size(model, training, vocabulary) for model, training in _shapes(workspace)]
    content = {
        "base": _size(own.model_settings, own.training_settings, vocabulary),
        "runs": [
            {
                **size,
                "mixture": key,
                "proxy": spec.id,
                "parts": dict(mixtures[key].parts),
                "losses": {target: found["loss"] for target, found in measured[spec.id].items()},
            }
            for size, mixtures, group in zip(sizes, chosen, specs, strict=True)
            for key, each in group.items()
            for spec in each
        ],
    }
    path = workspace.write_json(content, "size_runs", f"{version}.json")
    rows = [
        {
            "proxy": run["proxy"],
            "mixture": run["mixture"],
            "seed": study.seed,
            "parameters": run["parameters"],
            "tokens": run["tokens"],
            "target": target,
            **{
                name: measured[run["proxy"]][target][name]
                for name in ("target_version", "loss", "standard_error", "bits_per_byte", "evaluated_tokens")
            },
        }
        for run in content["runs"]
        for target in workspace.targets
    ]
    table = workspace.write_rows("size_losses", version, rows)
    facts = {
        "proxies": len(models),
        "sizes": [f"{size['parameters']:,} parameters, {size['tokens']:,} tokens" for size in sizes],
        "tokens": sum(spec.training.tokens for spec in models),
    }
    if not models:
        facts["waits for"] = "the study's rounds"
    files = with_starts(models) + [task.output for task in tasks]
    yield Output(UNPARTITIONED, version, facts, [path, table, *files], sums=sums)


def _shapes(workspace: Workspace) -> list[tuple[Any, Any]]:
    return [(size.model_settings, size.training_settings) for size in workspace.study.proxies.sizes]


def _size(model: Any, training: Any, vocabulary: int) -> dict[str, int]:
    tokens = training.steps(model.context) * training.windows_per_step * model.context
    return {"parameters": model.parameters(vocabulary), "tokens": tokens}


def _trained(workspace: Workspace, specs: list[dict[str, list[ProxySpec]]]) -> dict[Path, str]:
    """Train the models; path -> SHA-256 of their weights."""
    sums: dict[Path, str] = {}
    for group in specs:
        models = [spec for each in group.values() for spec in each]
        if not models:
            continue
        workspace.say(f"  {models_of(models)}, to learn what moves with size")
        sums |= train_larger(workspace, models, "size_runs", "larger proxies trained")
    return sums


SIZE_RUNS = Stage(
    "size_runs",
    ("mixtures", "proxy_losses", "token_shards"),
    None,
    CODE_VERSION,
    _expected_recipes,
    _compute,
    folders=(FOLDER, PHASES, "size_runs", "evaluations"),
    kinds=("torch",),
    group="proxies",
    description="Some of the mixtures trained again as larger models, from which it is learned what moves with size.",
)
