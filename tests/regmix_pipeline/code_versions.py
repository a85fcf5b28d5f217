"""Which code each stage computes with. `python tests/regmix_pipeline/code_versions.py` accepts it as it is.

A stage's code version is raised by hand, because only a person knows whether a change gives other results. The digest
of the sources behind the stage tells when to think about it. Comments, docstrings, annotations, imports, log lines and
messages of errors do not count. Names do: after a rename without other effect, run this file.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_suffix(".json")

SOURCES = {
    "domains": ["documents/domains.py"],
    "documents": ["documents/observe.py", "documents/corpora.py", "documents/extractors/*.py"],
    "finished_proxies": ["proxies/finished.py"],
    "adopted_mixtures": ["mixtures/adopted.py"],
    "tokenizer": ["tokens/tokenizer.py", "documents/readers/*.py", "documents/decompress.py"],
    "token_shards": [
        *("documents/readers/*.py", "documents/decompress.py"),
        *("documents/token_files.py", "documents/token_formats/*.py"),
        *(f"tokens/{name}.py" for name in ("in_place", "join", "long_documents", "part_steps")),
        *(f"tokens/{name}.py" for name in ("shards", "split", "steps", "task_items", "text_of_tokens")),
    ],
    "text_checks": ["tokens/coverage.py", "tokens/overlap.py"],
    "domain_inventory": ["mixtures/limits.py", "study/phases.py", "study/repetition.py"],
    "ngram_models": ["ngrams/counts.py", "proxies/windows.py", "tokens/extents.py"],
    "mixtures": [
        f"mixtures/{name}.py" for name in ("anchors", "limits", "mixture", "previous_list", "rounds", "sampler")
    ],
    "phase_checkpoints": ["proxies/phase_checkpoints.py", "proxies/starts.py", "proxies/train.py", "study/phases.py"],
    "proxy_checkpoints": [
        f"proxies/{name}.py"
        for name in (
            *("attention", "loss", "model", "optimiser", "permutation", "quota", "starts"),
            *("stack/model", "stack/steps", "stack/train", "train", "training_loop", "windows"),
            *("workers/parallel", "workers/prepare"),
        )
    ],
    "proxy_losses": [
        f"proxies/{name}.py"
        for name in (
            *("continuations", "device", "early_stopping", "evaluate", "loss", "measured", "model", "target_kinds"),
            "task_losses",
        )
    ],
    "earlier_runs": ["proxies/earlier.py", "proxies/evaluate.py", "study/changes.py"],
    "size_runs": [f"proxies/{name}.py" for name in ("evaluate", "larger", "size_runs", "train", "training_loop")],
    "imported_runs": [
        *(f"proxies/run_{name}.py" for name in ("facts", "files", "ids", "names", "tables")),
        "mixtures/mixture.py",
    ],
    "regressor": ["regression/*.py", "regression/laws/*.py", "ngrams/evidence.py"],
    "optimal_mixture": [
        f"search/{name}.py"
        for name in [
            "best",
            "candidates",
            "convex",
            "descent",
            "guardrails",
            "objective",
            "optimiser",
            "pareto",
            "region",
            "result",
            "shadow_prices",
            "simulation",
            "size_path",
            "survival",
        ]
    ],
    "further_mixtures": [f"search/{name}.py" for name in ("acquisition", "candidates")],
    "mixture_decision": [
        f"decisions/{name}.py" for name in ("alternatives", "caveats", "evidence", "families", "record", "rounds")
    ],
    "confirmation": [
        *("decisions/confirmation.py", "decisions/guardrails.py", "proxies/evaluate.py", "proxies/larger.py"),
        *("proxies/train.py", "proxies/training_loop.py"),
    ],
    "mixture_report": ["report/*.py"],
    "strategy_comparison": ["strategies/*.py", "strategies/methods/*.py", "strategies/comparison/*.py"],
}
"""Stage -> files behind its results, below regmix_pipeline. Settings, stages and catalogues are left out."""
LEFT_OUT = ("settings.py", "stage.py", "catalogue.py", "__init__.py", "named.py")


class _Bare(ast.NodeTransformer):
    """Leaves what computes."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant):  # docstrings
            return None
        if isinstance(node.value, ast.Call) and _name(node.value.func) in ("say", "print"):
            return None
        return self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        return None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        return None

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return ast.Pass()

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        return self.generic_visit(ast.Assign([node.target], node.value)) if node.value is not None else node.target

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(node.arg)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)


def _name(node: ast.AST) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


def digest_of(source: str) -> str:
    """Digest of what a module computes."""
    return hashlib.sha256(ast.dump(_Bare().visit(ast.parse(source))).encode()).hexdigest()


def digests() -> dict[str, str]:
    """Stage -> digest of the sources behind it."""
    package = ROOT / "regmix_pipeline"
    found = {}
    for stage, patterns in SOURCES.items():
        named = {pattern: sorted(package.glob(pattern)) for pattern in patterns}
        assert all(named.values()), f"{stage}: no file is called {[each for each in named if not named[each]]}"
        paths = {path for each in named.values() for path in each if path.name not in LEFT_OUT}
        # Without their names: to move a module is no change.
        each = sorted(digest_of(path.read_text(encoding="utf-8")) for path in paths)
        found[stage] = hashlib.sha256("".join(each).encode()).hexdigest()[:16]
    return found


def current() -> dict[str, list[str]]:
    """Stage -> its code version and the digest of its sources."""
    from regmix_pipeline.stages import STAGES

    versions = {stage.name: stage.code_version for stage in STAGES}
    assert set(versions) == set(SOURCES), "SOURCES must name every stage of regmix_pipeline/stages.py, and no other"
    return {name: [versions[name], digest] for name, digest in digests().items()}


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    FILE.write_text(json.dumps(current(), indent=1) + "\n", encoding="utf-8")
