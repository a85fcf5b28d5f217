"""Reuse of proxies when domains arrive, go or split, against a full recompute and against not adapting; on real text.

    python benchmarks/domain_arrival.py [--home FOLDER] [--data FOLDER] [--seeds 5] [--domain biomedical_papers]

Takes the demo's nine domains and its target. Two studies are made in full, with and without one domain,
and one in which two domains are still one. Then each change is made to a study that knew nothing of it, with at most a
quarter of a full study's proxies to spend, and the decisions are confirmed by larger models, the same seeds for all.
Everything is resumable: what is trained already is not trained again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from regmix_pipeline.decisions.stage import MIXTURE_DECISION
from regmix_pipeline.documents.corpora import ensure_all
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.mixtures.adopted import adopted_since_domains_changed
from regmix_pipeline.mixtures.anchors import reference_mixtures
from regmix_pipeline.mixtures.limits import within_limits
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.mixtures.stage import prior_and_limits
from regmix_pipeline.proxies.tasks import evaluation_specs, proxy_specs, target_files
from regmix_pipeline.proxies.workers.local import LocalExecutor
from regmix_pipeline.search.further import Adoption, adopt_proposals
from regmix_pipeline.search.region import rounded_inside
from regmix_pipeline.stages import up_to
from regmix_pipeline.study.settings.proxies import ModelSettings, TrainingSettings

ROOT = Path(__file__).resolve().parents[1]
TARGET = "encyclopedia"
UNPARTITIONED, PARTS = "english", ("parliament_en", "books")
"""The domain that splits, and what it splits into."""


@dataclass(frozen=True)
class Made:
    """A study brought up to date: its decision, what training it took, and how long."""

    mixture: Mixture
    tokens: int
    seconds: float
    batches: int


def study(name: str, domains: Mapping[str, Any], tokenizer: Path | None, **changes: Any) -> dict[str, Any]:
    """The demo's study over some domains, with one target."""
    settings = yaml.safe_load((ROOT / "studies" / "demo.yaml").read_text())
    settings |= {
        "name": name,
        "domains": dict(domains),
        "targets": {TARGET: settings["targets"][TARGET]},
        "search": {"method": "optimiser"},
    }
    settings["proxies"]["noise"] = {"mixtures": 0}
    settings.pop("confirmation")
    if tokenizer is not None:
        settings["tokenizer"] = {"file": str(tokenizer)}
    return settings | changes


def up_to_date(home: Path, settings: dict[str, Any], data: Path, budget: int = 0) -> Made:
    """Bring a study up to date, further batches within ``budget`` proxies included."""
    home.mkdir(parents=True, exist_ok=True)
    file = home / "study.yaml"
    file.write_text(yaml.safe_dump(settings, sort_keys=False))
    ledger = home / "spent.json"
    spent = json.loads(ledger.read_text()) if ledger.exists() else {}
    key = json.dumps([settings["domains"], settings.get("changes")], sort_keys=True)
    before = spent.get(key, {"proxies": [], "seconds": 0.0, "batches": 0})
    known = {each for entry in spent.values() for each in entry["proxies"]}
    batches = before["batches"]
    while True:
        began = time.monotonic()
        workspace = Workspace(file, home, data)
        for stage in up_to(MIXTURE_DECISION):
            for one in workspace.materialise(stage):
                if one.error is not None:
                    raise one.error
        now = {path.parent.name for path in workspace.path("proxies").glob("p*/proxy.json")} - known
        before["proxies"] = sorted({*before["proxies"], *now})
        before["seconds"] += time.monotonic() - began
        spent[key] = before | {"batches": batches}
        ledger.write_text(json.dumps(spent))
        each = workspace.study.proxies.training_settings.tokens
        workspace = Workspace(file, home, data)
        left = max(budget - _arrivals(workspace, before["proxies"]), 0) * each
        adoption = adopt_proposals(workspace, "benchmark", left) if budget else Adoption(0, "")
        print(f"  {settings['name']}: {len(before['proxies'])} proxies trained; {adoption.said}", flush=True)
        if not adoption.asked:
            break
        batches += 1
    workspace = Workspace(file, home, data)
    mixture = Mixture.of(workspace.json("optimal_mixture")["parts"])
    return Made(mixture, len(before["proxies"]) * each, before["seconds"], batches)


