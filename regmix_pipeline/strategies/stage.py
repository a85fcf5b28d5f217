"""Strategy comparison: ways of choosing a mixture, compared by the models that their choices lead to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import UNPARTITIONED, Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.files import fingerprint
from regmix_pipeline.ngrams.stage import NGRAM_MODELS, counts_ngrams
from regmix_pipeline.proxies.spec import EVALUATION_CODE, TRAINING_CODE
from regmix_pipeline.registry import code_version
from regmix_pipeline.strategies.comparison.files import CODE_VERSION as COMPARISON_CODE
from regmix_pipeline.strategies.comparison.files import FOLDER

CODE_VERSION = f"{COMPARISON_CODE}-{TRAINING_CODE}-{EVALUATION_CODE}"


def _expected_recipes(workspace: Workspace) -> dict[str, Recipe]:
    strategies = workspace.study.strategies
    if strategies is None:
        return {}
    from regmix_pipeline.strategies.named import named_strategy

    options = {name: strategies.options.get(name, {}) for name in strategies.names if name != "natural"}
    confirmation = workspace.study.confirmation
    settings = {
        "strategies": strategies.model_dump(mode="json"),
        "codes": {name: code_version(named_strategy(name, given)) for name, given in options.items()},
        "confirmation": confirmation.model_dump(mode="json") if confirmation and not strategies.target else None,
        "evaluation": workspace.study.proxies.evaluation.recipe(),
        "alternatives": workspace.study.alternatives.get(strategies.human or ""),
        "code": CODE_VERSION,
    }
    inputs = workspace.versions("mixture_decision") | workspace.versions("token_shards", list(workspace.study.sources))
    if counts_ngrams(workspace):
        inputs |= workspace.versions(NGRAM_MODELS.name)
    return {UNPARTITIONED: Recipe(inputs, settings)}


def _compute(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    from regmix_pipeline.strategies.comparison.candidates import candidates
    from regmix_pipeline.strategies.comparison.compared import compared
    from regmix_pipeline.strategies.comparison.results import candidate_rows, choice_rows, loss_rows, result_of
    from regmix_pipeline.strategies.trained.arena import TrainedArena

    arena = TrainedArena(workspace)
    found = compared(workspace, arena)
    tried = candidates(workspace, arena, found)
    result = result_of(arena, found, tried, workspace.study.seed)
    version = fingerprint("strategy comparison", recipes[UNPARTITIONED].id)
    path = workspace.write_json(result, FOLDER, f"comparison-{version}.json")
    workspace.write_rows("strategy_choices", version, choice_rows(found))
    workspace.write_rows("strategy_losses", version, loss_rows(arena, found))
    if tried:
        workspace.write_rows("strategy_candidates", version, candidate_rows(tried))
    yield Output(UNPARTITIONED, version, _facts(result), [path])


def _facts(result: Mapping[str, Any]) -> dict[str, Any]:
    rows = result["ranking"]
    facts: dict[str, Any] = {
        "best": rows[0]["strategy"],
        "ranking": [row["strategy"] for row in rows],
        "objective (nats/token)": {row["strategy"]: row["objective"] for row in rows},
        "difference to natural (nats/token)": {row["strategy"]: row["difference"] for row in rows},
        "standard error of the difference over seeds": {
            row["strategy"]: row["difference_standard_error"] for row in rows
        },
        "beyond the limits": [row["strategy"] for row in rows if not row["within_limits"]] or "none",
    }
    if result["candidates"] is not None:
        facts["rank correlation with the target"] = {
            name: round(row["spearman"], 3) for name, row in result["candidates"]["rank_correlations"].items()
        }
        facts["place among candidates"] = result["candidates"]["places"]
    return facts


STRATEGY_COMPARISON = Stage(
    "strategy_comparison",
    (
        "mixture_decision",
        "optimal_mixture",
        "regressor",
        "domain_inventory",
        "token_shards",
        "mixtures",
        "proxy_checkpoints",
        NGRAM_MODELS.name,
    ),
    None,
    CODE_VERSION,
    _expected_recipes,
    _compute,
    # The larger models of a confirmation are named by what they are: whoever trained one, it is the same.
    folders=(FOLDER, "compared", "confirmations", "evaluations"),
    kinds=("torch",),
    group="decision",
    description=(
        "Strategies choose within one budget, and the target model is trained on each choice: which way of "
        "choosing is best?"
    ),
)
