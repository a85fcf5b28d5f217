"""What regression, search and proposals take: tried on made-up losses of the study's own shape."""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass

import numpy as np

from regmix_pipeline.mixtures.limits import Limits
from regmix_pipeline.planning import stated
from regmix_pipeline.planning.work import mixture_count
from regmix_pipeline.progress import Say, clock
from regmix_pipeline.study.phases import coordinates
from regmix_pipeline.study.study import Study

LARGEST = 132
"""Rows of a trial at most; time grows in proportion to them beyond."""
LONGEST = 60.0
"""Seconds beyond which a fit is not tried."""
MANY = 40
"""Domains beyond which nothing is tried, because one fit takes a minute."""


@dataclass(frozen=True)
class FittingSeconds:
    """Seconds of the stages that learn and search.

    Attributes:
        regressor: fitting, cross-validation, choice.
        search: the optimal mixture.
        proposals: the further mixtures.
        source: where these come from.
    """

    regressor: float
    search: float
    proposals: float
    source: str


def stated_seconds(study: Study, workers: int) -> FittingSeconds:
    """By the stated model."""
    rows, domains, targets = (
        mixture_count(study) + len(study.imports) * 500,
        len(coordinates(study)),
        len(study.targets),
    )
    regressors = len(study.regression.regressors) + 2 * (study.limits.target_tokens is not None)
    return FittingSeconds(
        stated.regressor_seconds(rows, domains, targets, regressors, workers),
        stated.search_seconds(study.search.candidates if study.search.method == "simulation" else 20_000, domains),
        stated.PROPOSAL_SECONDS + 0.01 * rows,
        "stated",
    )


def fitting_trial(study: Study, workers: int, say: Say) -> FittingSeconds | None:
    """Fit, search and propose once, on made-up losses of one and of three targets; None where that would take long.

    ``say`` is called before it begins, with how long it may take.

    Losses are a law of the mixtures with some noise. Targets are fitted alike, so more of them take in proportion.
    """
    names = tuple(coordinates(study))
    rows, domains, targets = mixture_count(study), len(names), len(study.targets)
    if rows < 8 or domains > MANY:
        return None
    regressors = len(study.regression.regressors) + 2 * (study.limits.target_tokens is not None)
    few = min(rows, LARGEST)
    expected = sum(stated.regressor_seconds(few, domains, count, regressors, workers) for count in {1, min(targets, 3)})
    if expected > LONGEST:
        say(f"  plan: fitting would take {clock(expected)} to try, so by the stated model")
        return None
    say(f"  plan: trying to fit {few} made-up mixtures: about {clock(2 + expected)}")
    started = time.perf_counter()
    for library in ("cvxpy", "lightgbm", "sklearn.gaussian_process"):  # what importing them costs
        importlib.import_module(library)

    from regmix_pipeline.regression.fitting import fit
    from regmix_pipeline.search.acquisition import Acquisition
    from regmix_pipeline.search.best import search
    from regmix_pipeline.search.region import Region, natural_inside

    beginning = time.perf_counter() - started
    generator = np.random.Generator(np.random.PCG64(study.seed))
    prior = generator.dirichlet(np.full(domains, 3.0))
    X = generator.dirichlet(domains * prior, size=few)
    rates = np.full(domains, 5.0) if study.limits.target_tokens is not None else None
    counts = (1, min(targets, 3))
    spent, fitted, labels = [], None, []
    for count in dict.fromkeys(counts):
        labels = [f"target_{number}" for number in range(count)]
        taste = generator.uniform(0.2, 1.0, size=(domains, count))
        Y = 3.0 - 0.5 * np.log(X @ taste + 0.05) + generator.normal(0, 0.01, (few, count))
        started = time.perf_counter()
        fitted = fit(X, Y, None, names, labels, study.regression, study.seed, workers, lambda line: None, rates, rates)
        spent.append(time.perf_counter() - started)
    assert fitted is not None
    each = max(spent[-1] - spent[0], 0.0) / max(1, counts[-1] - 1)
    limits = Limits(names, np.ones(domains), np.zeros(domains))
    objective = {name: 1 / len(labels) for name in labels}
    settings = study.search.model_copy(update={"groups": (), "guardrails": ()})
    started = time.perf_counter()
    found = search(fitted, prior, limits, objective, settings, study.seed, lambda line: None)
    searching = time.perf_counter() - started
    started = time.perf_counter()
    region = Region.of(limits, prior, fitted.weights, settings)
    chosen, natural = found.mixture.vector(names), natural_inside(prior, limits).vector(names)
    asked = Acquisition(fitted, region, objective, chosen, study.seed)
    asked.batch(study.refit.batch, study.mixtures.quantum, study.mixtures.rounds.rule)
    asked.regret(natural)
    proposing = time.perf_counter() - started
    return FittingSeconds(
        beginning + (spent[0] + each * (targets - 1)) * rows / few,
        searching,
        proposing,
        f"measured here on made-up losses of {few} mixtures",
    )
