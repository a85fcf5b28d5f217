"""Stages 2 and 3: the tokenizer, the token shards, and the inventory of what there is to mix."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from regmix_pipeline.documents.domains import DOMAINS
from regmix_pipeline.documents.readers import reader
from regmix_pipeline.documents.stage import DOCUMENTS
from regmix_pipeline.documents.token_files import token_paths
from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import UNPARTITIONED, Recipe
from regmix_pipeline.engine.tables import TABLES
from regmix_pipeline.engine.workspace import Stage, Workspace
from regmix_pipeline.errors import DocumentError
from regmix_pipeline.files import fingerprint, sha256_of
from regmix_pipeline.mixtures.limits import check_limits_of, limits_of
from regmix_pipeline.progress import Progress
from regmix_pipeline.study.phases import tokens_before
from regmix_pipeline.study.repetition import stated
from regmix_pipeline.study.settings.documents import Source
from regmix_pipeline.study.settings.tokens import ShardSettings
from regmix_pipeline.tokens.distribute import ShardRequest, Tokenization
from regmix_pipeline.tokens.manifest import MANIFEST, Manifest, read_manifest
from regmix_pipeline.tokens.renamed import take_over_shard
from regmix_pipeline.tokens.shards import CODE_VERSION as SHARD_CODE
from regmix_pipeline.tokens.shards import expected_shard_version, shard_folder
from regmix_pipeline.tokens.tokenizer import INFO, TRAINER_VERSION, TokenizerFile, ensure_tokenizer, tokenizer_version

INVENTORY_CODE = "1"


def shard_settings(workspace: Workspace) -> ShardSettings:
    """The study's settings for shards, with its seed and with two windows as the least a split must hold."""
    window = 2 * workspace.study.proxies.model_settings.context + 1
    if workspace.study.confirmation is not None:
        window = max(window, 2 * workspace.study.confirmation.model_settings.context + 1)
    return workspace.study.shards.model_copy(update={"seed": workspace.study.seed, "min_tokens": window})


def current_tokenizer(workspace: Workspace) -> TokenizerFile:
    """The tokenizer that the current record names."""
    record = workspace.need("tokenizer")
    facts = record.facts
    for name in record.files:
        workspace.unaltered(record, name)
    path = Path(facts["path"])
    return TokenizerFile(
        path if path.is_absolute() else workspace.home / path,
        workspace.need("tokenizer").version,
        facts["vocabulary"],
        facts["eos_token"],
        facts["eos_id"],
    )


def current_manifest(workspace: Workspace, source: str) -> Manifest:
    """The manifest of a source's current shard, which is the one on record."""
    folder = current_shard(workspace, source)
    workspace.unaltered(workspace.need("token_shards", source), workspace.name_of(folder / MANIFEST))
    return read_manifest(folder)


def current_shard(workspace: Workspace, source: str) -> Path:
    """Folder of a source's current shard."""
    return shard_folder(workspace.path("shards"), source, workspace.need("token_shards", source).version)


def _expected_tokenizer(workspace: Workspace) -> dict[str, Recipe]:
    settings = workspace.study.tokenizer
    if settings is None:
        return {}
    asked: dict[str, Any] = {"tokenizer": settings.asked(), "code": TRAINER_VERSION}
    if settings.file is not None:
        path = workspace.base / settings.file
        return {UNPARTITIONED: Recipe({}, asked | {"file": tokenizer_version(path) if path.is_file() else "missing"})}
    record = workspace.records.current("tokenizer")
    if record is not None and _named_today(workspace, record.settings) == asked:
        # Frozen: what it was trained on stays on record, and later changes of the documents do not retrain it.
        return {UNPARTITIONED: Recipe(record.inputs, record.settings)}
    if settings.train is None:
        return {
            UNPARTITIONED: Recipe({}, asked)
        }  # the commit is chosen when it is fetched, and is on record from then on
    sampled = settings.train.domains if settings.train and settings.train.domains else workspace.domains
    return {
        UNPARTITIONED: Recipe(
            workspace.versions("documents", [name for name in sampled if name in workspace.domains]), asked
        )
    }


