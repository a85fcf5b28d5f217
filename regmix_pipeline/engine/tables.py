"""The ledger's tables: their columns, types and meaning.

Each table is the union of Parquet parts that assets write; `ledger.build` makes the DuckDB file from them. A column
added later reads as NULL in older parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

TEXT, REAL, WHOLE_NUMBER, YES_NO = pa.string(), pa.float64(), pa.int64(), pa.bool_()


@dataclass(frozen=True)
class Table:
    """A table of the ledger.

    Attributes:
        assets: the assets that write it; none where people do, and every row holds.
        meaning: what one row is.
        columns: name -> (type, meaning). `version` is always the version of the asset that wrote the row.
        optional: columns that a row may leave out; they are NULL then.
    """

    assets: tuple[str, ...]
    meaning: str
    columns: Mapping[str, tuple[pa.DataType, str]]
    optional: tuple[str, ...] = ()

    @cached_property
    def schema(self) -> pa.Schema:
        """The Parquet schema, with each column's meaning as field metadata."""
        return pa.schema(
            [pa.field(name, kind, metadata={"meaning": what}) for name, (kind, what) in self.columns.items()]
        )


_VERSION = {"version": (TEXT, "version of the asset that wrote this row")}
_ACCURACY = {
    "accuracy": (REAL, "share of a task's items with choices answered right; NULL for others"),
    "accuracy_standard_error": (REAL, "its standard error over items"),
}
_SAMPLING = {
    "flagged_by_seeds": (YES_NO, "whether signal_to_noise is below the study's limit"),
    "standard_error": (REAL, "of a proxy's loss over items or windows, nats per token; the mean over proxies"),
    "spread": (REAL, "standard deviation of the mixtures' measured losses, nats per token"),
    "spread_to_error": (REAL, "spread / standard_error"),
}

