"""Stage 7, regressor: loss as a function of the mixture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import UNPARTITIONED, Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.files import fingerprint, folder_written_atomically, write_json
from regmix_pipeline.mixtures.stage import current_mixtures
from regmix_pipeline.ngrams.stage import NGRAM_MODELS, counts_ngrams, ngram_evidence
from regmix_pipeline.proxies.imports import imported_runs, runs_of_other_sizes
from regmix_pipeline.proxies.size_runs import SIZE_RUNS, has_sizes
from regmix_pipeline.regression.catalogue import REGRESSORS
from regmix_pipeline.regression.signal import REMEDY, noise_rows, with_errors
from regmix_pipeline.regression.training_data import LossTable, available_tokens, loss_curves, loss_table
from regmix_pipeline.study.phases import phase_parts
from regmix_pipeline.study.settings.regression import RegressionSettings

if TYPE_CHECKING:
    from regmix_pipeline.regression.at_target import AtTarget
    from regmix_pipeline.regression.fitted import FittedRegressor

CODE_VERSION = "10"
SIZE_CODE = "2"
"""Raised by hand when the same runs of a second size come to mean another law."""
ENOUGH = 0.95
"""Rank correlation at which unfinished proxies are said to rank mixtures as finished ones do."""


def _expected_recipes(workspace: Workspace) -> dict[str, Recipe]:
    inputs = workspace.versions("mixtures") | workspace.versions("proxy_losses", list(current_mixtures(workspace)))
    if workspace.study.imports:
        inputs |= workspace.versions("imported_runs")
    if workspace.study.trains:
        inputs |= workspace.versions("earlier_runs")
    settings = {
        "regression": workspace.study.regression.model_dump(mode="json"),
        "targets": workspace.targets,
        # Which mixtures count as good, and on which targets n-gram counts must be trusted.
        "objective": workspace.study.objective,
        "domains": workspace.coordinates,
        "seed": workspace.study.seed,
        "code": CODE_VERSION,
        "noise": workspace.study.proxies.noise.model_dump(mode="json", include={"flag_below"}),
    }
    if (least := workspace.study.flag_error_below) is not None:
        settings["flag_error_below"] = least
    if counts_ngrams(workspace):
        inputs |= workspace.versions(NGRAM_MODELS.name)
    if share := _law_share(workspace):
        settings["law share"] = share
    if own := REGRESSORS.own_versions(workspace.study.regression.regressors):
        settings["own regressors"] = own
    if available := available_tokens(workspace):
        settings["available tokens"] = available
    if workspace.study.limits.target_parameters is not None:
        settings["target size"] = [workspace.study.limits.target_parameters, workspace.study.limits.target_tokens]
        settings["law of size"] = SIZE_CODE
    if has_sizes(workspace):
        inputs |= workspace.versions(SIZE_RUNS.name)
    return {UNPARTITIONED: Recipe(inputs, settings)}


def _compute(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    from regmix_pipeline.regression.at_target import BASE, FILE, law_of_size, moved_to_target
    from regmix_pipeline.regression.fitted import EVIDENCE
    from regmix_pipeline.regression.fitting import fit
    from regmix_pipeline.regression.other_sizes import scores_of_other_sizes
    from regmix_pipeline.regression.outliers import outliers

    if phase_parts(workspace.study):
        workspace.say(
            "  phases chosen at once: laws of n-gram counts, of repetition and of steps are not fitted; they know "
            "nothing of when text is seen"
        )
    table = loss_table(workspace)
    settings: RegressionSettings = workspace.study.regression
    found = outliers(table.weights, table.losses, workspace.targets, workspace.study.seed)
    unexplained = [outlier.as_json(table.mixtures[outlier.row], table.runs[outlier.row]) for outlier in found]
    for each in unexplained:
        workspace.say(f"  {unexplained_loss(each, settings)}")
    if settings.outliers == "leave_out":
        table = table.without([outlier.row for outlier in found])
    fitted = fit(
        table.weights,
        table.losses,
        table.standard_errors,
        table.domains,
        workspace.targets,
        settings,
        workspace.study.seed,
        workspace.workers,
        workspace.say,
        None if table.epochs is None else table.epochs.rows,
        None if table.epochs is None else table.epochs.proxies,
        ngram_evidence(workspace),
        workspace.study.objective,
        _law_share(workspace),
    )
    other_sizes, sizes = scores_of_other_sizes(fitted, runs_of_other_sizes(workspace), settings, workspace.study.seed)
    fitted = replace(fitted, scores=[*fitted.scores, *other_sizes])
    noise = noise_rows(table.noise, workspace.targets, workspace.study.proxies.noise)
    if (least := workspace.study.flag_error_below) is not None:
        noise = with_errors(noise, workspace.targets, table.losses, table.sampling_errors, least)
    at_target = law_of_size(workspace, fitted)
    moved = at_target is not None and at_target.used
    version = fingerprint("regressor", recipes[UNPARTITIONED].id)
    folder = workspace.path("regressors", version)
    with folder_written_atomically(folder) as temporary:
        used = moved_to_target(workspace, fitted, at_target, table) if moved and at_target else fitted
        used.save(temporary)
        if at_target is not None:
            at_target.save(temporary)
        if moved:
            (temporary / BASE).mkdir()
            fitted.save(temporary / BASE)
        write_json(temporary / "scores.json", {"chosen": fitted.chosen, "scores": fitted.scores})
        write_json(temporary / "noise.json", noise)
        write_json(temporary / "outliers.json", unexplained)
    workspace.write_rows("regressor_scores", version, fitted.scores)
    if at_target is not None:
        workspace.write_rows("size_scores", version, at_target.rows())
    workspace.write_rows("regressor_choices", version, _choices(fitted, settings))
    workspace.write_rows("noise_floor", version, noise)
    steps = _step_laws(workspace, table, settings)
    workspace.write_rows("step_laws", version, steps)
    workspace.write_rows(
        "out_of_fold",
        version,
        [
            {
                "mixture": mixture,
                "target": target,
                "loss": float(table.losses[i, j]),
                "predicted": float(fitted.out_of_fold[i, j]),
            }
            for i, mixture in enumerate(table.mixtures)
            for j, target in enumerate(workspace.targets)
        ],
    )
    spearman = {
        row["target"]: row["value"]
        for row in fitted.scores
        if row["chosen"] and row["metric"] == "spearman" and row["split"] == "random"
    }
    facts = {
        "rows": len(table.mixtures),
        "chosen": fitted.chosen,
        "chosen on folds": list(fitted.judged_on),
        "out-of-fold spearman": spearman,
        "lowest spearman of the objective": min(spearman[target] for target in workspace.study.objective),
    }
    facts |= _trust_facts(fitted, workspace.study.objective)
    if sizes:
        facts["rank correlation with other model sizes"] = sizes
    if at_target is not None:
        facts["size that decides"] = _size_facts(at_target)
    if unexplained:
        facts["losses that no mixture explains"] = [unexplained_loss(each, settings) for each in unexplained]
    if noise:
        facts |= _signal_facts(noise)
    if steps:
        facts["share of steps that ranks proxies at .95"] = _shortest(steps, workspace.study.objective)
    names = ["regressor.json", "scores.json", "noise.json", "outliers.json", *([EVIDENCE] if fitted.evidence else [])]
    names += [FILE] * (at_target is not None)
    names += [f"{BASE}/{name}" for name in ("regressor.json", *([EVIDENCE] if fitted.evidence else []))] * moved
    yield Output(UNPARTITIONED, version, facts, [folder / name for name in names])


def _size_facts(found: AtTarget) -> str:
    """Which size predictions are for, and why."""
    from regmix_pipeline.regression.sizes import SLOPES

    slopes = next(each for each in found.law.scores if each.law == SLOPES)
    gains = f"error on mixtures left out {slopes.gain:+.4f} ± {slopes.gain_error:.4f} below one size's"
    if found.used:
        return f"the target's, by slopes that differ with probability {found.law.sure:.3f}: {gains}"
    return f"the proxies': slopes differ with probability {found.law.sure:.3f}: {gains}"


def _signal_facts(noise: list[dict[str, Any]]) -> dict[str, Any]:
    """Signal over noise of every target, and what to do about those that are flagged."""
    found: dict[str, Any] = {}
    for heading, column in (("signal / noise", "signal_to_noise"), ("spread / standard error", "spread_to_error")):
        known = {row["target"]: round(row[column], 2) for row in noise if row.get(column) is not None}
        found |= {heading: known} if known else {}
    flagged = [row["target"] for row in noise if row["flagged"]]
    return found | ({"little signal": dict.fromkeys(flagged, REMEDY)} if flagged else {})


def _trust_facts(fitted: FittedRegressor, objective: Mapping[str, float]) -> dict[str, Any]:
    """What n-gram counts explain of the targets that count, and whether they are relied on."""
    counted = [each for each in fitted.trust if each.target in objective]
    if not counted:
        return {}
    missing = [f"{each.target}: {each.why}" for each in counted if not each.trusted]
    return {
        "n-gram counts": f"not relied on: {'; '.join(missing)}" if missing else "relied on",
        "variance that n-gram counts explain": {each.target: round(each.explained, 3) for each in counted},
    }


def _law_share(workspace: Workspace) -> float:
    """The law's share in what is searched: of imported runs, the longest count as proxies."""
    study = workspace.study
    if study.trains:
        tokens = study.proxies.training_settings.tokens
    elif any(pair.columns.tokens for pair in study.imports):
        tokens = max((run.tokens for run in imported_runs(workspace) if run.tokens), default=None)
    else:
        tokens = max((pair.tokens for pair in study.imports if pair.tokens), default=None)
    return study.regression.law_share_for(tokens, study.limits.target_tokens)


