"""The report's sentences: certainty, method, and what changed in the ledger since the decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median, stdev
from typing import Any

from regmix_pipeline.decisions.ngrams import ngrams_in_words
from regmix_pipeline.decisions.rounds import rounds_in_words
from regmix_pipeline.decisions.sizes import whose
from regmix_pipeline.errors import RegmixError
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.stage import DRAWN
from regmix_pipeline.numbers import (
    NOT_RECORDED,
    amount,
    chance,
    decimals,
    finite,
    integer,
    interval,
    listed,
    short,
    signed,
)
from regmix_pipeline.report.confirmation_summary import ConfirmationSummary
from regmix_pipeline.report.data import MixtureLoss, ReportData, Score, Version
from regmix_pipeline.report.tables import of_regressors
from regmix_pipeline.study.phases_of_decision import chosen_together
from regmix_pipeline.study.repetition import own_epochs

Fact = tuple[str, str, str]
"""Label, value, note."""


def certainty(decision: Mapping[str, Any], rank: Score | None, confirmed: ConfirmationSummary | None) -> list[Fact]:
    """The facts beside the decision; ``rank`` is the chosen regressor's Spearman correlation on the objective."""
    gain = decision.get("gain") or {}
    predicted = finite(gain.get("predicted"))
    ends = interval(gain.get("low"), gain.get("high")) if "low" in gain and "high" in gain else ""
    corrected, observed = finite(gain.get("corrected")), finite(gain.get("chance_better_than_best_observed"))
    return [
        (
            "Predicted gain over natural",
            NOT_RECORDED if predicted is None else signed(predicted),
            f"nats per token of {whose(decision)}"
            + (f"; {signed(corrected)} after taking off what a search overstates" if corrected is not None else "")
            + (f"; 90% interval {ends}" if ends else ""),
        ),
        (
            "Chance of being better than natural",
            chance(gain.get("chance_better_than_natural")),
            "under the regressor's own uncertainty"
            + (f"; {chance(observed)} than the best proxy trained" if observed is not None else ""),
        ),
        (
            "Rank correlation out of fold",
            NOT_RECORDED if rank is None else decimals(rank.value, 2),
            f"Spearman; interval {interval(rank.low, rank.high, 2)}"
            if rank and rank.low is not None
            else "Spearman, on the objective",
        ),
        (
            "Confirmed on larger models",
            {"held": "yes", "against": "no", "unclear": "undecided"}[confirmed.outcome] if confirmed else "not tested",
            confirmed.headline if confirmed else "no larger model was trained for this decision",
        ),
        *_stability(decision.get("stability")),
    ]


def _stability(stability: Mapping[str, Any] | None) -> list[Fact]:
    """What more proxies could still gain; nothing where it was not asked."""
    if not stability:
        return []
    regret, gain = stability["expected_regret"], stability["expected_gain"]
    share = f"{regret / gain:.0%} of the expected gain" if gain > 0 else "no gain is expected"
    advice = "the decision is stable" if stability["stable"] else "further proxies are proposed"
    hint = f"expected regret, nats per token; {share}: {advice}"
    return [("More proxies could still gain", decimals(regret, 4), hint)]


def drift(decided: Mapping[str, str], versions: Sequence[Version]) -> list[str]:
    """Inputs of the decision that the ledger now holds in another version, or no longer."""
    now = {version.place: version.version for version in versions}
    return sorted(place for place, version in decided.items() if now.get(place) != version)


def recomputed_id(weights: Mapping[str, float]) -> str:
    """The mixture id that the weights give, or "" when they are not a mixture."""
    try:
        return Mixture.from_weights(weights).id
    except (RegmixError, ValueError, TypeError):
        return ""


def signal(losses: Sequence[MixtureLoss]) -> str:
    """The objective's spread between proxies beside the noise of one measurement; "" for few proxies."""
    errors = [item.standard_error for item in losses if item.standard_error is not None]
    if len(losses) < 3 or not errors:
        return ""
    spread, noise = stdev(item.loss for item in losses), median(errors)
    return (
        f"On the objective the proxies have a standard deviation of {decimals(spread)}, and a single proxy's loss a "
        f"standard error of {decimals(noise)}."
    )


def method(decision: Mapping[str, Any], data: ReportData) -> list[tuple[str, str]]:
    """The method in steps: name, what was done with this study's numbers."""
    steps = [("Text", _text(data)), ("Mixtures", _mixtures(decision, data)), ("Proxies", _proxies(data))]
    steps += [("Losses", _measured(decision, data)), ("Regression", _regression(decision, data))]
    if size := decision.get("size"):
        steps += [("Sizes", f"Some mixtures were trained again at a larger size: {size['note']}.")]
    steps += [("Search", _search(decision)), ("Confirmation", _confirmation(data))]
    return steps


