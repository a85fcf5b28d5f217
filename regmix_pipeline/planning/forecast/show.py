"""A forecast in a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console

from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.planning.forecast.forecast import Forecast, LaterRounds, StageForecast, some_of
from regmix_pipeline.status import in_words


def forecast_as_json(workspace: Workspace, found: Forecast) -> dict[str, Any]:
    """The forecast, JSON-able."""
    return {
        "study": workspace.study.name,
        "home": str(workspace.home),
        "home_is_new": not (workspace.home / "records").is_dir(),
        "stages": [asdict(each) for each in found.stages],
        "to_fetch": list(found.to_fetch),
        "later_rounds": found.later_rounds._asdict(),
        "training_tokens": found.training_tokens,
        "at_most": found.at_most,
        "guesses": list(found.guesses),
        "suggestions": list(found.suggestions),
        "flags": list(found.flags),
    }


def show_forecast(workspace: Workspace, found: Forecast, console: Console) -> None:
    """Print a line a stage, then what a run would train, tokenise and fetch in all."""
    for line in _lines(workspace, found):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _lines(workspace: Workspace, found: Forecast) -> Iterator[str]:
    new = "" if (workspace.home / "records").is_dir() else ", which is new"
    yield f"study {workspace.study.name} · home {workspace.home}{new}"
    width = max(len(each.stage) for each in found.stages)
    for each in found.stages:
        yield f"{each.stage:<{width}} {_said(each)}"
    if found.later_rounds.rounds:
        yield _rounds(found.later_rounds)
    yield _total(found)
    if found.guesses:
        yield f"upper bounds, because {some_of(found.guesses)}"
    yield from (f"hint: {suggestion}" for suggestion in found.suggestions)
    yield from (f"flag: {flag}" for flag in found.flags)


def _said(stage: StageForecast) -> str:
    most = "at most " if stage.at_most else ""
    bound = "at most " if stage.tokens_at_most else ""
    said = f"{stage.made} made, {most}{len(stage.stale)} stale"
    if stage.problem:
        return f"{stage.made} made · not known: {stage.problem}"
    if stage.withdrawn:
        said += f", {len(stage.withdrawn)} to withdraw"
    if stage.restored:
        said += f" · {len(stage.restored)} made before from the same inputs: taken up again"
    if stage.models:
        said += f" · trains {bound}{_models(stage.models)} on {stage.tokens:,} tokens"
    elif stage.tokens:
        said += f" · tokenises about {stage.tokens:,} tokens"
    return said + (f" · {in_words(stage.stale)}" if stage.stale else "")


def _rounds(later: LaterRounds) -> str:
    rounds = f"{later.rounds} more round{'' if later.rounds == 1 else 's'}"
    most = "at most " if later.at_most else ""
    return (
        f"then {most}{rounds} of {later.mixtures} mixtures, chosen by what was measured before · "
        f"trains {most}{_models(later.models)} on {later.tokens:,} tokens"
    )


def _total(found: Forecast) -> str:
    later = found.later_rounds
    if not any(each.stale or each.withdrawn or each.problem for each in found.stages) and not later.rounds:
        return "`regmix run` would make nothing: everything is up to date"
    if unknown := next((each for each in found.stages if each.problem), None):
        return f"what `regmix run` would make is not known from {unknown.stage} on"
    most = "at most " if found.at_most else ""
    trained = [each for each in found.stages if each.models]
    models = sum(each.models for each in trained)
    parts = [f"{each.stage} {each.tokens:,}" for each in trained]
    parts += [f"later rounds {later.tokens:,}"] * bool(later.rounds)
    train = f"train {most}{_models(models + later.models)} on {found.training_tokens:,} tokens ({', '.join(parts)})"
    train = train if trained or later.rounds else "train nothing"
    text = found.of("token_shards").tokens
    tokenise = f"tokenise about {text:,} tokens" if text else "tokenise nothing"
    fetch = f"fetch {', '.join(found.to_fetch)}" if found.to_fetch else "fetch nothing"
    return f"`regmix run` would {train}, {tokenise} and {fetch}"


def _models(count: int) -> str:
    return f"{count} model{'' if count == 1 else 's'}"