def unexplained_loss(outlier: Mapping[str, Any], settings: RegressionSettings) -> str:
    """A sentence about a run whose loss its mixture does not explain."""
    said = (
        f"{outlier['mixture']} (run {', '.join(outlier['runs'])}): its loss on {outlier['target']} is "
        f"{outlier['loss']:.3f}, unlike the other runs, whose law predicts {outlier['predicted']:.3f} for it"
    )
    return f"{said}; it is {'left out of the fit' if settings.outliers == 'leave_out' else 'kept'}"


def _choices(fitted: FittedRegressor, settings: RegressionSettings) -> list[dict[str, Any]]:
    """Which regressor each way of choosing would take, a row a target and way."""
    return [
        {
            "target": target,
            "chosen_by": by,
            "regressor": regressor,
            "used": by == settings.choose_by,
            "splits": ", ".join(fitted.judged_on),
        }
        for by, picks in fitted.choices.items()
        for target, regressor in picks.items()
    ]


def _step_laws(workspace: Workspace, table: LossTable, settings: RegressionSettings) -> list[dict[str, Any]]:
    """How well final losses could have been predicted before the proxies were finished."""
    from threadpoolctl import threadpool_limits

    from regmix_pipeline.regression.steps import step_law_rows

    if not settings.step_laws or phase_parts(workspace.study):  # before a phase begins, losses say nothing of it
        return []
    with threadpool_limits(1):  # many small problems
        return step_law_rows(
            loss_curves(workspace, table), settings.folds, settings.level, settings.bootstrap, workspace.study.seed
        )


def _shortest(steps: list[dict[str, Any]], objective: Mapping[str, float]) -> dict[str, float | None]:
    """Law -> least share of the steps from which it ranks proxies at .95 or better on every target that counts."""
    found: dict[str, float | None] = {}
    for law in dict.fromkeys(row["law"] for row in steps):
        scored = [row for row in steps if row["law"] == law and row["target"] in objective]
        shares = sorted({row["share_of_steps"] for row in scored})
        enough = [
            share
            for share in shares
            if all(row["spearman"] >= ENOUGH for row in scored if row["share_of_steps"] == share)
        ]
        if scored:
            found[law] = enough[0] if enough else None
    return found


REGRESSOR = Stage(
    "regressor",
    (
        "proxy_losses",
        "proxy_checkpoints",
        "mixtures",
        "earlier_runs",
        "imported_runs",
        "domain_inventory",
        NGRAM_MODELS.name,
        SIZE_RUNS.name,
    ),
    None,
    CODE_VERSION,
    _expected_recipes,
    _compute,
    folders=("regressors",),
    kinds=("lightgbm", "scikitlearn"),
    group="decision",
    description=(
        "What predicts each target's loss from the mixture, chosen by cross-validation on rows it did not see."
    ),
)