def _arrivals(workspace: Workspace, trained: list[str]) -> int:
    """Proxies trained for these domains beside those asked for as further ones: they use the budget too."""
    return max(len(trained) - adopted_since_domains_changed(workspace), 0)


def confirmed(home: Path, data: Path, mixtures: Mapping[str, Mixture], seeds: int) -> dict[str, np.ndarray]:
    """Name -> the target's loss of the larger models, (seeds,)."""
    workspace = Workspace(home / "study.yaml", home, data)
    model, training = ModelSettings.preset("demo-large"), TrainingSettings.preset("demo-large")
    each = dict.fromkeys(mixtures, range(1000, 1000 + seeds))
    specs = proxy_specs(workspace, mixtures, model, training, each, "confirmations", trajectory=False)
    for result in LocalExecutor(workspace.workers).run([spec for group in specs.values() for spec in group]):
        if result.error is not None:
            raise result.error
    losses = {}
    for name, group in specs.items():
        evaluation = workspace.study.proxies.evaluation
        tasks = evaluation_specs(workspace, group, {TARGET: target_files(workspace)[TARGET]}, evaluation)
        found = {result.value["proxy"]: result.value["loss"] for result in LocalExecutor(1).run(tasks)}
        losses[name] = np.array([found[spec.id] for spec in group])
    return losses


def moved(mixture: Mixture, home: Path, data: Path, shares: Mapping[str, float] | None = None) -> Mixture:
    """An old decision used unchanged: gone domains left out, a split one in its parts, inside the caps."""
    workspace = Workspace(home / "study.yaml", home, data)
    _, limits = prior_and_limits(workspace)
    weights = dict(mixture.weights)
    if shares:
        whole = weights.pop(UNPARTITIONED, 0.0)
        weights |= {name: whole * share for name, share in shares.items()}
    vector = np.array([weights.get(name, 0.0) for name in limits.domains])
    return rounded_inside(within_limits(vector / vector.sum(), limits), limits)


def report(title: str, losses: Mapping[str, np.ndarray], made: Mapping[str, Made]) -> None:
    """Losses, gains over natural and what they took."""
    gains = {name: losses["natural"] - values for name, values in losses.items()}
    full = gains["full recompute"].mean()
    print(f"\n{title}: larger models' loss on {TARGET}, {len(losses['natural'])} seeds\n")
    print(
        f"{'':<18}{'loss':>9}{'gain over natural':>22}{'of the full gain':>18}{'tokens':>11}{'of full':>9}{'wall':>8}"
    )
    most = made["full recompute"]
    for name, values in losses.items():
        error = gains[name].std(ddof=1) / np.sqrt(len(values))
        gain = f"{gains[name].mean():.3f} ± {error:.3f}" if name != "natural" else ""
        share = f"{gains[name].mean() / full:.1%}" if name != "natural" else ""
        one = made.get(name)
        spent = f"{one.tokens / 1e6:>9.1f} M{one.tokens / most.tokens:>9.1%}{one.seconds:>6.0f} s" if one else ""
        print(f"{name:<18}{values.mean():>9.3f}{gain:>22}{share:>18}{spent}", flush=True)


