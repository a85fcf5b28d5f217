"""All mixtures of a study's current design as files on disk: for whoever trains the proxies."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import regmix_pipeline
from regmix_pipeline.engine.records import now
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import LedgerError, StudyError
from regmix_pipeline.exports.data import Basis, basis_now, data_of
from regmix_pipeline.exports.decided import format_named
from regmix_pipeline.formats.data import DataFile, DomainData
from regmix_pipeline.formats.export import Export, Origin
from regmix_pipeline.formats.files import counted, main_file, texts_of, write_texts
from regmix_pipeline.formats.plan import by_domain, sampling_plan
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.rounds import next_round
from regmix_pipeline.proxies.current import current_specs
from regmix_pipeline.study.phases import phase_parts
from regmix_pipeline.study.repetition import max_epochs_of

TABLE = "mixtures.csv"
"""All mixtures as one table, in the layout that `regmix import-runs` reads."""


@dataclass(frozen=True)
class Designed:
    """What was written.

    Attributes:
        rows: a row a mixture: id, origin, round, tokens, seeds, file, the highest epochs and their domain.
        files: all files.
        later: mixtures of later rounds, which are not chosen yet.
    """

    rows: list[dict[str, Any]]
    files: tuple[Path, ...]
    later: int


def write_design(
    workspace: Workspace,
    name: str,
    out: Path,
    *,
    template: str | None = None,
    tokens: int | None = None,
    documents: bool | None = None,
) -> Designed:
    """Write every mixture of the current design in a format, each with its sampling plan, and one table of them all.

    Args:
        workspace: the study on disk, up to date until its mixtures.
        name: one of `FORMATS`.
        out: the folder, made where it is not there.
        template: address of a domain's data, with ``{domain}`` in it.
        tokens: tokens that each proxy is trained on. Default: proxies.training.tokens.
        documents: whether samples are whole documents. Default: the format's usual way.

    Raises:
        StudyError: no such format, or an option that it has no use for.
        LedgerError: there are no mixtures, or the format cannot read what the study has.
        Nothing is written in any of these cases.
    """
    form = format_named(name, documents, tokens)
    if out.exists() and not out.is_dir():
        raise StudyError("is a file", where=f"--out {out}", remedy="name a folder")
    if phase_parts(workspace.study):
        raise StudyError(
            "each mixture is several, one for each of the phases that are chosen at once, and trainers' files hold one",
            where="phases",
            remedy="let this package train the proxies, or give all phases but the last a mixture",
        )
    entries = {entry["id"]: entry for entry in workspace.json("mixtures")["mixtures"]}
    if not entries:
        raise LedgerError(
            "the study lists no mixtures: it is based on imported runs alone",
            where="domains",
            remedy="give the domains sources, and the study a count of mixtures",
        )
    budget = tokens or workspace.study.proxies.training_settings.tokens
    basis = basis_now(workspace)
    data = data_of(workspace, basis, form.need, template)
    if template is not None:
        data = counted(data, form, basis.token_type)
    data = _as_often_as_the_large_run(workspace, basis, data, budget)
    mixtures = {key: Mixture.of(entry["parts"]) for key, entry in entries.items()}
    seeds = {key: [spec.seed for spec in group] for key, group in current_specs(workspace, mixtures).items()}
    texts: dict[Path, str] = {}
    rows = []
    for key, entry in entries.items():
        weights = mixtures[key].weights
        drawn = {domain: data[domain] for domain in weights}
        plan = sampling_plan(weights, drawn, budget)
        totals = by_domain(plan, drawn)
        epochs = {row["domain"]: row["epochs"] for row in totals if row["epochs"] is not None}
        worst = max(epochs, key=lambda domain: epochs[domain], default=None)
        export = Export(
            _origin(workspace, entry),
            weights,
            workspace.study.objective,
            drawn,
            max(*max_epochs_of(workspace.study).values(), math.ceil(max(epochs.values(), default=0.0))),
            seeds[key][0],
            budget,
            documents=bool(form.documents if documents is None else documents),
        )
        main = main_file(out, key, name, form)
        texts |= texts_of(export, name, form, main, plan)
        rows.append(
            {
                "mixture": key,
                "origin": entry["origin"],
                "round": entry["round"],
                "tokens": budget,
                "seeds": seeds[key],
                "file": main.name,
                "highest_epochs": epochs[worst] if worst is not None else None,
                "highest_epochs_in": worst,
                "epochs": epochs,
                "weights": weights,
            }
        )
    texts[out / TABLE] = _table(workspace.coordinates, mixtures)
    write_texts(texts)
    following = next_round(workspace)
    return Designed(rows, tuple(texts), following.left if following is not None else 0)


def _as_often_as_the_large_run(
    workspace: Workspace, basis: Basis, data: Mapping[str, DomainData], budget: int
) -> dict[str, DomainData]:
    """The same with no more tokens of a domain than repeat it as often as the large run will; see
    `proxies.tasks.available_windows`."""
    target = workspace.study.limits.target_tokens
    if target is None or workspace.study.proxies.repeat_as_target is False:
        return dict(data)
    found = {}
    for domain, each in data.items():
        large = basis.available.get(domain)
        allowed = None if large is None else max(1, large * budget // target)
        if allowed is None or (each.available is not None and each.available <= allowed):
            found[domain] = each
            continue
        note = f"draw from {allowed:,} tokens of it alone, to repeat it as often as the large run will"
        # Of several files each gives its share: the first tokens of each.
        known = sum(file.tokens or 0 for file in each.listed)
        files: tuple[DataFile, ...] = ()
        if known:
            shares = [(file, (file.tokens or 0) * allowed // known) for file in each.listed]
            files = tuple(replace(file, tokens=max(1, tokens)) for file, tokens in shares)
        found[domain] = replace(each, available=allowed, counted=files, note=each.note or note)
    return found


def _origin(workspace: Workspace, entry: Mapping[str, Any]) -> Origin:
    about = {
        "study": workspace.study.name,
        "mixture": entry["id"],
        "origin": entry["origin"],
        "round": entry["round"],
        "written_at": now(),
        "written_with": f"regmix-pipeline {regmix_pipeline.__version__}",
    }
    of_round = f", round {entry['round']}" if entry["round"] is not None else ""
    return Origin(
        entry["id"],
        about,
        (
            f"Mixture {entry['id']} of study {about['study']}, for a proxy ({entry['origin']}{of_round}).",
            f"Written {about['written_at']} by {about['written_with']}.",
        ),
    )


def _table(domains: list[str], mixtures: Mapping[str, Mixture]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["index", *(f"train_{domain}" for domain in domains)])
    for key, mixture in mixtures.items():
        table.writerow([key, *(repr(float(weight)) for weight in mixture.vector(domains))])
    return text.getvalue()
