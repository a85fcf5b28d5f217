"""Stage of further mixtures: whether the decision is stable, and which proxies would settle it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import UNPARTITIONED, Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.files import fingerprint
from regmix_pipeline.mixtures.adopted import adopt, adopted_since_domains_changed
from regmix_pipeline.mixtures.mixture import PARTS, Mixture
from regmix_pipeline.mixtures.stage import prior_and_limits
from regmix_pipeline.search.stage import with_former_domains

CODE_VERSION = "1"


def _expected_recipes(workspace: Workspace) -> dict[str, Recipe]:
    if not workspace.study.trains:
        return {}
    refit = workspace.study.refit
    settings = {"batch": refit.batch, "tolerance": refit.tolerance, "seed": workspace.study.seed, "code": CODE_VERSION}
    return {UNPARTITIONED: Recipe(workspace.versions("optimal_mixture") | workspace.versions("regressor"), settings)}


def _compute(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    from regmix_pipeline.regression.fitted import FittedRegressor
    from regmix_pipeline.search.proposals import propose
    from regmix_pipeline.search.region import Region, natural_inside

    optimum, refit = workspace.json("optimal_mixture"), workspace.study.refit
    fitted = FittedRegressor.load(workspace.artefact("regressor", suffix="regressor.json").parent)
    prior, limits = with_former_domains(*prior_and_limits(workspace), fitted.domains)
    region = Region.of(limits, prior, fitted.weights, workspace.study.search)
    chosen = Mixture.of(optimum["parts"]).vector(fitted.domains)
    natural = natural_inside(prior, limits).vector(fitted.domains)
    quantum = workspace.study.mixtures.quantum
    found = propose(fitted, region, optimum["objective"], chosen, natural, refit.batch, workspace.study.seed, quantum)
    stable = found.judged and found.share <= refit.tolerance
    version = fingerprint("further mixtures", recipes[UNPARTITIONED].id)
    content = {
        "stable": stable,
        "expected_regret": found.regret,
        "expected_gain": found.gain,
        "mixtures": [dict(mixture.parts) for mixture in found.mixtures],
        "worth": list(found.worth),
    }
    path = workspace.write_json(content, "further", f"{version}.json")
    workspace.write_rows(
        "further_mixtures",
        version,
        [
            {"mixture": mixture.id, "domain": name, "weight": part / PARTS, "worth": worth}
            for mixture, worth in zip(found.mixtures, found.worth, strict=True)
            for name, part in mixture.parts
        ],
    )
    facts = {
        "decision is stable": stable,
        "expected regret (nats/token)": found.regret,
        "expected gain over natural (nats/token)": found.gain,
        "regret as a share of the gain": found.share if found.gain > 0 else "no gain",
        "proposed": [mixture.weights for mixture in found.mixtures],
    }
    yield Output(UNPARTITIONED, version, facts, [path])


@dataclass(frozen=True)
class Stability:
    """What the current proposals say: whether the decision is stable, and what the next batch of proxies takes."""

    stable: bool
    regret: float
    gain: float
    mixtures: tuple[Mixture, ...]
    tokens_each: int
    proposal: str

    def __str__(self) -> str:
        share = f"{self.regret / self.gain:.0%} of the gain" if self.gain > 0 else "there is no gain"
        state = "stable" if self.stable else "not stable yet"
        return f"the decision is {state}: expected regret {self.regret:.4f} nats per token, {share}"


def stability(workspace: Workspace) -> Stability:
    """The current proposals.

    Raises:
        LedgerError: they were not made yet.
    """
    content: Mapping[str, Any] = workspace.json("further_mixtures")
    mixtures = tuple(Mixture.of(parts) for parts in content["mixtures"])
    return Stability(
        content["stable"],
        content["expected_regret"],
        content["expected_gain"],
        mixtures,
        workspace.study.proxies.training_settings.tokens * workspace.study.proxies.replicates,
        workspace.need("further_mixtures").version,
    )


class Adoption(NamedTuple):
    """How many mixtures were asked for, and what was done in words."""

    asked: int
    said: str


def adopt_proposals(workspace: Workspace, by: str, allowed: int | None = None, left: int | None = None) -> Adoption:
    """Ask for proxies of the proposed mixtures if the decision is not stable and the budget holds.

    Args:
        workspace: the study on disk.
        by: who asks.
        allowed: training tokens for further mixtures since the domains last changed; default: the study's budget.
        left: training tokens that are left for this one; default: as many as are allowed.
    """
    found = stability(workspace)
    if found.stable:
        return Adoption(0, str(found))
    if not found.mixtures:
        return Adoption(0, f"{found}; every mixture that could settle it lies beside one that was measured")
    allowed = workspace.study.refit.max_new_tokens if allowed is None else allowed
    rest = max(allowed - adopted_since_domains_changed(workspace) * found.tokens_each, 0)
    left = rest if left is None else min(rest, left)
    number = min(len(found.mixtures), left // found.tokens_each)
    if not number:
        wanted = len(found.mixtures) * found.tokens_each
        return Adoption(0, f"{found}; {wanted:,} more tokens would be trained on, the budget has {left:,} left")
    adopt(workspace, found.mixtures[:number], found.proposal, by, str(found))
    return Adoption(number, f"{found}; asked for {number} more proxies")


FURTHER_MIXTURES = Stage(
    "further_mixtures",
    ("optimal_mixture", "regressor", "domain_inventory"),
    None,
    CODE_VERSION,
    _expected_recipes,
    _compute,
    folders=("further",),
    kinds=("duckdb",),
    group="decision",
    description=(
        "Expected regret of the optimal mixture, and the mixtures whose proxies would lower it most; none is "
        "trained by itself: `regmix refit` and the schedule take them up within the study's budget."
    ),
)
