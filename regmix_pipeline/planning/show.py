"""A plan as tables for a terminal, and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console

from regmix_pipeline.numbers import amount
from regmix_pipeline.planning.forecast.forecast import some_of
from regmix_pipeline.planning.plan import StudyPlan
from regmix_pipeline.planning.recorded import ToTrain
from regmix_pipeline.planning.stage_plans import TRAINING
from regmix_pipeline.progress import clock
from regmix_pipeline.tables import show_table

_LABELS = "abcdefghijklmnop"


def plan_as_json(plan: StudyPlan) -> dict[str, Any]:
    """A plan as a mapping: models, stages, totals, memory, disk, rows of the ledger, caps."""
    works = [
        {
            "what": work.what,
            "models": work.models,
            "left": plan.to_train[work.what].models,
            "left_tokens": plan.to_train[work.what].tokens,
            "left_at_most": plan.to_train[work.what].at_most,
            "parameters": None if work.command else work.parameters,
            "tokens": work.tokens,
            "steps": None if work.command else work.steps,
            "flops": None if work.command else work.flops,
            "total_flops": None if work.command else work.total_flops,
            "evaluations": work.evaluations,
            "bytes": work.bytes,
            "devices": plan.at_once[work.what][0],
            "models_per_device": plan.at_once[work.what][1],
            "devices_per_model": plan.per_model[work.what],
            "divided": plan.divided[work.what],
            "memory": asdict(plan.memory[work.what]) | {"total": plan.memory[work.what].total},
            "measured_peak_bytes": plan.peaks.get(work.what),
        }
        for work in plan.works
    ]
    return {
        "study": plan.study,
        "domains": plan.domains,
        "targets": plan.targets,
        "mixtures": plan.mixtures,
        "vocabulary": plan.vocabulary,
        "machine": plan.machine,
        "hardware": None if plan.hardware is None else plan.hardware.model_dump(mode="json"),
        "workers": plan.workers,
        "works": works,
        "stages": [asdict(stage) for stage in plan.stages],
        "seconds": plan.seconds,
        "left_seconds": plan.left,
        "left_tokens": sum(left.tokens for left in plan.to_train.values()),
        "left_at_most": any(left.at_most for left in plan.to_train.values()),
        "guesses": list(plan.guesses),
        "training_seconds": plan.training_seconds,
        "orchestration_seconds": plan.orchestration,
        "device_hours": plan.device_hours(),
        "left_device_hours": plan.device_hours(left=True),
        "cost": plan.cost(),
        "left_cost": plan.cost(left=True),
        "disk_cost_per_month": plan.disk_cost(),
        "text": asdict(plan.text),
        "disk": dict(plan.disk),
        "ledger_rows": dict(plan.rows),
        "caps": dict(plan.caps),
        "warnings": list(plan.warnings),
    }


def show_plan(plan: StudyPlan, console: Console) -> None:
    """Print a plan: what is trained, what each stage takes and where that comes from, what is left on disk."""
    title = f"study {plan.study} on {plan.machine}: {plan.domains} domains, {plan.targets} targets"
    console.print(title, style="bold", highlight=False, soft_wrap=True)
    if plan.works:
        _show_models(plan, console)
    notes = _show_stages(plan, console)
    for label, note in notes.items():
        console.print(f" [{label}] {note}", highlight=False, markup=False, soft_wrap=True)
    console.print()
    for line in _lines(plan):
        console.print(line, highlight=False, markup=False)
    for warning in plan.warnings:
        console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False)


def _show_models(plan: StudyPlan, console: Console) -> None:
    rows = [
        (
            work.what,
            f"{work.models:,}",
            _to_make(plan.to_train[work.what]),
            "" if work.command else amount(work.parameters),
            amount(work.tokens),
            "" if work.command else f"{work.flops:.2e}".replace("e+", "e"),
            _at_once(*plan.at_once[work.what], plan.per_model[work.what], plan.divided[work.what]),
            "" if work.command else _bytes(plan.memory[work.what].total),
            "" if work.command else _bytes(work.bytes),
        )
        for work in plan.works
    ]
    headings = ("", "models", "to make", "parameters", "tokens each", "FLOPs each", "at once", "memory", "checkpoints")
    show_table(console, headings, rows, title=f"{plan.mixtures:,} mixtures")


def _to_make(left: ToTrain) -> str:
    return f"at most {left.models:,}" if left.at_most else f"{left.models:,}"


def _show_stages(plan: StudyPlan, console: Console) -> dict[str, str]:
    """Print the stages; returns label -> where a figure comes from."""
    notes: dict[str, str] = {}
    label_of: dict[str, str] = {}
    rows = []
    for stage in plan.stages:
        label = label_of.setdefault(stage.source, _LABELS[len(label_of) % len(_LABELS)])
        notes[label] = stage.source
        share = f"{stage.seconds / plan.seconds:.0%}"
        devices = str(stage.devices) if stage.devices else ""
        rows.append((stage.stage, duration(stage.seconds), duration(stage.left), share, devices, f"[{label}]"))
    rows.append(("total", duration(plan.seconds), duration(plan.left), "100%", "", ""))
    show_table(console, ("stage", "time", "to go", "share", "devices", "from"), rows, bold=[len(rows) - 1])
    return notes


def _lines(plan: StudyPlan) -> list[str]:
    training = plan.training_seconds
    lines = [
        f"time: {duration(plan.seconds)}, {duration(plan.left)} of it to go; {training / plan.seconds:.0%} in "
        f"{', '.join(stage.stage for stage in plan.stages if stage.stage in TRAINING) or 'training'}; "
        f"orchestration {duration(plan.orchestration)}"
    ]
    if any(left.at_most for left in plan.to_train.values()) and plan.guesses:
        lines.append(f"the remaining work is an upper bound: {some_of(plan.guesses)}")
    unit = "core hours" if plan.hardware is None or plan.hardware.kind == "cpu" else "device hours"
    spent = f"{unit}: {plan.device_hours():,.1f}, {plan.device_hours(left=True):,.1f} of it to go"
    cost, rest = plan.cost(), plan.cost(left=True)
    if plan.hardware is not None and cost is not None and rest is not None:
        spent += f"; cost {cost:,.0f} {plan.hardware.currency}, {rest:,.0f} of it to go"
    lines.append(spent)
    for work in plan.works:
        peak = plan.peaks.get(work.what)
        if peak:
            lines.append(
                f"memory of a worker, {work.what}: {_bytes(plan.memory[work.what].total)} by formula, "
                f"{_bytes(peak)} measured"
            )
    disk = ", ".join(f"{what} {_bytes(size)}" for what, size in plan.disk.items() if size)
    month = plan.disk_cost()
    lines.append(f"disk: {disk}" + ("" if month is None or plan.hardware is None else f"; {month:,.0f} a month"))
    if plan.text.tokens:
        lines.append(f"text: {_bytes(plan.text.bytes)}, {amount(plan.text.tokens)} tokens ({plan.text.source})")
    if plan.rows:
        large = sorted(plan.rows.items(), key=lambda item: -item[1])
        listed = ", ".join(f"{table} {rows:,}" for table, rows in large[:4])
        lines.append(f"rows in the ledger: {sum(plan.rows.values()):,}: {listed}, and {len(large) - 4} smaller tables")
    if plan.caps:
        tight = sorted(plan.caps.items(), key=lambda item: item[1])
        listed = ", ".join(f"{name} {100 * cap:.2g}%" for name, cap in tight[:8])
        more = f" and {len(tight) - 8} more" if len(tight) > 8 else ""
        lines.append(f"caps from the tokens stated: {listed}{more}")
    return lines


def duration(seconds: float) -> str:
    """``95`` -> ``1m35s``; days beyond two of them, years beyond two of those."""
    if seconds < 0.95:
        return f"{seconds:.1f}s" if seconds >= 0.05 else "0s"
    if round(seconds) < 2 * 86_400:
        return clock(seconds)
    days = seconds / 86_400
    return f"{days:,.1f} days" if days < 730 else f"{days / 365.25:,.1f} years"


def _bytes(size: float) -> str:
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size / 1e3:,.1f} kB"


def _at_once(devices: int, stack: int, per_model: int, divided: bool) -> str:
    """``8 x 4``: eight devices, four models on each; ``2 on 4``: two models, each on four devices, perhaps divided."""
    if per_model == 1:
        return f"{devices} x {stack}"
    return f"{devices // per_model} on {per_model}" + (", divided" if divided else "")
