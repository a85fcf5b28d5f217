"""The difference between two decisions in a terminal: what moved and why first, then what changed underneath."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

from regmix_pipeline.tables import Cell, show_table

NOTABLE = 5e-4
"""Parts of a movement below this are left out of tables."""
SHOWN = 12
"""Rows of a list of changes in a terminal; all are in the JSON."""


def show_difference(found: Mapping[str, Any], console: Console) -> None:
    """Print a difference."""
    console.print(f"{found['a']['decision']} -> {found['b']['decision']}", style="bold", highlight=False)
    for side in ("a", "b"):
        text = f"{found[side]['decided_at'][:16].replace('T', ' ')}  {found[side]['summary']}"
        console.print(text, markup=False, highlight=False, style="dim")
    for line in found["movements"] or ["no weight moved by half a point or more"]:
        console.print(line, style="bold", markup=False, highlight=False)
    if found["attribution"]:
        _show_attribution(found, console)
        console.print(_how(found["attribution"]), markup=False, highlight=False, style="dim")
        if any(row["state"] for row in found["weights"]):
            both = "A domain that came or went needs evidence and text at once: the two share its movement equally."
            console.print(both, highlight=False, style="dim")
    else:
        _show_weights(found["weights"], console)
        console.print(f"causes not separated: {found['attribution_missing']}", style="yellow", markup=False)
    console.print(f"predicted gain over natural: {_gain(found['gain'])}", markup=False, highlight=False)
    console.print("What went in", style="bold")
    for line in _inputs(found["inputs"]):
        console.print(line, markup=False, highlight=False)
    if found["evidence"]:
        console.print("The evidence", style="bold")
        for line in _evidence(found["evidence"]):
            console.print(line, markup=False, highlight=False)


def _show_attribution(found: Mapping[str, Any], console: Console) -> None:
    attribution = found["attribution"]
    states = {row["domain"]: row["state"] for row in found["weights"]}
    # A cause that moved nothing is named below the table; "noise" represents what searching again does not reproduce.
    causes = [cause for cause in attribution["causes"] if _moves(attribution, cause)]
    rows: list[tuple[Cell, ...]] = []
    for row in sorted(attribution["domains"], key=lambda row: -abs(row["change"])):
        state = f" ({states[row['domain']]})" if states.get(row["domain"]) else ""
        parts = [row["parts"][cause] for cause in causes] + [row["residual"]]
        before, after = f"{row['before'] * 100:.1f}", f"{row['after'] * 100:.1f}"
        rows.append((row["domain"] + state, before, after, (_points(row["change"]), "bold"), *map(_points, parts)))
    headings = ("domain", "before", "after", "change", *causes, "noise")
    show_table(console, headings, rows, title="Weights in percent; changes and what made them, in points")


def _moves(attribution: Mapping[str, Any], cause: str) -> bool:
    return any(abs(row["parts"][cause]) >= NOTABLE for row in attribution["domains"])


def _points(part: float) -> str:
    return f"{part * 100:+.1f}" if abs(part) >= NOTABLE else "0"


def _how(attribution: Mapping[str, Any]) -> str:
    method = attribution["method"]
    idle = [cause for cause in attribution["causes"] if not _moves(attribution, cause)]
    how = "searched as the decisions were" if method["name"] == "own" else "by the optimiser"
    said = (
        f"Each cause's part is its effect averaged over all orders of change, from {attribution['searches']} searches, "
        f"{how} ({method['why']}). Noise: what these searches do not reproduce of the recorded weights"
        f" ({attribution['residual_is']})."
    )
    if idle:
        said += f" Changed and moved nothing: {', '.join(idle)}."
    if not attribution["causes"]:
        said = "No cause that the search knows of differs; what moved is code or chance."
    if attribution["loosened"]:
        said += f" Loosened where causes of both together left no mixture: {', '.join(attribution['loosened'])}."
    gain = attribution["gain"]
    parts = gain["parts"] | {"noise": gain["residual"]}
    notable = [f"{cause} {part:+.3f}" for cause, part in parts.items() if abs(part) >= NOTABLE]
    return said + (f" Predicted gain {gain['change']:+.3f}: {', '.join(notable)}." if notable else "")


def _show_weights(weights: Sequence[Mapping[str, Any]], console: Console) -> None:
    rows = [
        (
            row["domain"] + (f" ({row['state']})" if row["state"] else ""),
            f"{row['before'] * 100:.1f}",
            f"{row['after'] * 100:.1f}",
            _points(row["change"]),
        )
        for row in weights
    ]
    headings = ("domain", "before", "after", "change")
    show_table(console, headings, rows, title="Weights in percent, changes in points")


def _gain(gain: Mapping[str, Any]) -> str:
    def said(one: Mapping[str, Any]) -> str:
        interval = f" (90% interval {one['low']:+.3f} to {one['high']:+.3f})" if "low" in one else ""
        return f"{one['predicted']:.3f}{interval}"

    return f"{said(gain['before'])} -> {said(gain['after'])} nats per token"


def _inputs(inputs: Mapping[str, Any]) -> Iterator[str]:
    for former, name in inputs["domains"]["renamed"].items():
        yield f"  domain renamed: {former} is {name} now"
    for word in ("came", "removed"):
        if inputs["domains"][word]:
            yield f"  domains that {word}: {', '.join(inputs['domains'][word])}"
    for row in inputs["text"]:
        sizes = [f"{_pair(row[what])} {what}" for what in ("documents", "tokens", "megabytes")]
        yield f"  text of {row['source']}: {row['state']}; {', '.join(sizes)}"
    if inputs["tokenizer"]:
        then, now = inputs["tokenizer"]
        yield f"  tokenizer: {then['version']} ({then['vocabulary']}) -> {now['version']} ({now['vocabulary']})"
    said = False
    for what in ("limits", "targets", "settings", "code", "libraries"):
        rows = inputs[what]
        said = said or bool(rows)
        for row in rows[:SHOWN]:
            yield f"  {what}: {row['what']}: {_plain(row['before'])} -> {_plain(row['after'])}"
        if len(rows) > SHOWN:
            yield f"  {what}: and {len(rows) - SHOWN} more; --json lists all"
    changed = {
        asset: [f"{count} {state}" for state, count in counts.items() if count and state != "same"]
        for asset, counts in inputs["versions"].items()
    }
    differing = [f"{asset} ({', '.join(words)})" for asset, words in changed.items() if words]
    yield f"  versions that differ: {', '.join(differing) or 'none'}"


def _pair(values: Sequence[Any]) -> str:
    then, now = ("none" if value is None else f"{value:,}" for value in values)
    return then if then == now else f"{then} -> {now}"


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _evidence(evidence: Mapping[str, Any]) -> Iterator[str]:
    counts = evidence["mixtures"]
    yield "  trained mixtures: " + ", ".join(f"{count} {word.replace('_', ' ')}" for word, count in counts.items())
    for row in evidence["losses"]:
        if abs(row["largest_change"]) >= NOTABLE:
            changes = f"{row['mean_change']:+.3f} on average, at most {row['largest_change']:+.3f}"
            yield f"  loss on {row['target']}: {changes}, over {row['mixtures']} in both"
    for row in evidence["scores"]:
        moved = [f"{name} {_scores(row[name])}" for name in ("spearman", "rmse", "coverage") if _differ(row[name])]
        if row["regressor"][0] != row["regressor"][1]:
            moved.insert(0, f"{row['regressor'][0]} -> {row['regressor'][1]}")
        if moved:
            yield f"  regressor of {row['target']}: {', '.join(moved)}"
    for row in evidence["noise"]:
        if _differ(row["noise"]):
            yield f"  noise on {row['target']}: {_scores(row['noise'])} nats per token"


def _differ(pair: Sequence[float | None]) -> bool:
    then, now = pair
    return then != now and (then is None or now is None or abs(then - now) >= NOTABLE)


def _scores(pair: Sequence[float | None]) -> str:
    return " -> ".join("none" if value is None else f"{value:.3f}" for value in pair)
