"""Stage of further mixtures: the next round of the study's own budget, whether the decision is stable, and which
proxies would settle it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import UNPARTITIONED, Recipe
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.files import fingerprint
from regmix_pipeline.mixtures.adopted import adopt, adopted, adopted_since_domains_changed
from regmix_pipeline.mixtures.mixture import PARTS, Mixture
from regmix_pipeline.mixtures.rounds import NextRound, has_pilots, how_chosen, next_round
from regmix_pipeline.mixtures.sampler import sample
from regmix_pipeline.mixtures.stage import current_mixtures, prior_and_limits, sampled_mixtures
from regmix_pipeline.search.stage import with_former_domains

if TYPE_CHECKING:
    from regmix_pipeline.regression.trust import Trust

CODE_VERSION = "5"


def _expected_recipes(workspace: Workspace) -> dict[str, Recipe]:
    if not workspace.study.trains:
        return {}
    refit = workspace.study.refit
    following, rounds = next_round(workspace), workspace.study.mixtures.rounds
    settings = {
        "batch": refit.batch,
        "tolerance": refit.tolerance,
        "seed": workspace.study.seed,
        "round": None if following is None else list(following),
        "rule": rounds.rule,
        "trusted": rounds.trusted if following is not None and has_pilots(workspace.study) else None,
        "code": CODE_VERSION,
    }
    return {UNPARTITIONED: Recipe(workspace.versions("optimal_mixture") | workspace.versions("regressor"), settings)}


def _compute(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    from regmix_pipeline.regression.fitted import FittedRegressor
    from regmix_pipeline.regression.trust import trusted
    from regmix_pipeline.search.acquisition import Acquisition
    from regmix_pipeline.search.guardrails import Guardrails
    from regmix_pipeline.search.region import Region, natural_inside

    optimum, refit = workspace.json("optimal_mixture"), workspace.study.refit
    fitted = FittedRegressor.load(workspace.artefact("regressor", suffix="regressor.json").parent)
    prior, limits = with_former_domains(*prior_and_limits(workspace), fitted.domains)
    region = Region.of(limits, prior, fitted.weights, workspace.study.search)
    chosen = Mixture.of(optimum["parts"]).vector(fitted.domains)
    natural = natural_inside(prior, limits).vector(fitted.domains)
    objective, settings, following = optimum["objective"], workspace.study.mixtures, next_round(workspace)
    judged, how, ended = has_pilots(workspace.study), "proposed", ""
    if following is not None:
        relied = judged and trusted(fitted.trust, workspace.study.objective)
        how = how_chosen(following.number, judged, relied)
        if relied:
            following, ended = _after_trust(workspace, following, how, fitted.trust)
    draw = fingerprint("round", workspace.study.seed, None if following is None else following.number)
    guardrails = Guardrails.of(fitted, workspace.study.search.guardrails, natural)
    against = natural if workspace.study.search.objective == "worst_case" else None
    asked = Acquisition(fitted, region, objective, chosen, int(draw[:15], 16), guardrails, against)
    size = refit.batch if following is None else following.size
    if how == "sampled":
        proposed = [(mixture, 0.0) for mixture in _rest_of_first_round(workspace, size)]
    else:
        picks = asked.batch(size, settings.quantum, settings.rounds.rule)
        proposed = [(pick.mixture, pick.worth) for pick in picks]
    regret = asked.regret(natural)
    stable = regret.judged and regret.share <= refit.tolerance and following is None
    version = fingerprint("further mixtures", recipes[UNPARTITIONED].id)
    content = {
        "stable": stable,
        "expected_regret": regret.expected,
        "expected_gain": regret.gain,
        "round": None if following is None else following._asdict(),
        "ended": ended,
        "chosen": optimum["mixture"],
        "predicted": float(fitted.objective(chosen[None], objective)[0]),
        "predicted_natural": float(fitted.objective(natural[None], objective)[0]),
        "mixtures": [dict(mixture.parts) for mixture, _ in proposed],
        "worth": [worth for _, worth in proposed],
    }
    path = workspace.write_json(content, "further", f"{version}.json")
    workspace.write_rows(
        "further_mixtures",
        version,
        [
            {
                "mixture": mixture.id,
                "domain": name,
                "weight": part / PARTS,
                "round": None if following is None else following.number,
                "worth": worth,
            }
            for mixture, worth in proposed
            for name, part in mixture.parts
        ],
    )
    facts = {
        "decision is stable": stable,
        "expected regret (nats/token)": regret.expected,
        "expected gain over natural (nats/token)": regret.gain,
        "regret as a share of the gain": regret.share if regret.gain > 0 else "no gain",
        "next round": ended or "none" if following is None else f"{following.number} of {following.of}",
        "proposed": [mixture.weights for mixture, _ in proposed],
    }
    yield Output(UNPARTITIONED, version, facts, [path])


def _after_trust(
    workspace: Workspace, following: NextRound, how: str, found: Sequence[Trust]
) -> tuple[NextRound | None, str]:
    """The one round that follows pilots, or why there is none: n-gram counts are trusted."""
    last = workspace.study.mixtures.rounds.trusted
    if how == "proposed":
        return NextRound(2, 2, min(last, following.left), min(last, following.left)), ""
    least = min(each.explained for each in found if each.target in workspace.study.objective)
    return None, (
        f"n-gram counts explain {least:.0%} of what the measured losses differ by, so {following.left} of the study's "
        f"{workspace.study.mixtures.count} mixtures are not trained"
    )


def _rest_of_first_round(workspace: Workspace, count: int) -> list[Mixture]:
    """What the sampler draws after the pilots, where n-gram counts are not trusted."""
    prior, limits = prior_and_limits(workspace)
    mixtures = current_mixtures(workspace)
    pilots = [mixtures[key] for key in sampled_mixtures(workspace)]
    wanted = workspace.study.mixtures.model_copy(update={"count": len(pilots) + count})
    return sample(prior, limits, wanted, workspace.study.seed, pilots)[len(pilots) :]


@dataclass(frozen=True)
class Stability:
    """What the current proposals say: whether the decision is stable, and what the next batch of proxies takes."""

    stable: bool
    regret: float
    gain: float
    mixtures: tuple[Mixture, ...]
    tokens_each: int
    proposal: str
    round: NextRound | None = None
    ended: str = ""

    def __str__(self) -> str:
        if self.ended:
            return self.ended
        if self.round is not None:
            number, of, size, left = self.round
            return f"round {number} of {of} is next: {size} of {left} mixtures that are left of the study's count"
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
        workspace.study.proxies.tokens_per_mixture,
        workspace.need("further_mixtures").version,
        None if content["round"] is None else NextRound(**content["round"]),
        content["ended"],
    )


class Adoption(NamedTuple):
    """How many mixtures were asked for, and what was done in words."""

    asked: int
    said: str


def adopt_proposals(workspace: Workspace, by: str, allowed: int | None = None, left: int | None = None) -> Adoption:
    """Ask for proxies of the proposed mixtures if the decision is not stable and the budget holds; those of a round,
    which the study's own count pays for, as far as ``left`` holds.

    Args:
        workspace: the study on disk.
        by: who asks.
        allowed: training tokens for further mixtures since the domains last changed; default: the study's budget.
        left: training tokens that are left for this one; default: as many as are allowed.
    """
    found = stability(workspace)
    if found.round is not None:
        fit = len(found.mixtures) if left is None else min(len(found.mixtures), left // found.tokens_each)
        return take_round(workspace, by, fit)
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


def take_round(workspace: Workspace, by: str, most: int | None = None) -> Adoption:
    """Ask for proxies of the next round's mixtures, as proposed; of the first ``most`` of them, where that is given."""
    found, content = stability(workspace), workspace.json("further_mixtures")
    if found.round is None:
        return Adoption(0, found.ended or "every round has its mixtures")
    if any(entry["proposal"] == found.proposal for entry in adopted(workspace)):
        return Adoption(len(found.mixtures), f"{found}; they were asked for already")
    mixtures = found.mixtures[:most]
    if not mixtures:
        wanted = len(found.mixtures) * found.tokens_each
        lacking = f"{wanted:,} more tokens would be trained on, the budget does not hold them" if found.mixtures else ""
        return Adoption(0, f"{found}; {lacking or 'no mixture inside the limits is apart from those measured'}")
    expected = {name: content[name] for name in ("chosen", "predicted", "predicted_natural", "expected_regret")}
    adopt(workspace, mixtures, found.proposal, by, str(found), found.round.number, expected)
    return Adoption(len(mixtures), f"{found}; asked for {len(mixtures)} proxies")


FURTHER_MIXTURES = Stage(
    "further_mixtures",
    ("optimal_mixture", "regressor", "domain_inventory", "mixtures"),
    None,
    CODE_VERSION,
    _expected_recipes,
    _compute,
    folders=("further",),
    kinds=("duckdb",),
    group="decision",
    description=(
        "The next round of the study's mixtures; after the last one, expected regret of the optimal mixture and the "
        "mixtures whose proxies would lower it most, which `regmix refit` and the schedule take up within the budget."
    ),
)