def _named_today(workspace: Workspace, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A tokenizer's settings with the domains it was trained on called as they are today."""
    train = settings["tokenizer"].get("train")
    if not train or not train.get("domains"):
        return dict(settings)
    named = [workspace.renamed.get(name, name) for name in train["domains"]]
    return {**settings, "tokenizer": {**settings["tokenizer"], "train": {**train, "domains": named}}}


def _compute_tokenizer(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    readers = {name: partial(_documents, workspace, name) for name in workspace.domains}
    assert workspace.study.tokenizer is not None
    before = workspace.records.made_from("tokenizer", UNPARTITIONED, recipes[UNPARTITIONED].id)
    made = ensure_tokenizer(
        workspace.study.tokenizer,
        readers,
        workspace.path("tokenizers"),
        workspace.base,
        workspace.say,
        commit=before[-1].facts.get("commit") if before else None,
    )
    inside = made.path.is_relative_to(workspace.home)
    facts = {
        "path": str(made.path.relative_to(workspace.home) if inside else made.path),
        "vocabulary": made.vocab_size,
        "eos_token": made.eos_token,
        "eos_id": made.eos_id,
        "trained on": made.trained_on or "given",
    }
    if made.commit is not None:
        facts["commit"] = made.commit
    yield Output(UNPARTITIONED, made.version, facts, [made.path, made.path.with_name(INFO)] if inside else [])


def _documents(workspace: Workspace, name: str) -> Any:
    _, source = workspace.study.sources[name]
    return reader(source, workspace.base, workspace.data, workspace.say).run()


def _expected_shards(workspace: Workspace) -> dict[str, Recipe]:
    if not workspace.study.trains:
        return {}
    tokenizer, settings = current_tokenizer(workspace), shard_settings(workspace)
    recipes = {}
    for name, (role, source) in workspace.study.sources.items():
        documents = workspace.need("documents", name)
        version = expected_shard_version(documents.version, tokenizer, settings, role)
        inputs = {f"documents/{name}": documents.version, "tokenizer/all": tokenizer.version}
        asked = {
            "seed": settings.seed,
            "validation_fraction": settings.validation_fraction,
            "window": settings.min_tokens,
        }
        asked |= _lie_at(source, workspace.base)
        recipes[name] = Recipe(inputs, {"shard": version, "role": role, "code": SHARD_CODE} | asked)
    return recipes


def _lie_at(source: Source, base: Path) -> dict[str, Any]:
    """Where files of tokens lie that are read in place: moved, they are another recipe of the same version."""
    if source.tokens is None:
        return {}
    try:
        return {"files": fingerprint("files", token_paths(source, base))}
    except DocumentError:  # whoever observes the documents says so
        return {"files": "none"}


def _compute_shards(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    tokenizer, settings = current_tokenizer(workspace), shard_settings(workspace)
    progress = Progress("token_shards", len(recipes), workspace.say, what="sources tokenised")
    for former, name in workspace.renamed.items():
        if name in recipes and take_over_shard(
            workspace.path("shards"), former, name, str(recipes[name].settings["shard"])
        ):
            workspace.say(f"  {name}: the shards of {former}, its earlier name")
    sources = [
        ShardRequest(name, source, role, workspace.need("documents", name).version)
        for name, (role, source) in workspace.study.sources.items()
        if name in recipes
    ]
    _drop_altered(workspace, recipes)
    tokenization = Tokenization(
        workspace.base, workspace.data, tokenizer, workspace.path("shards"), settings, workspace.say
    )
    for manifest in tokenization.shards(sources):
        name, role = manifest.source, manifest.role
        folder = shard_folder(workspace.path("shards"), name, manifest.version)
        facts = {
            "role": role,
            "tokens": manifest.totals("tokens"),
            "documents": manifest.totals("documents"),
            "megabytes": round(manifest.totals("bytes") / 1e6, 3),
            "duplicates": manifest.duplicates,
            "splits": {split: file.tokens for split, file in manifest.splits.items()},
            **_items_facts(manifest),
        }
        sums = {folder / file.file: file.file_sha256 for file in manifest.splits.values()}
        sums |= {folder / f"{file.file}.index": file.index_sha256 for file in manifest.splits.values()}
        sums |= {folder / manifest.items.file: manifest.items.sha256} if manifest.items else {}
        progress.advance(note=f"{name}: {manifest.totals('tokens') / 1e6:.2f} M tokens")
        yield Output(name, manifest.version, facts, [folder / "manifest.json", *sums], sums=sums)


def _items_facts(manifest: Manifest) -> dict[str, Any]:
    """What is worth knowing of a task."""
    items = manifest.items
    if items is None:
        return {}
    return {
        "items": items.items,
        "items with choices": items.with_choices,
        "tokens of right continuations": items.tokens,
        "first tokens that span the prompt's end": items.spanning,
    }


def _drop_altered(workspace: Workspace, recipes: Mapping[str, Recipe]) -> None:
    """Drop shards on disk whose manifest is not the one on record, so that they are made again."""
    known = workspace.records.sums_on_record(("token_shards",))
    for name, recipe in recipes.items():
        folder = shard_folder(workspace.path("shards"), name, recipe.settings["shard"])
        recorded = known.get(workspace.name_of(folder / MANIFEST))
        if recorded and (folder / MANIFEST).is_file() and sha256_of(folder / MANIFEST) not in recorded:
            workspace.say(f"      {workspace.name_of(folder)} is made again: it was altered")
            shutil.rmtree(folder)


def _expected_inventory(workspace: Workspace) -> dict[str, Recipe]:
    asked = {
        "limits": workspace.study.limits.recipe(),
        "domains": {
            name: [domain.cap, domain.floor, domain.available_tokens, domain.prior]
            for name, domain in workspace.study.domains.items()
        },
        "code": INVENTORY_CODE,
    }
    if own := stated(workspace.study):
        asked["max_epochs"] = own
    if before := tokens_before(workspace.study):
        asked["tokens_before"] = before
    inputs = workspace.versions(DOMAINS.name) | workspace.versions("token_shards", list(workspace.study.sources))
    return {UNPARTITIONED: Recipe(inputs, asked)}


def _compute_inventory(workspace: Workspace, recipes: Mapping[str, Recipe]) -> Iterator[Output]:
    domains = workspace.study.domains
    manifests = {name: current_manifest(workspace, name) for name in workspace.study.sources}
    rows = {name: _row(workspace, name, manifest) for name, manifest in manifests.items()}
    rows |= {name: _empty_row(name) for name in domains if name not in rows}
    available = _available_tokens(workspace, manifests)
    natural = np.array([available[name] or domain.prior for name, domain in domains.items()], dtype=float)
    bounds = limits_of(workspace.study, available)
    check_limits_of(workspace.study, bounds, available)
    for index, name in enumerate(domains):
        rows[name] |= {
            "available_tokens": available[name],
            "prior": float(natural[index] / natural.sum()),
            "cap": float(bounds.caps[index]),
            "floor": float(bounds.floors[index]),
        }
    listed = [rows[name] for name in (*domains, *(name for name in rows if name not in domains))]
    version = fingerprint("inventory", listed)
    path = workspace.write_json({"sources": listed}, "inventory", f"{version}.json")
    workspace.write_rows("domain_inventory", version, listed)
    facts = {
        "domains": len(domains),
        "targets outside the domains": len(rows) - len(domains),
        "available tokens": sum(tokens or 0 for tokens in available.values()),
        "sum of caps": float(bounds.caps.sum()),
        "capped below 1": int((bounds.caps < 1).sum()),
    }
    yield Output(UNPARTITIONED, version, facts, [path])


def _available_tokens(workspace: Workspace, manifests: Mapping[str, Manifest]) -> dict[str, int | None]:
    """Domain -> tokens the large run can draw: as stated, or as counted in the shards; None where nobody knows."""
    return {
        name: domain.available_tokens or (manifests[name].splits["train"].tokens if name in manifests else None)
        for name, domain in workspace.study.domains.items()
    }


def _empty_row(name: str) -> dict[str, Any]:
    """A domain without text here: only imported runs draw on it."""
    columns = [column for column in TABLES["domain_inventory"].columns if column != "version"]
    return dict.fromkeys(columns) | {"source": name, "role": "domain"}


def _row(workspace: Workspace, name: str, manifest: Manifest) -> dict[str, Any]:
    def held(split: str, what: str) -> int:
        return getattr(manifest.splits[split], what) if split in manifest.splits else 0

    counts = {
        f"{split}_{what}": held(split, what)
        for split in ("train", "validation")
        for what in ("documents", "tokens", "bytes")
    }
    return {
        "source": name,
        "role": workspace.study.sources[name][0],
        "documents_version": manifest.documents_version,
        "shard_version": manifest.version,
        "tokenizer": manifest.tokenizer,
        **counts,
        "duplicates": manifest.duplicates,
        "bytes_per_token": manifest.totals("bytes") / manifest.totals("tokens"),
        "available_tokens": None,
        "prior": None,
        "cap": None,
        "floor": None,
    }


TOKENIZER = Stage(
    "tokenizer",
    (DOCUMENTS.name,),
    None,
    str(TRAINER_VERSION),
    _expected_tokenizer,
    _compute_tokenizer,
    folders=("tokenizers",),
    kinds=("python",),
    group="data",
    description=(
        "The tokenizer: the study's file, or a byte-level BPE trained once on a stated sample and frozen from then on."
    ),
)
TOKEN_SHARDS = Stage(
    "token_shards",
    (DOCUMENTS.name, TOKENIZER.name),
    "domain",
    str(SHARD_CODE),
    _expected_shards,
    _compute_shards,
    restores=False,  # shards that are there are taken up as they are, with their sizes checked
    folders=("shards",),
    output_folder="shards",
    kinds=("datatrove",),
    group="data",
    description="A source's distinct documents as tokens, training and validation split by hash of the text.",
)
DOMAIN_INVENTORY = Stage(
    "domain_inventory",
    (DOMAINS.name, TOKEN_SHARDS.name),
    None,
    INVENTORY_CODE,
    _expected_inventory,
    _compute_inventory,
    folders=("inventory",),
    kinds=("duckdb",),
    group="data",
    description="Tokens available, natural prior, bytes per token and caps of every domain.",
)
