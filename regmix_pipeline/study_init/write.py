"""The study file of a proposal: every choice with its reason in a comment."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from regmix_pipeline.errors import DocumentError, RegmixError, StudyError
from regmix_pipeline.files import written_atomically
from regmix_pipeline.hub import hub_problem
from regmix_pipeline.study.file import load_study
from regmix_pipeline.study.repetition import MAX_EPOCHS
from regmix_pipeline.study.settings.documents import check_name
from regmix_pipeline.study_init.found import domain_name, is_remote, place_of
from regmix_pipeline.study_init.proposal import PAPERS_MIXTURES, Proposal, Proposed, proposed


def init_study(folder: Path | str, out: Path, target: str | None = None, tokens: int | None = None) -> Proposal:
    """Write a commented study file for a folder of data; returns what it is based on.

    Args:
        folder: a sub-folder or a file per domain, of JSON lines or Parquet; also an fsspec address.
        out: the file to write.
        target: the domain to do well on; None for all alike.
        tokens: of the large run; None for as many as there are.

    Raises:
        StudyError: the file exists, an unknown target, or more tokens than there are.
        DocumentError: the folder holds no two domains that can be read.
    """
    if out.exists():
        raise StudyError("exists already", where=str(out), remedy="give another name with --out, or move it away")
    base = out.resolve().parent
    if not base.is_dir():
        raise StudyError("no such folder", where=str(base), remedy="make it first, or give another --out")
    place = place_of(str(folder))
    try:
        proposal = proposed(place, base, check_name(domain_name(place)), target, tokens)
    except RegmixError:
        raise
    except Exception as error:  # every store raises errors of its own
        if not is_remote(place):
            raise
        problem, remedy = hub_problem(error) or (f"cannot be read: {error}", "check credentials and network")
        raise DocumentError(problem, where=str(folder), remedy=remedy) from error
    with written_atomically(out) as temporary:
        temporary.write_text(study_text(proposal), encoding="utf-8")
        load_study(temporary)
    return proposal


def study_text(proposal: Proposal) -> str:
    """The study file's text."""
    lines = [
        f"# A first study of {len(proposal.usable)} domains. Every choice is a proposal: change what you know better.",
        "# docs/study-file.md lists every field; `regmix plan` says what it takes before anything is spent.",
        f"name: {_key(proposal.name)}",
        'description: ""  # one sentence for the report: what is the question?',
        "seed: 42",
        "",
        "# Tokens are estimates: from a sample of the documents, and a tokenizer trained on that sample.",
        "# cap and floor bound a domain's weight, for instance {source: ..., cap: 0.3, floor: 0.02}.",
        "domains:",
        *(line for domain in proposal.domains for line in _domain(domain)),
        "",
        *_targets(proposal),
        "",
        "# Trained once on the first megabyte of each domain, then frozen. If the large run has a tokenizer, use it:",
        "# tokenizer: {file: tokenizer.json}",
        f"tokenizer: {{train: {{vocab_size: {proposal.vocabulary}}}}}",
        "",
        "# The share of documents that no proxy is trained on; losses are measured on them.",
        f"shards: {{validation_fraction: {proposal.validation_fraction}}}",
        "",
        *_mixtures(proposal),
        "",
        *_proxies(proposal),
        "",
        *_limits(proposal),
        "",
        *_confirmation(proposal),
    ]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    """A name as YAML reads it back: `no` and `2024` would be a truth value and a number."""
    return name if yaml.safe_load(name) == name else json.dumps(name)


def _domain(domain: Proposed) -> list[str]:
    sample = domain.sample
    text_field = "" if sample.text_field == "text" else f", text_field: {json.dumps(sample.text_field)}"
    address = json.dumps(sample.domain.pattern, ensure_ascii=False)
    about = "" if sample.whole else "about "
    size = f"{about}{sample.text_bytes / 1e6:,.1f} MB of text in {about}{sample.documents:,} documents"
    files = f"{len(sample.domain.files)} file{'s' if len(sample.domain.files) > 1 else ''}"
    comment = f"  # {files}, {size}: about {domain.tokens / 1e6:,.2f} M tokens, {domain.bytes_per_token:.1f} bytes each"
    entry = f"{_key(domain.name)}: {{source: {{{sample.domain.kind}: {address}{text_field}}}}}"
    warning = [f"  # {domain.name}: {domain.warning}"] if domain.warning else []
    return [comment, *warning, f"  {entry}" if domain.usable else f"  # {entry}"]


def _targets(proposal: Proposal) -> list[str]:
    if len(proposal.targets) == 1:
        said = (
            f"# What the mixture is to be good at: {proposal.targets[0]}. The others are measured beside it (weight 0)."
        )
    else:
        said = "# What the mixture is to be good at: every domain alike. Weight what matters, 0 only measures."
    return [
        said,
        "# Better a text that no domain holds and that represents the use: name: {source: {jsonl: ...}, weight: 1}.",
        "targets:",
        *(f"  {_key(each.name)}: {{weight: {int(each.name in proposal.targets)}}}" for each in proposal.usable),
    ]


def _mixtures(proposal: Proposal) -> list[str]:
    small = proposal.preset == "demo"
    minimum = ", minimum: 0.001" if small else ""
    why = ["# A weight below a thousandth would be less than a window or two of so small a proxy."] if small else []
    paper = proposal.mixtures == PAPERS_MIXTURES
    how_many = "as RegMix's paper" if paper else "at least eight a domain, 64 in all; RegMix's paper took 512 for 17"
    return [
        f"# {proposal.mixtures} mixtures: {how_many}.",
        *why,
        f"mixtures: {{count: {proposal.mixtures}{minimum}, anchors: {{natural: true, uniform: true}}}}",
    ]


def _proxies(proposal: Proposal) -> list[str]:
    if proposal.preset == "demo":
        why = "# Little text: tiny proxies with a short context, seconds each on a CPU core."
    elif proposal.proxy_tokens is None:
        why = "# Enough text for RegMix's own proxies: 1 M parameters on a billion tokens each. See `regmix plan`."
    else:
        why = "# RegMix's 1 M proxies, on a tenth of the text each in about a thousand steps."
    lines = [why, "proxies:", f"  preset: {proposal.preset}"]
    if proposal.proxy_tokens is not None:
        lines.append(
            f"  training: {{tokens: {proposal.proxy_tokens:_}, windows_per_step: {proposal.windows_per_step}}}"
        )
    return [
        *lines,
        "  # A second seed of some mixtures says how much of a loss is luck.",
        "  noise: {mixtures: 6, seeds: 2}",
    ]


def _limits(proposal: Proposal) -> list[str]:
    given = "as given" if proposal.tokens_given else "about as many as there are; say what you will train on"
    return [
        f"# The large run: {proposal.tokens:,} tokens, {given}.",
        f"# A domain repeats at most {MAX_EPOCHS:g} times (nearly free, arXiv 2305.16264): that caps its weight.",
        "limits:",
        f"  target_tokens: {proposal.tokens:_}",
        f"  max_epochs: {MAX_EPOCHS:g}",
    ]


def _confirmation(proposal: Proposal) -> list[str]:
    said = "# Larger models on the chosen, natural and uniform mixture say whether the prediction held."
    if proposal.preset == "demo":
        return [said, "confirmation: {preset: demo-large, seeds: 2}"]
    return [
        said + " Costly: uncomment when",
        "# the decision looks right.",
        "# confirmation: {preset: regmix-60m, seeds: 1}",
    ]
