"""Fitted regressors of a study: predictions with intervals, scores, and a folder that holds them without pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import RegressionError
from regmix_pipeline.files import read_json, written_atomically
from regmix_pipeline.ngrams.evidence import NgramEvidence
from regmix_pipeline.regression.catalogue import LAWS, PROCESS, regressor
from regmix_pipeline.regression.estimator import MixtureRegressor, to_arrays, to_lists
from regmix_pipeline.regression.intervals import conformal_quantile
from regmix_pipeline.regression.laws.corrected import GaussianProcessLaw
from regmix_pipeline.regression.trust import Trust

Array = NDArray[np.float64]
FORMAT = 5
EVIDENCE = "ngrams.parquet"
"""File beside the fit that holds what n-gram counts predict, where it is used."""


@dataclass(frozen=True)
class FittedRegressor:
    """The chosen regressor of every target.

    Attributes:
        domains: columns of every weights array, length d.
        targets: columns of every loss array, length T.
        weights: mixtures it was fitted on, (n, d).
        losses: what was measured on them, nats per token, (n, T).
        chosen: target -> name of the regressor chosen for it.
        out_of_fold: predictions of the chosen regressors, made without each row's fold, (n, T).
        scores: rows with keys regressor, target, split, metric, value, low, high, chosen.
        models: regressor name -> estimator of all targets.
        near: the same, fitted with other weights of the rows: what a search minimises the mean of. One fit with more
            weight on good mixtures, or with few rows several of resampled rows. Empty: a search takes `models`.
        blend: target -> {regressor: weight}, weights summing to 1: how `predict` mixes the models.
        stack: the same for the stack, whether or not it was chosen; empty without one.
        spread: out-of-fold standard deviations that intervals are proportional to, (n, T); 1 where none are known.
        choices: 'rank' and 'calibration' -> target -> the regressor each would choose.
        judged_on: splits that the choice was made on, 'random' and perhaps 'region'.
        process_name: the Gaussian process that deviations are taken from, the one with the least error out of fold.
        evidence: losses that n-gram counts predict; None where they are not known or not trusted.
        trust: what they explain of each target, where they are known.
        law_share: of the pure law in what a search minimises; `predict` knows nothing of it.
    """

    domains: tuple[str, ...]
    targets: tuple[str, ...]
    weights: Array
    losses: Array
    chosen: dict[str, str]
    out_of_fold: Array
    scores: list[dict[str, Any]]
    models: dict[str, MixtureRegressor]
    blend: dict[str, dict[str, float]]
    stack: dict[str, dict[str, float]]
    spread: Array
    choices: dict[str, dict[str, str]] = field(default_factory=dict)
    judged_on: tuple[str, ...] = ("random",)
    process_name: str = PROCESS
    evidence: NgramEvidence | None = None
    trust: tuple[Trust, ...] = ()
    law_share: float = 0.0
    near: tuple[dict[str, MixtureRegressor], ...] = ()

    @cached_property
    def searched(self) -> tuple[FittedRegressor, ...]:
        """The same with the regressors that a search minimises the mean of; itself alone where there are no others."""
        return tuple(replace(self, models=models, near=()) for models in self.near) or (self,)

    @property
    def used(self) -> set[str]:
        """Names of the models that predictions, and the law's share in a search, are made of."""
        names = {name for blend in self.blend.values() for name in blend}
        return names | ({self.law} if self.law and self.law_share else set())

    @property
    def law(self) -> str | None:
        """The pure law that was fitted beside the chosen regressors, for extrapolation; None if none was asked for."""
        return next((name for name in LAWS if name in self.models), None)

    def predict(self, weights: Array, regressor: str | None = None, targets: Sequence[str] | None = None) -> Array:
        """Losses predicted for mixtures: (m, d) -> (m, T), nats per token.

        Args:
            weights: mixtures, (m, d).
            regressor: one of `models`, or "stack", to use for all targets instead of the chosen ones.
            targets: the columns wanted, in this order; default all. No other is computed.

        Raises:
            RegressionError: wrong number of columns, or a regressor that was not kept.
        """
        weights, columns = self._checked(weights), np.eye(len(self.targets))
        if targets is not None:
            columns = columns[:, [self.targets.index(name) for name in targets]]
        return self._mixed(weights, columns, regressor)

    def objective(self, weights: Array, target_weights: Mapping[str, float], regressor: str | None = None) -> Array:
        """The weighted mean of the targets' predicted losses, (m, d) -> (m,); only targets with weight are computed."""
        share = self.shares(target_weights)
        return self._mixed(self._checked(weights), share[:, None], regressor)[:, 0]

    def _mixed(self, weights: Array, mix: Array, regressor: str | None) -> Array:
        """Predictions (m, T) times ``mix`` (T, q), computing no target that it leaves out."""
        if regressor is None or regressor == "stack":
            blend = self.blend if regressor is None else self.stack
        else:
            blend = {target: {regressor: 1.0} for target in self.targets}
        lost = {name for part in blend.values() for name in part} - set(self.models)
        if lost or not all(blend.values()):
            raise RegressionError(
                f"regressor {regressor!r} was not kept", where="regressor", remedy=f"use one of {sorted(self.models)}"
            )
        total = np.zeros((len(weights), mix.shape[1]))
        for name, model in self.models.items():
            scaled = np.array([blend[target].get(name, 0.0) for target in self.targets])[:, None] * mix
            columns = np.flatnonzero(scaled.any(axis=1))
            if len(columns):
                total += model.predict_targets(weights, columns) @ scaled[columns]
        return total

    def shares(self, target_weights: Mapping[str, float]) -> Array:
        """Target weights as shares that sum to 1, in the order of `targets`, (T,).

        Raises:
            RegressionError: an unknown target, a negative weight, or none above zero.
        """
        unknown = sorted(set(target_weights) - set(self.targets))
        if unknown:
            raise RegressionError(f"unknown targets {unknown}", where="target weights", remedy=f"use {self.targets}")
        share = np.array([float(target_weights.get(target, 0.0)) for target in self.targets])
        if not np.isfinite(share).all() or (share < 0).any() or share.sum() <= 0:
            raise RegressionError("target weights must be finite, not negative, not all zero", where="target weights")
        return share / share.sum()

    def standard_deviation(self, weights: Array, of_measurement: bool = True) -> Array:
        """What intervals are proportional to, (m, T): the Gaussian process's posterior deviation, or 1 without one.

        It grows away from the mixtures measured. ``of_measurement`` counts the noise of a proxy's measured loss;
        without it this is the deviation of the mean loss alone.
        """
        weights = self._checked(weights)
        process = self.process
        if process is None:
            return np.ones((len(weights), len(self.targets)))
        return process.standard_deviation(weights, of_measurement=of_measurement)

    def objective_deviation(self, weights: Array, target_weights: Mapping[str, float]) -> Array:
        """Posterior deviation of the weighted mean of targets' mean losses, (m, d) -> (m,), nats per token.

        Targets' errors are taken as equal in sign, so it is no smaller than the true one; 0 without a process.
        """
        process, share = self.process, self.shares(target_weights)
        if process is None:
            return np.zeros(len(weights))
        counted = np.flatnonzero(share)
        return process.standard_deviation(self._checked(weights), counted, of_measurement=False) @ share[counted]

    @property
    def process(self) -> GaussianProcessLaw | None:
        """The Gaussian process that was fitted beside the chosen regressors; None if none was asked for."""
        found = self.models.get(self.process_name)
        return found if isinstance(found, GaussianProcessLaw) else None

    def interval(self, weights: Array, level: float = 0.9) -> tuple[Array, Array]:
        """Where a proxy's measured loss would fall with probability ``level``: (low, high), each (m, T).

        Conformal on normalised out-of-fold residuals: prediction -+ deviation x the level-quantile of |residual| /
        deviation. How often it holds out of fold is in `scores` under the metric "coverage".
        """
        return self._around(self.predict(weights), weights, np.eye(len(self.targets)), level)

    def objective_interval(
        self, weights: Array, target_weights: Mapping[str, float], level: float = 0.9
    ) -> tuple[Array, Array]:
        """The same for the weighted mean of targets: (low, high), each (m,). Errors shared by targets are counted."""
        mix = self.shares(target_weights)[:, None]
        low, high = self._around(self.objective(weights, target_weights)[:, None], weights, mix, level)
        return low[:, 0], high[:, 0]

    def _around(self, predicted: Array, weights: Array, mix: Array, level: float) -> tuple[Array, Array]:
        sizes = np.abs((self.losses - self.out_of_fold) @ mix) / (self.spread @ mix)
        half = conformal_quantile(sizes, level) * (self.standard_deviation(weights) @ mix)
        return predicted - half, predicted + half

    def objective_errors(self, target_weights: Mapping[str, float]) -> Array:
        """Out-of-fold errors of the objective in units of its deviation, (n,): what a prediction's error is drawn
        from."""
        share = self.shares(target_weights)
        return (self.losses - self.out_of_fold) @ share / (self.spread @ share)

    def save(self, folder: Path | str) -> None:
        """Write ``regressor.json`` into ``folder``: laws as numbers, trees as LightGBM's text. No pickle."""
        content = {
            "format": FORMAT,
            "domains": self.domains,
            "targets": self.targets,
            "chosen": self.chosen,
            "choices": self.choices,
            "judged_on": self.judged_on,
            "process_name": self.process_name,
            "trust": [asdict(each) for each in self.trust],
            "law_share": self.law_share,
            "blend": self.blend,
            "stack": self.stack,
            "scores": self.scores,
            "weights": to_lists(self.weights),
            "losses": to_lists(self.losses),
            "out_of_fold": to_lists(self.out_of_fold),
            "spread": to_lists(self.spread),
            "models": {name: model.state() for name, model in self.models.items()},
            "near": [{name: model.state() for name, model in models.items()} for models in self.near],
        }
        with written_atomically(Path(folder) / "regressor.json") as temporary:
            temporary.write_text(json.dumps(content, allow_nan=False, separators=(",", ":")), encoding="utf-8")
        if self.evidence is not None:
            self.evidence.save(Path(folder) / EVIDENCE)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read what `save` wrote.

        Raises:
            RegressionError: the file is missing or of another format.
        """
        path = Path(folder) / "regressor.json"
        try:
            kept = read_json(path)
        except (OSError, ValueError) as problem:
            raise RegressionError(f"cannot be read: {problem}", where=str(path), remedy="fit again") from problem
        if not isinstance(kept, dict) or kept.get("format") != FORMAT:
            raise RegressionError("written by another version", where=str(path), remedy="fit again")
        counts = path.with_name(EVIDENCE)
        evidence = NgramEvidence.load(counts) if counts.is_file() else None
        models, *near = (
            {name: regressor(name, evidence=evidence).restore(state) for name, state in states.items()}
            for states in (kept["models"], *kept["near"])
        )
        arrays = {key: to_arrays(kept[key]) for key in ("weights", "losses", "out_of_fold", "spread")}
        return cls(
            domains=tuple(kept["domains"]),
            targets=tuple(kept["targets"]),
            chosen=kept["chosen"],
            scores=kept["scores"],
            models=models,
            near=tuple(near),
            blend=kept["blend"],
            stack=kept["stack"],
            choices=kept["choices"],
            judged_on=tuple(kept["judged_on"]),
            process_name=kept["process_name"],
            evidence=evidence,
            trust=tuple(Trust(**each) for each in kept["trust"]),
            law_share=kept.get("law_share", 0.0),
            **arrays,
        )

    def _checked(self, weights: Array) -> Array:
        weights = np.atleast_2d(np.asarray(weights, dtype=np.float64))
        if weights.shape[1] != len(self.domains):
            raise RegressionError(
                f"weights have {weights.shape[1]} columns",
                where="weights",
                remedy=f"give one per domain: {self.domains}",
            )
        return weights
