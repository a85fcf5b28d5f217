"""A finished proxy as a folder that `transformers` loads: which proxy is meant, and what is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regmix_pipeline
from regmix_pipeline.decisions.confirmation import compared_mixtures, confirmation_specs
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.errors import MixtureError, StudyError
from regmix_pipeline.files import folder_written_atomically, read_json, sha256_of, write_json
from regmix_pipeline.mixtures.anchors import reference_mixtures
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.stage import current_mixtures, prior_and_limits
from regmix_pipeline.proxies.integrity import RECORD, WEIGHTS, require_intact
from regmix_pipeline.study.settings.proxies import ModelSettings
from regmix_pipeline.tokens.stage import current_tokenizer

ABOUT = "regmix.json"
CHECKPOINTS, CONFIRMATION = "proxy_checkpoints", "confirmation"


@dataclass(frozen=True)
class WrittenProxy:
    """A proxy that was written.

    Attributes:
        proxy: its id.
        mixture: id of its mixture.
        weights: domain -> weight.
        seed: its seed.
        tokens: it was trained on.
        folder: where it was written.
        files: names of the files.
    """

    proxy: str
    mixture: str
    weights: Mapping[str, float]
    seed: int
    tokens: int
    folder: Path
    files: tuple[str, ...]


def export_proxy(
    workspace: Workspace, asked: str, out: Path | None = None, seed: int = 0, *, larger: bool = False
) -> WrittenProxy:
    """Write a finished proxy as a Hugging Face Llama checkpoint, completely or not at all.

    Args:
        workspace: the study on disk.
        asked: id of a mixture or of a proxy, or the start of one; or natural, uniform or chosen.
        out: folder to write, which is not there yet or is empty; default: one of the proxy's id in this folder.
        seed: which of the mixture's seeds, from 0.
        larger: the confirmation's model on natural, uniform or chosen instead of a proxy.

    Raises:
        MixtureError: no such mixture or proxy, or several begin so.
        ProxyError: the proxy is damaged; it is set aside.
        StudyError: ``out`` holds files.
        LedgerError: it is not trained yet, or its record does not name these bytes.
    """
    folder = (_larger if larger else _proxy)(workspace, asked, seed)
    out = out or Path(folder.name)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StudyError("is there already", where=str(out), remedy="give --out a folder that is new or empty")
    require_intact(folder)
    asset, key = (CONFIRMATION, "all") if larger else (CHECKPOINTS, read_json(folder / RECORD)["mixture"])
    record = workspace.records.current(asset, key)
    if record is not None:
        workspace.unaltered(record, workspace.name_of(folder / WEIGHTS))
    return _written(workspace, folder, out)


def _proxy(workspace: Workspace, asked: str, seed: int) -> Path:
    mixtures = current_mixtures(workspace)
    trained = {
        key: record.facts["proxies"] for key in mixtures if (record := workspace.records.current(CHECKPOINTS, key))
    }
    proxies = {proxy: key for key, group in trained.items() for proxy in group}
    named = _named(workspace)
    if asked in named:
        key = named[asked].id
        if key not in trained:
            raise MixtureError(
                f"no proxy was trained on the {asked} mixture, {key}",
                where=asked,
                remedy="give --larger for the confirmation's model on it, or "
                + ("train it: `regmix run`" if not trained else f"name a trained one, such as {next(iter(trained))}"),
            )
        return _of_seed(workspace, trained[key], asked, seed)
    found = [each for each in (*trained, *proxies) if each.startswith(asked)]
    if len(found) != 1:
        problem = f"{len(found)} mixtures and proxies begin so" if found else "no trained mixture or proxy begins so"
        shown = ", ".join((found or [*trained])[:4]) or "none is trained yet: `regmix run`"
        raise MixtureError(problem, where=asked, remedy=f"name one of natural, uniform, chosen, or an id: {shown}")
    if found[0] in proxies:
        return workspace.path("proxies", found[0])
    return _of_seed(workspace, trained[found[0]], asked, seed)


def _named(workspace: Workspace) -> dict[str, Mixture]:
    """Mixtures with a name: natural and uniform, and the one that is chosen where a decision was taken."""
    if workspace.records.current("optimal_mixture") is not None:
        return compared_mixtures(workspace)
    return reference_mixtures(*prior_and_limits(workspace))


def _larger(workspace: Workspace, asked: str, seed: int) -> Path:
    if workspace.study.confirmation is None or workspace.records.current(CONFIRMATION) is None:
        raise MixtureError(
            "no larger model was trained", where=asked, remedy="leave --larger out, or ask for a confirmation and run"
        )
    specs = confirmation_specs(workspace, compared_mixtures(workspace))
    if asked not in specs:
        raise MixtureError("no larger model of this name", where=asked, remedy=f"name one of {', '.join(specs)}")
    return workspace.path("confirmations", _seeded([spec.id for spec in specs[asked]], asked, seed))


def _of_seed(workspace: Workspace, proxies: list[str], asked: str, seed: int) -> Path:
    return workspace.path("proxies", _seeded(proxies, asked, seed))


def _seeded(proxies: list[str], asked: str, seed: int) -> str:
    if not 0 <= seed < len(proxies):
        raise MixtureError(
            f"there is no seed {seed}: {len(proxies)} were trained", where=asked, remedy="count the seeds from 0"
        )
    return proxies[seed]


def _written(workspace: Workspace, folder: Path, out: Path) -> WrittenProxy:
    from safetensors.torch import load_file, save_file

    from regmix_pipeline.exports.llama import llama_config, llama_weights, tokenizer_config

    record, tokenizer = read_json(folder / RECORD), current_tokenizer(workspace)
    spec = record["spec"]
    model, mixture = ModelSettings(**spec["model"]), Mixture.of(spec["mixture"])
    with folder_written_atomically(out) as temporary:
        weights = llama_weights(load_file(folder / WEIGHTS), model)
        save_file(weights, temporary / "model.safetensors", metadata={"format": "pt", "proxy": record["id"]})
        write_json(temporary / "config.json", llama_config(model, spec["vocabulary"], tokenizer.eos_id))
        write_json(temporary / "generation_config.json", {"eos_token_id": tokenizer.eos_id, "do_sample": True})
        (temporary / "tokenizer.json").write_bytes(tokenizer.path.read_bytes())
        write_json(temporary / "tokenizer_config.json", tokenizer_config(model, tokenizer.eos_token))
        write_json(temporary / ABOUT, _about(workspace, record, mixture, temporary))
        names = tuple(sorted(path.name for path in temporary.iterdir()))
    return WrittenProxy(record["id"], mixture.id, mixture.weights, record["seed"], record["tokens"], out, names)


def _about(workspace: Workspace, record: Mapping[str, Any], mixture: Mixture, folder: Path) -> dict[str, Any]:
    """Where the checkpoint comes from: enough to find it again in the study."""
    return {
        "study": workspace.study.name,
        "proxy": record["id"],
        "mixture": {"id": mixture.id, "weights": mixture.weights},
        "seed": record["seed"],
        "tokens": record["tokens"],
        "steps": record["steps"],
        "training": record["spec"]["training"],
        "shards": {domain: shard["version"] for domain, shard in record["spec"]["shards"].items()},
        "tokenizer": current_tokenizer(workspace).version,
        "sha256": {"here": sha256_of(folder / "model.safetensors"), "proxy": record["sha256"]},
        "package": regmix_pipeline.__version__,
    }