def _text(data: ReportData) -> str:
    domains = [row for row in data.inventory if row.role == "domain"]
    outside = len(data.inventory) - len(domains)
    duplicates = integer(sum(row.duplicates or 0 for row in data.inventory))
    return (
        f"{len(domains)} domains"
        + (f" and {outside} target set{'s' * (outside > 1)} outside them" if outside else "")
        + f" were tokenised. {duplicates} exact duplicates were dropped, "
        "and documents went to training or validation by a hash of their text, so that no duplicate can be in both. "
        f"{amount(sum(row.train_tokens or 0 for row in domains))} tokens are for training."
    )


def _mixtures(decision: Mapping[str, Any], data: ReportData) -> str:
    sampled = sum(origin == "sampled" for origin in data.origins.values())
    anchors = sorted(set(data.origins.values()) - {*DRAWN, "earlier", "imported"})
    return (
        f"{sampled} mixtures were drawn from Dirichlet distributions around the natural one, each domain's share of "
        "the available tokens"
        + _by_phase(decision)
        + (f"; {listed(anchors)} were added as fixed points to compare with." if anchors else ".")
        + "".join(f" {line}" for line in rounds_in_words(decision.get("rounds") or ()))
        + "".join(f" {line}" for line in ngrams_in_words(decision.get("ngrams")))
    )


def _by_phase(decision: Mapping[str, Any]) -> str:
    """How mixtures of several phases were drawn; "" of one."""
    phases = list(chosen_together(decision))
    if not phases:
        return ""
    return f", for each of {listed(phases)} by itself, and some alike in all"


def _proxies(data: ReportData) -> str:
    made = data.training
    return (
        f"{made.proxies} small language models were trained, one a mixture"
        + (f" and seed ({made.seeds} seeds)" if made.seeds > 1 else "")
        + f", on {amount(made.tokens)} tokens each ({integer(made.steps)} steps). They share seeds and settings, so "
        f"two "
        "proxies differ by their mixture alone."
    )


def _measured(decision: Mapping[str, Any], data: ReportData) -> str:
    made, objective = data.training, decision.get("objective") or {}
    low, high = amount(made.evaluated_low), amount(made.evaluated_high)
    tokens = low if low == high else f"{low} to {high}"
    shares = [f"{target} ({100 * share:.0f}%)" for target, share in objective.items()]
    tasks, *_ = (data.settings.get("proxy_losses") or {}).get("tasks") or [[]]
    of_tasks = (
        f" On {listed(tasks)} it is that of the right continuations given their prompts, in bits per byte, mean over "
        "items; the same number in nats per token is in the tables."
        if tasks
        else ""
    )
    return (
        f"Each proxy's loss was measured on {tokens} held-out tokens of every target, in nats per token, with a "
        f"standard error.{of_tasks} The objective is the loss on {listed(shares) if shares else NOT_RECORDED}; "
        "targets outside it are measured and shown but do not count."
    )


def _regression(decision: Mapping[str, Any], data: ReportData) -> str:
    tried = sorted({score.regressor for score in of_regressors(data.scores)})
    used = sorted(set((decision.get("regressors") or {}).values()))
    return (
        f"{listed(tried)} learned the loss as a function of the weights. All were scored on mixtures they had not "
        f"seen; the study's rule chose one for every target: {listed(used) if used else NOT_RECORDED}."
    )


def _search(decision: Mapping[str, Any]) -> str:
    search, limits = decision.get("search") or {}, decision.get("limits") or {}
    given = "; ".join(f"{key.replace('_', ' ')}: {_plain(value)}" for key, value in search.items()) or NOT_RECORDED
    tokens = limits.get("target_tokens")
    run = (
        f"{_run(decision)} {_is(decision)} to draw {amount(tokens)} tokens and may see a token "
        f"{short(limits.get('max_epochs'))} times at most{_others(decision)}, which caps the domains."
        if tokens
        else "The study gives no length of the large run, so availability caps no domain."
    )
    return f"The best mixture was searched under caps and floors ({given}). {run}"


def _is(decision: Mapping[str, Any]) -> str:
    return "are together" if chosen_together(decision) else "is"


def _run(decision: Mapping[str, Any]) -> str:
    """Whose mixture was searched: that of the large run, or of the phases that are chosen."""
    phases = decision.get("phases") or []
    if not phases:
        return "The large run"
    before = ", ".join(row["name"] for row in phases if row["mixture"] is not None)
    chosen = [row["name"] for row in phases if row["mixture"] is None]
    said = f"large run's phase{'s' * (len(chosen) > 1)} {listed(chosen)}"
    return f"After {before}, the {said}" if before else f"The {said}"


def _others(decision: Mapping[str, Any]) -> str:
    """Domains whose tokens it may see more or less often."""
    own = own_epochs(decision)
    return f" ({', '.join(f'{domain} {short(most)}' for domain, most in own.items())})" if own else ""


def _confirmation(data: ReportData) -> str:
    if not data.confirmation:
        return "No larger model was trained for this decision."
    names = sorted({row.name for row in data.confirmation})
    seeds = len({row.seed for row in data.confirmation})
    return f"Larger models were trained on the {listed(names)} mixture, {seeds} seed{'s' * (seeds > 1)} each."


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return integer(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
