"""Predictions and the response surface for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from regmix_pipeline.numbers import NONE, decimals, percent, signed
from regmix_pipeline.tables import show_table

HEADINGS = ("predicted", "low", "high", "standard error")


def show_predictions(found: Mapping[str, Any], console: Console) -> None:
    """Print what `answers.predictions` found."""
    for each in found["mixtures"]:
        weights = sorted(each["weights"].items(), key=lambda item: -item[1])
        asked = each["asked"] if each["asked"] and "=" not in each["asked"] else each["mixture"]
        shares = ", ".join(f"{name} {percent(weight)}" for name, weight in weights)
        title = f"{asked}: {shares}"
        rows = [("objective", *_numbers(each["objective"]))]
        rows += [(name, *_numbers(loss)) for name, loss in each["targets"].items()]
        show_table(console, ("loss", *HEADINGS), rows, title=title)
        _say(console, _beside(each))
    _say(console, f"{found['unit']}; intervals of one proxy's loss, {found['level']:.0%}; {_of(found)}")


def show_surface(found: Mapping[str, Any], console: Console) -> None:
    """Print what `answers.surface` found, without its curves."""
    rows = [
        (row["domain"], *(percent(row[name]) for name in ("prior", "weight", "low", "high", "floor", "cap")))
        for row in found["domains"]
    ]
    show_table(console, ("domain", "natural", "chosen", "from", "to", "floor", "cap"), rows, title="weights")
    rows = [(row["name"], *_numbers(row["objective"]), _against(row)) for row in found["mixtures"]]
    show_table(console, ("mixture", *HEADINGS, "against natural"), rows, title="objective of named mixtures")
    rows = []
    for target in found["targets"]:
        scores = {row["metric"]: row["value"] for row in target["scores"] if row["split"] == "random"}
        ranks, error = scores.get("spearman"), scores.get("rmse")
        rows.append(
            (
                target["target"],
                percent(target["weight"]),
                target["regressor"],
                NONE if ranks is None else f"{ranks:.3f}",
                decimals(error),
            )
        )
    headings = ("target", "share", "regressor", "rank correlation", "rmse")
    show_table(console, headings, rows, title="how well targets are predicted, out of fold", left=["regressor"])
    for flag in found["flags"]:
        _say(console, f"note: {flag}")
    _say(console, f"{found['unit']}; {found['mixtures_measured']} mixtures measured; {_of(found)}")


def _numbers(loss: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(decimals(loss[name]) for name in ("predicted", "low", "high", "standard_error"))


def _against(each: Mapping[str, Any]) -> str:
    return f"{signed(each['against_natural'])} ± {decimals(each['against_natural_error'])}"


def _beside(each: Mapping[str, Any]) -> str:
    said = f"{_against(each)} against the natural mixture"
    if each["extrapolates"]:
        far = each["distance"] > each["usual_distance"]
        why = f"{each['distance']:.2f} from the nearest mixture measured, which lie {each['usual_distance']:.2f} apart"
        said += f"; {why if far else 'a weight is above the highest measured'}: a guess"
    return said if each["allowed"] else f"{said}; not allowed by the decision's limits"


def _of(found: Mapping[str, Any]) -> str:
    return f"decision {found['decision']} of {found['study']}"


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