TABLES: dict[str, Table] = {
    "domain_inventory": Table(
        ("domain_inventory",),
        "a source of text and the tokens it holds",
        _VERSION
        | {
            "source": (TEXT, "domain, or target set outside the domains"),
            "role": (TEXT, "'domain' or 'target'"),
            "documents_version": (TEXT, "content version of its documents"),
            "shard_version": (TEXT, "version of its token shards"),
            "tokenizer": (TEXT, "tokenizer version"),
            "train_documents": (WHOLE_NUMBER, "distinct documents in the training split"),
            "train_tokens": (WHOLE_NUMBER, "tokens in the training split"),
            "train_bytes": (WHOLE_NUMBER, "UTF-8 bytes of text in the training split"),
            "validation_documents": (WHOLE_NUMBER, "distinct documents in the validation split"),
            "validation_tokens": (WHOLE_NUMBER, "tokens in the validation split"),
            "validation_bytes": (WHOLE_NUMBER, "UTF-8 bytes of text in the validation split"),
            "duplicates": (WHOLE_NUMBER, "exact duplicates dropped"),
            "bytes_per_token": (REAL, "UTF-8 bytes per token, both splits"),
            "available_tokens": (WHOLE_NUMBER, "training tokens the large run can draw; NULL for targets"),
            "prior": (REAL, "share of all domains' available tokens; NULL for targets"),
            "cap": (REAL, "highest weight the limits allow; NULL for targets"),
            "floor": (REAL, "lowest weight the study allows; NULL for targets"),
        },
    ),
    "tokenizer_coverage": Table(
        ("text_checks",),
        "what the tokenizer loses of a sample of a source's text",
        _VERSION
        | {
            "source": (TEXT, "domain, or target set outside the domains"),
            "documents_version": (TEXT, "content version of its documents"),
            "tokenizer": (TEXT, "tokenizer version"),
            "characters": (WHOLE_NUMBER, "characters of the sample, without white space; NULL for tokens"),
            "lost": (REAL, "share of them that do not come back; case does not count; NULL for tokens"),
            "unknown": (REAL, "share of the tokens that stand for the unknown"),
            "bytes_per_token": (REAL, "UTF-8 bytes per token"),
        },
    ),
    "text_overlap": Table(
        ("text_checks",),
        "how much of a target's validation text is in a domain's training text",
        _VERSION
        | {
            "domain": (TEXT, "domain"),
            "target": (TEXT, "validation target"),
            "shard_version": (TEXT, "version of the domain's token shards"),
            "target_version": (TEXT, "version of the target's token shards"),
            "documents": (REAL, "share of the target's tokens in documents equal to one of the training text"),
            "runs": (REAL, "share of the target's runs of tokens that are in the training text"),
            "run_length": (WHOLE_NUMBER, "tokens of a run"),
        },
    ),
    "mixtures": Table(
        ("mixtures", "imported_runs", "earlier_runs"),
        "a domain's weight in a mixture",
        _VERSION
        | {
            "mixture": (TEXT, "mixture id"),
            "position": (WHOLE_NUMBER, "place in the list, from 0"),
            "origin": (TEXT, "'sampled', 'round', 'arrival', 'further', 'imported', 'earlier' or the anchor's name"),
            "round": (WHOLE_NUMBER, "round of the study's own budget that it belongs to, from 1; NULL for others"),
            "domain": (TEXT, "domain"),
            "weight": (REAL, "weight; a mixture's weights sum to 1"),
            "drawn_under": (TEXT, "version of the domain inventory whose caps held for the draw; NULL where none did"),
        },
    ),
    "proxies": Table(
        ("proxy_checkpoints",),
        "a domain's part in a trained proxy",
        _VERSION
        | {
            "proxy": (TEXT, "proxy id"),
            "mixture": (TEXT, "mixture id"),
            "seed": (WHOLE_NUMBER, "seed of weights and order"),
            "domain": (TEXT, "domain"),
            "shard_version": (TEXT, "version of the shards it was trained on"),
            "weight": (REAL, "weight asked for"),
            "executed_tokens": (WHOLE_NUMBER, "tokens drawn from the domain"),
            "executed_weight": (REAL, "share of the proxy's tokens drawn from the domain"),
            "epochs": (REAL, "tokens drawn / tokens available to the proxy"),
        },
    ),
    "training_curves": Table(
        ("proxy_losses",),
        "a proxy's training since the row before, 64 rows a proxy at most; trajectory.parquet has all steps",
        _VERSION
        | {
            "proxy": (TEXT, "proxy id"),
            "mixture": (TEXT, "mixture id"),
            "seed": (WHOLE_NUMBER, "seed of weights and order"),
            "step": (WHOLE_NUMBER, "optimiser steps taken"),
            "tokens": (WHOLE_NUMBER, "tokens trained on"),
            "training_loss": (REAL, "mean loss of the training text, nats per token"),
            "highest_training_loss": (REAL, "the highest of a step, nats per token"),
            "gradient_norm": (REAL, "the highest norm of the gradient of a step, before clipping"),
            "learning_rate": (REAL, "of the last step"),
        },
    ),
    "proxy_losses": Table(
        ("proxy_losses", "imported_runs", "earlier_runs"),
        "a proxy's loss on a target at a step",
        _VERSION
        | {
            "proxy": (TEXT, "proxy id, or the imported run's own"),
            "mixture": (TEXT, "mixture id"),
            "seed": (WHOLE_NUMBER, "seed of weights and order; NULL for imported runs that state none"),
            "target": (TEXT, "validation target"),
            "target_version": (TEXT, "version of the target's shards"),
            "step": (WHOLE_NUMBER, "optimiser steps taken"),
            "tokens": (WHOLE_NUMBER, "tokens trained on"),
            "final": (YES_NO, "whether this is the finished proxy on the full evaluation sample"),
            "extrapolated": (YES_NO, "whether the proxy was stopped early and this is what its loss would have become"),
            "loss": (REAL, "mean loss, nats per token"),
            "standard_error": (REAL, "standard error of the loss over windows, or over items of a task"),
            "bits_per_byte": (REAL, "loss in bits per UTF-8 byte; of a task, the mean over items"),
            "bits_per_byte_standard_error": (REAL, "its standard error"),
            "evaluated_tokens": (WHOLE_NUMBER, "tokens the loss was measured on"),
        }
        | _ACCURACY,
        tuple(_ACCURACY),
    ),
    "size_losses": Table(
        ("size_runs",),
        "a larger proxy's loss on a target",
        _VERSION
        | {
            "proxy": (TEXT, "proxy id"),
            "mixture": (TEXT, "mixture id"),
            "seed": (WHOLE_NUMBER, "seed of weights and order"),
            "parameters": (WHOLE_NUMBER, "parameters of the model, embedding and head among them"),
            "tokens": (WHOLE_NUMBER, "tokens trained on"),
            "target": (TEXT, "validation target"),
            "target_version": (TEXT, "version of the target's shards"),
            "loss": (REAL, "mean loss, nats per token"),
            "standard_error": (REAL, "standard error of the loss over windows, or over items of a task"),
            "bits_per_byte": (REAL, "loss in bits per UTF-8 byte; of a task, the mean over items"),
            "evaluated_tokens": (WHOLE_NUMBER, "tokens the loss was measured on"),
        },
    ),
    "size_scores": Table(
        ("regressor",),
        "how well larger proxies that were not seen are predicted with slopes of size and without",
        _VERSION
        | {
            "law": (TEXT, "'single size' or 'slopes'"),
            "correlation": (REAL, "of predicted and measured differences of the objective within held-out folds"),
            "error": (REAL, "mean squared error of these differences, as a share of their variance"),
            "gain": (REAL, "by how much that is below the single size's"),
            "gain_error": (REAL, "standard error of the gain over mixtures"),
            "used": (YES_NO, "whether the decision is predicted by it"),
        },
    ),
    "earlier_runs": Table(
        ("earlier_runs",),
        "a domain's part in a proxy that was trained when the study had other domains, then and now",
        _VERSION
        | {
            "proxy": (TEXT, "proxy id"),
            "mixture": (TEXT, "id of its mixture in today's terms; NULL where it is not evidence any more"),
            "seed": (WHOLE_NUMBER, "seed of weights and order"),
            "domain": (TEXT, "domain of then or of now"),
            "weight_then": (REAL, "weight it was trained with"),
            "weight_now": (REAL, "weight in today's terms; NULL where it is not evidence any more"),
            "shard_version": (TEXT, "version of the shards it was trained on; NULL for domains of now alone"),
            "epochs_per_weight": (REAL, "epochs it saw of the domain / weight_then; NULL for domains of now alone"),
            "kept": (YES_NO, "whether it is evidence today"),
            "rule": (TEXT, "operations applied to it, or why it is not evidence any more"),
        },
    ),
    "regressor_scores": Table(
        ("regressor",),
        "how well a regressor predicts a target's loss on mixtures it did not see",
        _VERSION
        | {
            "regressor": (TEXT, "kind of regressor"),
            "target": (TEXT, "validation target"),
            "split": (TEXT, "how folds were made, or the size of imported runs that were not fitted: 'size 60.0 M'"),
            "metric": (TEXT, "spearman, pearson, rmse or coverage"),
            "value": (REAL, "the score out of fold"),
            "low": (REAL, "lower end of its interval"),
            "high": (REAL, "upper end of its interval"),
            "chosen": (YES_NO, "whether this regressor was chosen for the target"),
        },
    ),
    "regressor_choices": Table(
        ("regressor",),
        "the regressor that a way of choosing takes for a target",
        _VERSION
        | {
            "target": (TEXT, "validation target"),
            "chosen_by": (TEXT, "'rank' (Spearman correlation) or 'calibration' (root mean square error)"),
            "regressor": (TEXT, "kind of regressor"),
            "used": (YES_NO, "whether the study's predictions are based on this choice"),
            "splits": (TEXT, "folds that the choice was made on: random, or random and region"),
        },
    ),
    "noise_floor": Table(
        ("regressor",),
        "how much of a target's losses is luck",
        _VERSION
        | {
            "target": (TEXT, "validation target"),
            "mixtures": (WHOLE_NUMBER, "mixtures trained with several seeds"),
            "seeds": (WHOLE_NUMBER, "seeds of each of them"),
            "degrees_of_freedom": (WHOLE_NUMBER, "of the noise's estimate"),
            "noise": (REAL, "standard deviation between seeds, their common shift taken out, nats per token"),
            "noise_low": (REAL, "lower end of its 90% interval"),
            "noise_high": (REAL, "upper end of its 90% interval"),
            "seed_shift": (REAL, "standard deviation of the shift that a seed gives all mixtures, nats per token"),
            "signal": (REAL, "standard deviation of the mixtures' losses without the noise, nats per token"),
            "signal_to_noise": (REAL, "signal / noise"),
            "reliability": (REAL, "share of the losses' variance over mixtures that is signal"),
            "flagged": (YES_NO, "whether a ratio is below the study's limit for it"),
            **_SAMPLING,
        },
        tuple(_SAMPLING),
    ),
    "step_laws": Table(
        ("regressor",),
        "how well a law predicts the proxies' final losses on a target from their losses up to a step",
        _VERSION
        | {
            "law": (TEXT, "'power' (of each run's steps), 'bimix' or 'linear' (in the loss at the step)"),
            "target": (TEXT, "validation target"),
            "fitted_until_step": (WHOLE_NUMBER, "last optimiser step whose loss it saw"),
            "share_of_steps": (REAL, "that step / steps of a finished proxy"),
            "mixtures": (WHOLE_NUMBER, "mixtures scored, each by what was learned without it"),
            "spearman": (REAL, "rank correlation of extrapolated and measured final losses over mixtures"),
            "spearman_low": (REAL, "lower end of its interval"),
            "spearman_high": (REAL, "upper end of its interval"),
            "rmse": (REAL, "root mean square error, nats per token"),
            "rmse_low": (REAL, "lower end of its interval"),
            "rmse_high": (REAL, "upper end of its interval"),
            "deviation": (REAL, "standard deviation of the final losses: the error of predicting their mean"),
        },
    ),
    "out_of_fold": Table(
        ("regressor",),
        "a proxy mixture's loss as measured and as predicted without it",
        _VERSION
        | {
            "mixture": (TEXT, "mixture id"),
            "target": (TEXT, "validation target"),
            "loss": (REAL, "measured, nats per token"),
            "predicted": (REAL, "predicted out of fold by the chosen regressor, nats per token"),
        },
    ),
    "optimal_mixture": Table(
        ("optimal_mixture",),
        "a domain's weight in the best mixture found",
        _VERSION
        | {
            "mixture": (TEXT, "mixture id"),
            "domain": (TEXT, "domain"),
            "weight": (REAL, "weight chosen"),
            "prior": (REAL, "natural weight"),
            "cap": (REAL, "highest weight allowed"),
            "floor": (REAL, "lowest weight allowed"),
            "epochs": (REAL, "times the large run repeats the domain; NULL without target tokens"),
        },
    ),
    "further_mixtures": Table(
        ("further_mixtures",),
        "a domain's weight in a mixture proposed to be trained next",
        _VERSION
        | {
            "mixture": (TEXT, "mixture id"),
            "domain": (TEXT, "domain"),
            "weight": (REAL, "weight"),
            "round": (WHOLE_NUMBER, "round of the study's own budget that it is proposed for; NULL after the last"),
            "worth": (
                REAL,
                "how far its loss may lie below the decision's: two posterior deviations below what is predicted, nats "
                "per token of a proxy",
            ),
        },
    ),
    "predictions": Table(
        ("optimal_mixture", "mixture_decision"),
        "a named mixture's predicted loss on a target",
        _VERSION
        | {
            "name": (TEXT, "chosen, natural, uniform, best_observed, previous, or an alternative of the study"),
            "mixture": (TEXT, "mixture id"),
            "target": (TEXT, "validation target, or 'objective' for their weighted mean"),
            "predicted": (REAL, "loss of a proxy, nats per token"),
            "low": (REAL, "lower end of the 90% interval"),
            "high": (REAL, "upper end of the 90% interval"),
            "law": (TEXT, "the pure law fitted beside the chosen regressors; NULL without one"),
            "predicted_by_law": (REAL, "what it predicts, nats per token; to be trusted beyond the sampled region"),
        },
    ),
    "decisions": Table(
        ("mixture_decision",),
        "a decision for a mixture",
        _VERSION
        | {
            "decision": (TEXT, "decision id"),
            "study": (TEXT, "study name"),
            "mixture": (TEXT, "mixture id"),
            "summary": (TEXT, "the decision in a sentence"),
            "predicted_gain": (REAL, "objective, natural minus chosen, nats per token of a proxy"),
            "chance_better_than_natural": (REAL, "probability under the regressor's uncertainty"),
            "decided_at": (TEXT, "UTC time"),
            "record": (TEXT, "the whole decision record, JSON"),
        },
    ),
    "verdicts": Table(
        (),
        "what somebody said of a decision; the last one counts",
        {"version": (TEXT, "id of the verdict")}
        | {
            "decision": (TEXT, "decision id"),
            "number": (WHOLE_NUMBER, "its place among the decision's verdicts, from 1"),
            "said": (TEXT, "approved or rejected"),
            "reason": (TEXT, "why"),
            "by": (TEXT, "who"),
            "through": (TEXT, "command line, or the Dagster run"),
            "said_at": (TEXT, "UTC time"),
            "decision_sha256": (TEXT, "SHA-256 of the decision's file at that time"),
            "before": (TEXT, "SHA-256 of the verdict before it; empty for the first"),
            "journal": (TEXT, "head of the journal at that time: lines, and SHA-256 of the last"),
        },
    ),
    "confirmations": Table(
        ("confirmation",),
        "a larger model's loss on a target, beside the proxies' prediction",
        _VERSION
        | {
            "decision": (TEXT, "decision id"),
            "name": (TEXT, "chosen, natural or uniform"),
            "mixture": (TEXT, "mixture id"),
            "model": (TEXT, "id of the larger model"),
            "seed": (WHOLE_NUMBER, "seed"),
            "target": (TEXT, "validation target, or 'objective'"),
            "loss": (REAL, "measured, nats per token"),
            "standard_error": (REAL, "its standard error over windows"),
            "bits_per_byte": (REAL, "loss in bits per byte; NULL for the objective"),
            "predicted": (REAL, "loss predicted for a proxy, nats per token"),
        }
        | _ACCURACY,
        tuple(_ACCURACY),
    ),
    "strategy_choices": Table(
        ("strategy_comparison",),
        "what a strategy chose for the target run, and what its choosing took",
        _VERSION
        | {
            "strategy": (TEXT, "its name; 'natural' and 'decision' (the study's own) are always there"),
            "choice": (TEXT, "id of the choice, or of the study's decision"),
            "paper": (TEXT, "where the strategy is from"),
            "seed": (WHOLE_NUMBER, "seed it chose with"),
            "kind": (TEXT, "'mixture', 'schedule' (mixtures one after another) or 'policy' (steered as it goes)"),
            "mixture": (TEXT, "mixture id; NULL where it changes during the run"),
            "schedule": (TEXT, "[[share of the steps at which it ends, {domain: weight}], ...], JSON; NULL: a policy"),
            "runs": (WHOLE_NUMBER, "models trained or begun while choosing"),
            "tokens": (WHOLE_NUMBER, "tokens they were trained on"),
            "flops": (REAL, "FLOPs of choosing, shared runs counted in full"),
            "budget_flops": (REAL, "what it might have taken; NULL for natural and decision"),
            "further_flops": (REAL, "of a target run beyond its training; the mean over seeds"),
            "details": (TEXT, "what the strategy reports of its search, JSON"),
            "seconds": (REAL, "time of choosing; what was there costs none"),
        },
    ),
    "strategy_losses": Table(
        ("strategy_comparison",),
        "a target run's loss on a target",
        _VERSION
        | {
            "strategy": (TEXT, "strategy whose choice was trained on"),
            "choice": (TEXT, "id of the choice"),
            "run": (TEXT, "id of the model, or of the steered run"),
            "seed": (WHOLE_NUMBER, "number of the target run's seed, from 0; the same for all strategies"),
            "target": (TEXT, "validation target, or 'objective' for their weighted mean"),
            "loss": (REAL, "measured, nats per token"),
            "standard_error": (REAL, "its standard error over windows, most of which all runs have in common"),
            "bits_per_byte": (REAL, "loss in bits per byte; NULL for the objective"),
        }
        | _ACCURACY,
        tuple(_ACCURACY),
    ),
    "strategy_candidates": Table(
        ("strategy_comparison",),
        "a mixture's objective as one size of model measures it, or as the regressor predicts it",
        _VERSION
        | {
            "mixture": (TEXT, "mixture id"),
            "strategies": (TEXT, "strategies that chose it; empty where it was drawn"),
            "weights": (TEXT, "{domain: weight}, JSON"),
            "size": (TEXT, "'target', 'proxy', 'small_proxy' or 'regressor'"),
            "objective": (REAL, "weighted loss of a run, nats per token"),
            "standard_error": (REAL, "its standard error over windows; NULL for predictions"),
        },
    ),
}
