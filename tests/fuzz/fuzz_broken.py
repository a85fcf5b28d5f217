"""Study files and homes, broken in every way that a disk, an editor or a hand breaks them."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path

ALIASES = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 10)}]}}\n"
    for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)
TWO = ("code", "licences")
STUDIES: dict[str, bytes] = {
    "empty": b"",
    "comment": b"# nothing\n",
    "list": b"- name: x\n- domains: y\n",
    "text": b"a study\n",
    "number": b"7\n",
    "null": b"null\n",
    "two documents": b"name: a\n---\nname: b\n",
    "tab": b"name: a\n\tdomains: {}\n",
    "unclosed bracket": b"name: [a\n",
    "unclosed quote": b"name: 'a\n",
    "bad indent": b"name: a\n  domains: {}\n",
    "unknown alias": b"name: *nowhere\n",
    "unknown tag": b"name: !!python/object/apply:os.system ['true']\n",
    "bad escape": b'name: "\\q"\n',
    "bad directive": b"%YAML 9.9\n---\nname: a\n",
    "key twice": b"name: a\nname: b\n",
    "list as key": b"? [a, b]\n: c\n",
    "mapping as key": b"{{a: b}: c}\n",
    "number as key": b"1: a\n",
    "merge of a list": b"<<: [1, 2]\nname: a\n",
    "merge of text": b"<<: x\n",
    "date": b"name: 2026-99-99\n",
    "timestamp": b"name: 2026-01-01T00:00:00Z\n",
    "binary tag": b"name: !!binary '%%%'\n",
    "int tag": b"seed: !!int x\n",
    "set tag": b"domains: !!set {a, b}\n",
    "itself": b"&a {name: *a}\n",
    "itself in a list": b"name: a\nimports: &a [*a]\n",
    "binary": bytes(range(256)) * 8,
    "control character": b"name: a\x07b\n",
    "not UTF-8": b"name: caf\xe9\n",
    "UTF-16": "name: a\n".encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbfname: a\n",
    "NUL": b"name: \x00\n",
    "deep list": b"name: " + b"[" * 600 + b"]" * 600 + b"\n",
    "deep mapping": b"{a: " * 600 + b"1" + b"}" * 600 + b"\n",
    "aliases": ALIASES.encode(),
    "long line": b"name: " + b"a" * 2_000_000 + b"\n",
    "merges of merges": MERGES.encode(),
    "octal": b"name: a\nseed: 017\n",
    "base sixty": b"name: a\nseed: 1:30\n",
    "half a character": b'name: "\\ud800"\n',
    "NUL in quotes": b'name: "\\0"\n',
    "long number": b"seed: " + b"9" * 5000 + b"\n",
}
FIELDS: dict[str, tuple[str, object]] = {
    "unknown field": ("capp", 1),
    "unknown inner field": ("domains.code.capp", 0.3),
    "wrong type": ("domains", [1, 2]),
    "infinite cap": ("domains.code.cap", float("inf")),
    "NaN cap": ("domains.code.cap", float("nan")),
    "NaN floor": ("domains.code.floor", float("nan")),
    "NaN weight": ("targets.science.weight", float("nan")),
    "infinite weight": ("targets.science.weight", float("inf")),
    "all weights infinite": ("targets", {"code": {"weight": float("inf")}}),
    "infinite epochs": ("limits.max_epochs", float("inf")),
    "NaN epochs": ("limits.max_epochs", float("nan")),
    "tiny epochs": ("limits.max_epochs", 1e-300),
    "huge seed": ("seed", 2**63),
    "huger seed": ("seed", 2**200),
    "huge target": ("limits.target_tokens", 2**63),
    "huger target": ("limits.target_tokens", 10**400),
    "huge available": ("domains.code.available_tokens", 2**63),
    "huger available": ("domains.code.available_tokens", 10**400),
    "huge count": ("mixtures.count", 2**63),
    "NaN quantity of mixtures": ("mixtures.minimum", float("nan")),
    "huge context": ("proxies.model.context", 2**63),
    "huge width": ("proxies.model.width", 2**63),
    "huge tokens": ("proxies.training.tokens", 2**63),
    "NaN learning rate": ("proxies.training.learning_rate", float("nan")),
    "infinite learning rate": ("proxies.training.learning_rate", float("inf")),
    "huge replicates": ("proxies.replicates", 2**63),
    "huge vocabulary": ("proxies.vocabulary", 2**63),
    "small vocabulary": ("proxies.vocabulary", 2),
    "too many mixtures": ("mixtures.count", 10**12),
    "too long a context": ("proxies.model.context", 10**12),
    "too wide a model": ("proxies.model.width", 10**12),
    "too many layers": ("proxies.model.layers", 10**12),
    "too many tokens": ("proxies.training.tokens", 10**18),
    "too many seeds": ("proxies.replicates", 10**12),
    "too many windows": ("proxies.evaluation.windows", 10**12),
    "too many candidates": ("search.candidates", 10**12),
    "too large a block": ("search.block", 10**12),
    "unknown domain in a group": ("search", {"groups": [{"domains": ["poems"]}]}),
    "groups that leave nothing": (
        "search",
        {"groups": [{"domains": ["code", "licences", "descriptions"], "cap": 0.5}]},
    ),
    "infinite tolerance": ("evidence_tolerance", float("inf")),
    "infinite settle": ("refit.settle_seconds", float("inf")),
    "no such preset": ("proxies.preset", "regmix-1g"),
    "heads that do not divide": ("proxies.model.heads", 3),
    "unknown model field": ("proxies.model.depth", 3),
    "unknown training field": ("proxies.training.lr", 3),
    "null domains": ("domains", None),
    "one domain": ("domains", {"code": {"source": {"jsonl": "text/code.jsonl"}}}),
    "unsafe name": ("domains.Books and more", {"source": {"jsonl": "text/code.jsonl"}}),
    "empty name": ("name", ""),
    "name of a folder": ("name", "../x"),
    "missing tokenizer": ("tokenizer", {"file": "none.json"}),
    "unreadable tokenizer": ("tokenizer", {"file": "tiny.yaml"}),
    "tokenizer that is a folder": ("tokenizer", {"file": "text"}),
    "address of NUL": ("domains.code.source", {"jsonl": "text/\x00.jsonl"}),
    "address of no file": ("domains.code.source", {"jsonl": "nowhere/*.jsonl"}),
    "address that is a folder": ("domains.code.source", {"jsonl": "text"}),
    "address of no protocol": ("domains.code.source", {"jsonl": "nosuch://a/b.jsonl"}),
    "address of odd brackets": ("domains.code.source", {"jsonl": "text/[z-a]*.jsonl"}),
    "no such text field": ("domains.code.source.text_field", "content"),
    "Parquet that is not Parquet": ("domains.code.source", {"parquet": "text/code.jsonl"}),
    "low caps": (
        "domains",
        {name: {"source": {"jsonl": f"text/{name}.jsonl"}, "cap": 0.3} for name in ("code", "licences")},
    ),
    "high floors": ("domains.code.floor", 1.0),
    "too long a run": ("limits", {"target_tokens": 25_000_000_000, "max_epochs": 4}),
    "watched NUL": ("watch", {"address": "a\x00b"}),
    "alternative of infinity": ("alternatives", {"mine": {"code": float("inf")}}),
    "import that is missing": ("imports", [{"mixtures": "none.csv", "losses": "none.csv"}]),
}


def with_field(settings: dict, place: str, value: object) -> dict:
    """The same settings with one field set."""
    changed = copy.deepcopy(settings)
    *parents, last = place.split(".")
    part = changed
    for parent in parents:
        part = part.setdefault(parent, {})
    part[last] = value
    return changed


def _first(home: Path, pattern: str) -> Path:
    return next(path for path in sorted(home.rglob(pattern)) if path.is_file())


def _damage(pattern: str, content: bytes) -> Callable[[Path], None]:
    """Write something else into the first file of a pattern."""

    def damage(home: Path) -> None:
        path = _first(home, pattern)
        path.unlink()
        path.write_bytes(content)

    return damage


def _every(pattern: str, content: bytes | None) -> Callable[[Path], None]:
    """Write something else into every file of a pattern, or remove them all."""

    def damage(home: Path) -> None:
        for path in sorted(home.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
                if content is not None:
                    path.write_bytes(content)

    return damage


def _file_instead(name: str) -> Callable[[Path], None]:
    def damage(home: Path) -> None:
        shutil.rmtree(home / name)
        (home / name).write_text("a file")

    return damage


def _folder_instead(pattern: str) -> Callable[[Path], None]:
    def damage(home: Path) -> None:
        path = _first(home, pattern)
        path.unlink()
        path.mkdir()

    return damage


HOMES: dict[str, Callable[[Path], None]] = {
    "record cut short": _damage("records/current/proxy_losses/*.json", b'{\n  "asset": '),
    "record empty": _damage("records/current/domain_inventory/all.json", b""),
    "record of another shape": _damage("records/current/mixtures/all.json", b'{"a": 1}'),
    "record that is a list": _damage("records/current/mixture_decision/all.json", b"[1]"),
    "record that is binary": _damage("records/current/tokenizer/all.json", bytes(range(256))),
    "record that is a folder": _folder_instead("records/current/documents/code.json"),
    "history cut short": _damage("records/history/regressor/all/*.json", b"{"),
    "records gone": _every("records", None),
    "history gone": _every("records/history", None),
    "current gone": _every("records/current", None),
    "records that are a file": _file_instead("records"),
    "ledger empty": _damage("ledger.duckdb", b""),
    "ledger damaged": _damage("ledger.duckdb", b"x" * 9000),
    "ledger gone": _every("ledger.duckdb", None),
    "ledger that is a folder": _folder_instead("ledger.duckdb"),
    "part damaged": _damage("tables/proxy_losses/*.parquet", b"PAR1xxPAR1"),
    "part empty": _damage("tables/mixtures/*.parquet", b""),
    "tables gone": _every("tables", None),
    "tables that are a file": _file_instead("tables"),
    "decision cut short": _damage("decisions/*/decision.json", b'{"decision": '),
    "decision of another shape": _damage("decisions/*/decision.json", b"{}"),
    "decisions gone": _every("decisions", None),
    "inventory damaged": _every("inventory/*.json", b"\xff\xfe"),
    "inventory of another shape": _every("inventory/*.json", b"[]"),
    "mixtures damaged": _every("mixtures/*.json", b"{"),
    "mixtures gone": _every("mixtures", None),
    "manifest damaged": _every("shards/*/*/manifest.json", b"{"),
    "manifest of another shape": _every("shards/*/*/manifest.json", b"{}"),
    "shards gone": _every("shards", None),
    "tokenizer damaged": _every("tokenizers/*/tokenizer.json", b"{}"),
    "tokenizer's facts damaged": _every("tokenizers/*/tokenizer.info.json", b"{"),
    "tokenizers gone": _every("tokenizers", None),
    "proxy damaged": _every("proxies/*/proxy.json", b"{"),
    "proxy of another shape": _every("proxies/*/proxy.json", b"[]"),
    "weights damaged": _every("proxies/*/*.safetensors", b"x"),
    "proxies gone": _every("proxies", None),
    "evaluations damaged": _every("evaluations/*/*/*.json", b"{"),
    "regressors damaged": _every("regressors/*/*.json", b"{"),
    "regressors gone": _every("regressors", None),
    "optimum damaged": _every("optima/*.json", b"{"),
    "further damaged": _every("further/*.json", b"{"),
    "report gone": _every("reports", None),
    "dagster gone": _every("dagster", None),
    "dagster.yaml damaged": _damage("dagster/dagster.yaml", b"a: [\n"),
    "event log damaged": _damage("dagster/**/index.db", b"x" * 5000),
}