def real_text(home: Path, data: Path, domain: str, seeds: int, tolerance: float | None) -> None:
    """The three changes; with ``tolerance``, decisions are called stable by another measure than the default."""
    refit = {} if tolerance is None else {"refit": {"tolerance": tolerance}}
    mark = "" if tolerance is None else f"-{tolerance:g}"
    domains = yaml.safe_load((ROOT / "studies" / "demo.yaml").read_text())["domains"]
    fewer = {name: value for name, value in domains.items() if name != domain}
    small = up_to_date(home / "without", study("without", fewer, None), data)
    tokenizer = Workspace(home / "without" / "study.yaml", home / "without", data).artefact(
        "tokenizer", suffix="tokenizer.json"
    )
    large = up_to_date(home / "with", study("with", domains, tokenizer), data)
    proxies = large.tokens // TrainingSettings.preset("demo").tokens
    budget = proxies // 4

    arrived = _after(home, "without", f"arrival{mark}", study("arrival", domains, tokenizer, **refit), data, budget)
    mixtures = {
        "full recompute": large.mixture,
        "reuse": arrived.mixture,
        "not adapting": moved(small.mixture, home / "with", data),
        "natural": _natural(home / "with", data),
    }
    losses = confirmed(home / "with", data, mixtures, seeds)
    report(f"arrival of {domain}", losses, {"full recompute": large, "reuse": arrived})
    _weights(mixtures)

    went = _after(home, "with", f"removal{mark}", study("removal", fewer, tokenizer, **refit), data, budget)
    mixtures = {
        "full recompute": small.mixture,
        "reuse": went.mixture,
        "not adapting": moved(large.mixture, home / "without", data),
        "natural": _natural(home / "without", data),
    }
    losses = confirmed(home / "without", data, mixtures, seeds)
    report(f"removal of {domain}", losses, {"full recompute": small, "reuse": went})
    _weights(mixtures)

    union = _union(home, data, domains)
    joint = {name: value for name, value in domains.items() if name not in PARTS} | {UNPARTITIONED: union}
    whole = up_to_date(home / "whole", study("whole", joint, tokenizer), data)
    tokens = {name: _tokens(home / "with", data, name) for name in PARTS}
    shares = {name: count / sum(tokens.values()) for name, count in tokens.items()}
    change = {"split": UNPARTITIONED, "into": {name: round(share, 6) for name, share in shares.items()}}
    split = _after(
        home, "whole", f"split{mark}", study("split", domains, tokenizer, changes=[change], **refit), data, budget
    )
    mixtures = {
        "full recompute": large.mixture,
        "reuse": split.mixture,
        "not adapting": moved(whole.mixture, home / "with", data, shares),
        "natural": _natural(home / "with", data),
    }
    losses = confirmed(home / "with", data, mixtures, seeds)
    report(f"split of {' + '.join(PARTS)}", losses, {"full recompute": large, "reuse": split})
    _weights(mixtures)


def _after(home: Path, source: str, name: str, settings: dict[str, Any], data: Path, budget: int) -> Made:
    """Make a change to a copy of an earlier study, which keeps all it has."""
    if not (home / name).exists():
        shutil.copytree(home / source, home / name, ignore=shutil.ignore_patterns("confirmations*", ".lock"))
    # The tokenizer was frozen when the study was first made; the same file given by its address is the same version.
    return up_to_date(home / name, settings, data, budget)


def _natural(home: Path, data: Path) -> Mixture:
    workspace = Workspace(home / "study.yaml", home, data)
    return reference_mixtures(*prior_and_limits(workspace))["natural"]


def _tokens(home: Path, data: Path, domain: str) -> int:
    rows = Workspace(home / "study.yaml", home, data).json("domain_inventory")["sources"]
    return next(row["available_tokens"] for row in rows if row["source"] == domain)


def _union(home: Path, data: Path, domains: Mapping[str, Any]) -> dict[str, Any]:
    """One file with the documents of the domains that are still one."""
    paths = ensure_all(PARTS, data)
    file = home / f"{UNPARTITIONED}.jsonl"
    assert not any("max_bytes" in domains[name]["source"] for name in PARTS)
    file.write_bytes(b"".join(paths[name].read_bytes() for name in PARTS))
    return {"source": {"jsonl": str(file)}}


def _weights(mixtures: Mapping[str, Mixture]) -> None:
    names = sorted({name for mixture in mixtures.values() for name in mixture.weights})
    print(f"\n{'weights':<24}" + "".join(f"{name:>16}" for name in mixtures))
    for domain in names:
        print(f"{domain:<24}" + "".join(f"{mixture.weights.get(domain, 0):>16.1%}" for mixture in mixtures.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=ROOT / ".regmix" / "domain_arrival")
    parser.add_argument("--data", type=Path, default=ROOT / ".regmix" / "data")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--domain", default="biomedical_papers")
    parser.add_argument("--tolerance", type=float, help="refit.tolerance of the studies that reuse")
    arguments = parser.parse_args()
    real_text(
        arguments.home.resolve(), arguments.data.resolve(), arguments.domain, arguments.seeds, arguments.tolerance
    )


if __name__ == "__main__":
    main()
