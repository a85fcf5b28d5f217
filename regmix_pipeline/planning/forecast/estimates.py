"""Stages in a scratch workspace: what each would make, and what can be known of it before it is made."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from regmix_pipeline.decisions.confirmation import compared_mixtures, confirmation_specs
from regmix_pipeline.documents.stage import missing_corpora
from regmix_pipeline.engine.recorder import Output
from regmix_pipeline.engine.records import Recipe
from regmix_pipeline.errors import LedgerError, RegmixError
from regmix_pipeline.files import fingerprint, write_json
from regmix_pipeline.mixtures.anchors import reference_mixtures
from regmix_pipeline.mixtures.stage import current_mixtures, prior_and_limits
from regmix_pipeline.planning.forecast.scratch import ScratchWorkspace
from regmix_pipeline.planning.work import VOCABULARY_UNKNOWN
from regmix_pipeline.proxies.size_runs import chosen_mixtures, size_specs
from regmix_pipeline.proxies.spec import ProxySpec
from regmix_pipeline.study.phases import proxy_tokens, settled
from regmix_pipeline.study.study import ProxySize
from regmix_pipeline.tokens.manifest import MANIFEST, Manifest, SplitFile, read_manifest
from regmix_pipeline.tokens.shards import SPLITS, shard_folder
from regmix_pipeline.tokens.stage import TOKEN_SHARDS, TOKENIZER, current_tokenizer
from regmix_pipeline.tokens.tokenizer import frozen_folder

READ_AT_MOST = 200_000_000
"""Bytes of changed files that are read to learn whether their content changed."""
TOKENS_UNKNOWN = 10_000_000
"""Tokens assumed of a source whose size is not known before it is fetched."""


def documents_seen(workspace: ScratchWorkspace) -> tuple[dict[str, Recipe], dict[str, str]]:
    """Source -> recipe of its documents now, and source -> why that is a guess, where its text was not looked at."""
    from regmix_pipeline.documents.observe import observe, version_by_listing
    from regmix_pipeline.planning.text import size_of

    recipes, guessed, missing = {}, {}, set(missing_corpora(workspace))
    for name, (_, source) in workspace.study.sources.items():
        record = workspace.records.current("documents", name)
        version = None
        if source.corpus in missing:
            guessed[name] = "not fetched yet"
        else:
            version = version_by_listing(source, workspace.base, workspace.data)
            if version is None:
                size = size_of(source, workspace.base, workspace.data)
                if size is not None and size <= READ_AT_MOST:
                    version = observe(source, workspace.base, workspace.data, workspace.say).version
                else:
                    guessed[name] = "its files changed and were not read"
        before = record.version if record is not None else "none"
        recipes[name] = Recipe({}, {"content": version or fingerprint("not looked at", name, before)})
    return recipes, guessed


def expected_tokenizer(workspace: ScratchWorkspace, recipes: Mapping[str, Recipe]) -> bool:
    """Make a tokenizer that costs nothing, or suppose one that would be trained or fetched; returns whether it is
    known."""
    settings = workspace.study.tokenizer
    assert settings is not None
    if settings.file is not None or frozen_folder(settings, workspace.path("tokenizers")).is_dir():
        workspace.compute(TOKENIZER, recipes)
        return True
    vocabulary = settings.train.vocab_size if settings.train is not None else VOCABULARY_UNKNOWN
    facts = {"path": "none", "vocabulary": vocabulary, "eos_token": settings.eos_token, "eos_id": 0}
    for key, recipe in recipes.items():
        workspace.suppose(TOKENIZER, key, recipe, fingerprint("tokenizer to be made", recipe.id), facts)
    return False


def expected_shards(
    workspace: ScratchWorkspace, recipes: Mapping[str, Recipe], before: Mapping[str, Path]
) -> dict[str, int]:
    """Suppose shards: those that are on disk as they are, others with a guess of their tokens.

    Args:
        workspace: the scratch workspace.
        recipes: source -> recipe of shards to make.
        before: source -> folder of the shards that it has now.

    Returns:
        Source -> tokens guessed, of those that would be tokenised.
    """
    guessed = {}
    for name, recipe in recipes.items():
        version = str(recipe.settings["shard"])
        folder = shard_folder(workspace.path("shards"), name, version)
        former = next((old for old, new in workspace.renamed.items() if new == name), name)
        there = next(
            (place for place in (folder, shard_folder(workspace.path("shards"), former, version)) if _is_intact(place)),
            None,
        )
        if there is None:
            manifest = _guess(workspace, name, version, before.get(name))
            guessed[name] = manifest.totals("tokens")
        else:
            manifest = read_manifest(there).model_copy(update={"source": name})
        if there != folder:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / MANIFEST, manifest.model_dump())
        facts = {"role": manifest.role, "tokens": manifest.totals("tokens")}
        workspace.records.save(
            workspace.record_of(TOKEN_SHARDS, recipe, Output(name, version, facts, [folder / MANIFEST]))
        )
    return guessed


def _is_intact(folder: Path) -> bool:
    from regmix_pipeline.tokens.manifest import check_sizes

    if not (folder / MANIFEST).is_file():
        return False
    try:
        check_sizes(folder, read_manifest(folder))
    except RegmixError:
        return False
    return True


def _guess(workspace: ScratchWorkspace, name: str, version: str, before: Path | None) -> Manifest:
    """A manifest of shards that are not there: as long as the ones before, else as the files are large."""
    from regmix_pipeline.planning import stated
    from regmix_pipeline.planning.text import size_of

    role, source = workspace.study.sources[name]
    tokenizer = current_tokenizer(workspace)
    items = None
    if before is not None and (before / MANIFEST).is_file():
        held_before = read_manifest(before)
        splits, items = held_before.splits, held_before.items
    else:
        size = size_of(source, workspace.base, workspace.data)
        tokens = TOKENS_UNKNOWN if size is None else max(int(size / stated.BYTES_PER_TOKEN), 1000)
        held = workspace.study.shards.validation_fraction
        share = {"train": 1 - held, "validation": held} if role == "domain" else {"validation": 1.0}
        splits = {
            split: SplitFile(
                file=f"{split}.ds",
                tokens=max(int(tokens * share[split]), 100),
                documents=1,
                bytes=max(int(tokens * share[split] * stated.BYTES_PER_TOKEN), 100),
                sha256="",
            )
            for split in SPLITS[role]
        }
    return Manifest(
        source=name,
        version=version,
        tokenizer=tokenizer.version,
        vocabulary=tokenizer.vocab_size,
        dtype="uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32",
        splits=splits,
        duplicates=0,
        documents_version=workspace.need("documents", name).version,
        role=role,
        items=items,
    )


def to_train(specs: Sequence[ProxySpec]) -> list[ProxySpec]:
    """The models among ``specs`` that are not on disk, each once."""
    return list({spec.id: spec for spec in specs if not spec.is_finished}.values())


def sizes_to_train(workspace: ScratchWorkspace) -> tuple[int, int, bool]:
    """Models and tokens that larger proxies take, and whether their mixtures are known."""
    sizes = workspace.study.proxies.sizes
    try:
        chosen = chosen_mixtures(workspace) if _measured(workspace) else None
    except LedgerError:
        chosen = None
    if chosen is None or not all(chosen):
        study = workspace.study
        earlier = [
            proxy_tokens(study, phase, size.training_settings.tokens) for size in sizes for phase in settled(study)
        ]
        models, tokens = sum(size.mixtures for size in sizes), sum(_tokens(size) for size in sizes)
        return models + len(earlier), tokens + sum(earlier), False
    specs = [spec for group in size_specs(workspace, chosen) for each in group.values() for spec in each]
    missing = to_train([each for spec in specs for each in spec.phases])
    return len(missing), sum(spec.training.tokens for spec in missing), True


def _tokens(size: ProxySize) -> int:
    return size.mixtures * size.training_settings.tokens


def _measured(workspace: ScratchWorkspace) -> bool:
    """Whether the losses of all current mixtures are really there, and not only supposed."""
    records = (workspace.records.current("proxy_losses", key) for key in current_mixtures(workspace))
    return all(record is not None and record.files for record in records)


def confirmation_to_train(workspace: ScratchWorkspace) -> tuple[int, int, bool]:
    """Models and tokens that a confirmation of the decision would train, and whether the decision is known."""
    confirmation = workspace.study.confirmation
    if confirmation is None:
        return 0, 0, True
    record = workspace.need("optimal_mixture")
    known = bool(record.files) and all(os.path.exists(workspace.home / name) for name in record.files)
    mixtures = compared_mixtures(workspace) if known else reference_mixtures(*prior_and_limits(workspace))
    specs = [spec for group in confirmation_specs(workspace, mixtures).values() for spec in group]
    missing = to_train([each for spec in specs for each in spec.phases])
    more = 0 if known else confirmation.seeds
    tokens = sum(spec.training.tokens for spec in missing) + more * confirmation.training_settings.tokens
    return len(missing) + more, tokens, known
