"""What must hold of the ledger's current rows; each question is one function with a plain answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from regmix_pipeline.errors import TokenError
from regmix_pipeline.numbers import listed
from regmix_pipeline.study.settings.tokens import TextCheckSettings

TABLES_READ = (
    "text_overlap",
    "tokenizer_coverage",
    "domain_inventory",
    "mixtures",
    "proxies",
    "proxy_losses",
    "regressor_scores",
    "out_of_fold",
    "optimal_mixture",
)
"""Tables that the questions here are asked of, as views ``current_<table>``."""


@dataclass(frozen=True)
class Finding:
    """The answer to one question.

    Attributes:
        passed: whether it holds.
        description: the answer in a sentence, naming what is wrong.
        facts: numbers behind it.
    """

    passed: bool
    description: str
    facts: Mapping[str, int | float | str] = field(default_factory=dict)


def shards_match_inventory(connection: duckdb.DuckDBPyConnection, shards: Path) -> Finding:
    """Whether every shard's files have the size and checksum of its manifest, and the inventory the same tokens."""
    from regmix_pipeline.tokens.shards import verify_shard

    rows = connection.execute(
        "select source, shard_version, train_tokens, validation_tokens from current_domain_inventory "
        "where shard_version is not null"  # a domain of imported runs alone has no text
    ).fetchall()
    wrong = []
    for source, version, train, validation in rows:
        try:
            manifest = verify_shard(shards / source / version)
        except TokenError as error:
            wrong.append(f"{source}: {error.problem}")
            continue
        held = tuple(manifest.splits[name].tokens if name in manifest.splits else 0 for name in ("train", "validation"))
        if held != (train, validation):
            wrong.append(f"{source}: the shard holds {held} tokens, the inventory states {(train, validation)}")
    return Finding(not wrong, "; ".join(wrong) or f"{len(rows)} shards hold what they should", {"shards": len(rows)})


def targets_not_trained_on(connection: duckdb.DuckDBPyConnection, limits: TextCheckSettings) -> Finding:
    """Whether the targets' validation text is not in the domains' training text, up to the study's shares."""
    rows = connection.execute(
        "select domain, target, documents, runs from current_text_overlap order by documents desc, runs desc"
    ).fetchall()
    equal = [
        f"{documents:.1%} of the text of target {target} is also in the training text of {domain}"
        for domain, target, documents, _ in rows
        if documents > limits.flag_overlap
    ]
    alike = [
        f"{runs:.0%} of target {target} overlaps with the training text of {domain}, in runs of some 100 bytes"
        for domain, target, documents, runs in rows
        if documents <= limits.flag_overlap and runs > limits.flag_runs
    ]
    most = max((runs for *_, runs in rows), default=0.0)
    said = f"no target's documents are trained on; at most {most:.1%} of one overlaps in runs of some 100 bytes"
    return Finding(not (equal or alike), "; ".join([*equal, *alike]) or said, {"pairs": len(rows)})


def tokenizer_covers(connection: duckdb.DuckDBPyConnection, limits: TextCheckSettings) -> Finding:
    """Whether the tokenizer knows the sources' text, up to the study's share."""
    rows = connection.execute(
        "select source, lost, unknown, bytes_per_token from current_tokenizer_coverage "
        "order by lost desc nulls last, unknown desc"
    ).fetchall()
    tokens = [source for source, lost, *_ in rows if lost is None]
    wrong = [
        f"the tokenizer loses {lost or 0.0:.1%} of the characters of {source}"
        + (f" and knows no token for {unknown:.1%}" if unknown else "")
        + f" ({size:.1f} bytes per token)"
        for source, lost, unknown, size in rows
        if max(lost or 0.0, unknown) > limits.flag_lost
    ]
    said = f"the tokenizer gives back the text of {len(rows) - len(tokens)} sources"
    if tokens:
        said += f"; not measured of sources of tokens: {listed(tokens)}"
    return Finding(not wrong, "; ".join(wrong) or said, {"sources": len(rows)})


def mixtures_on_simplex(connection: duckdb.DuckDBPyConnection) -> Finding:
    """Whether every mixture's weights are a distribution, and drawn ones keep the caps that held for the draw."""
    sums = connection.execute(
        # A mixture of today may be one of an earlier run as well, listed by another asset in another version.
        "select mixture from current_mixtures group by version, mixture having abs(sum(weight) - 1) > 1e-9"
    )
    off = [row[0] for row in sums.fetchall()]
    negative = connection.execute("select count(*) from current_mixtures where weight < 0").fetchall()[0][0]
    # Of phases that are chosen at once, weights are called <phase>/<domain>, and the cap is of all of a domain's.
    held = (
        "(select mixture, version, origin, drawn_under, split_part(domain, '/', -1) as domain, sum(weight) as weight "
        "from current_mixtures group by all) m"
    )
    over = connection.execute(
        f"select count(*) from {held} join domain_inventory i on i.source = m.domain "
        "and i.version = m.drawn_under where m.weight > i.cap + 1e-6"
    ).fetchall()[0][0]
    beyond = connection.execute(
        f"select count(distinct m.mixture) from {held} join current_domain_inventory i "
        "on i.source = m.domain where m.origin in ('sampled', 'arrival') and m.weight > i.cap + 1e-6"
    ).fetchall()[0][0]
    unknown = connection.execute(
        "select count(distinct mixture) from current_mixtures where drawn_under <> '' "
        "and drawn_under not in (select version from domain_inventory)"
    ).fetchall()[0][0]
    count = connection.execute("select count(distinct mixture) from current_mixtures").fetchall()[0][0]
    wrong = [
        *([f"{len(off)} mixtures do not sum to 1, first {off[0]}"] if off else []),
        *([f"{negative} weights are negative"] if negative else []),
        *([f"{over} weights are above the cap that they were drawn under"] if over else []),
    ]
    said = f"{count} mixtures sum to 1; those drawn keep the caps of their draw"
    said += f"; {beyond} are above a cap of today: evidence, but not to be chosen" if beyond else ""
    said += f"; {unknown} were drawn under an inventory that is lost, so their caps are not known" if unknown else ""
    return Finding(not wrong, "; ".join(wrong) or said, {"mixtures": count, "above_todays_caps": beyond})


def executed_tokens_match(connection: duckdb.DuckDBPyConnection, slack: float) -> Finding:
    """Whether every proxy drew each domain's share of its tokens to within ``slack`` tokens, for quotas one window."""
    worst = connection.execute(
        "with totals as (select proxy, sum(executed_tokens) total from current_proxies group by proxy) "
        "select p.proxy, p.domain, abs(p.executed_tokens - p.weight * t.total) gap "
        "from current_proxies p join totals t using (proxy) order by gap desc limit 1"
    ).fetchall()
    count = connection.execute("select count(distinct proxy) from current_proxies").fetchall()[0][0]
    if not worst:
        return Finding(False, "no proxy is recorded")
    proxy, domain, gap = worst[0]
    passed = gap <= slack + 1e-6
    text = f"largest gap between executed and asked: {gap:.0f} tokens ({domain} in {proxy}), allowed {slack:.0f}"
    return Finding(passed, text, {"proxies": count, "largest_gap_tokens": float(gap)})


def losses_complete(
    connection: duckdb.DuckDBPyConnection, targets: Sequence[str], *, so_far: bool = False, with_errors: bool = True
) -> Finding:
    """Whether every proxy has a finite final loss on every target, and a standard error unless it was imported.

    Args:
        so_far: judge only proxies that were evaluated, because partitions may be made one by one.
        with_errors: whether every proxy has them; a trainer of the user's own may report none.
    """
    evaluated = "select proxy from current_proxy_losses"
    every = evaluated if so_far else f"select proxy from current_proxies union {evaluated}"
    proxies = connection.execute(f"select count(distinct proxy) from ({every})").fetchall()[0][0]
    found = dict(
        connection.execute(
            "select target, count(distinct proxy) from current_proxy_losses l where final and isfinite(loss) and "
            "(isfinite(standard_error) or (standard_error is null and not $errors) "
            "or not exists (select 1 from current_proxies p where p.proxy = l.proxy)) group by target",
            {"errors": with_errors},
        ).fetchall()
    )
    short = [f"{target}: {found.get(target, 0)} of {proxies}" for target in targets if found.get(target, 0) < proxies]
    bad = connection.execute("select count(*) from current_proxy_losses where not isfinite(loss)").fetchall()[0][0]
    wrong = [
        *([f"losses are missing ({', '.join(short)})"] if short else []),
        *([f"{bad} are not finite"] if bad else []),
    ]
    passed = proxies > 0 and not wrong
    text = "; ".join(wrong) or (f"{proxies} proxies x {len(targets)} targets" if proxies else "no proxy is recorded")
    return Finding(passed, text, {"proxies": proxies, "targets": len(targets)})


def rank_correlation(connection: duckdb.DuckDBPyConnection, targets: Sequence[str], floor: float) -> Finding:
    """Whether the chosen regressor's out-of-fold Spearman correlation reaches ``floor`` on all ``targets``."""
    scores = dict(
        connection.execute(
            "select target, max(value) from current_regressor_scores "
            "where chosen and metric = 'spearman' and split = 'random' group by target"
        ).fetchall()
    )
    low = {target: scores.get(target, float("nan")) for target in targets if not scores.get(target, -2.0) >= floor}
    listed = ", ".join(f"{target} {scores.get(target, float('nan')):.3f}" for target in targets)
    text = f"out-of-fold Spearman: {listed}; floor {floor:g}"
    return Finding(not low, text, {f"spearman_{target}": float(scores.get(target, -1.0)) for target in targets})


def interval_coverage(
    connection: duckdb.DuckDBPyConnection, targets: Sequence[str], level: float, tolerance: float = 0.05
) -> Finding:
    """Whether prediction intervals of ``level`` hold that share of the losses out of fold, within ``tolerance``.

    A target passes as well when its count of held losses is within chance of the level (95% binomial range): with few
    mixtures no share can be separated from the level more finely than that.
    """
    from scipy.stats import binom

    rows = connection.execute("select count(distinct mixture) from current_out_of_fold").fetchall()[0][0]
    found = dict(
        connection.execute(
            "select target, any_value(value) from current_regressor_scores "
            "where chosen and metric = 'coverage' and split = 'random' group by target"
        ).fetchall()
    )
    low, high = (float(bound) / rows for bound in binom.interval(0.95, rows, level)) if rows else (0.0, 0.0)
    low, high = min(low, level - tolerance), max(high, level + tolerance)
    off = [target for target in targets if not low <= found.get(target, -1.0) <= high]
    listed = ", ".join(f"{target} {found.get(target, float('nan')):.1%}" for target in targets)
    text = f"out of fold, {level:.0%} intervals hold: {listed}; expected {low:.0%} to {high:.0%} for {rows} mixtures"
    return Finding(not off, text, {f"coverage_{target}": float(found.get(target, -1.0)) for target in targets})


def optimum_within_limits(connection: duckdb.DuckDBPyConnection) -> Finding:
    """Whether the optimal mixture sums to 1 and keeps every cap and floor."""
    rows = connection.execute(
        # Of phases that are chosen at once, a domain's weights in all of them are within its cap and floor.
        "select split_part(domain, '/', -1), sum(weight), any_value(cap), any_value(floor) "
        "from current_optimal_mixture group by 1 order by 1"
    ).fetchall()
    total = sum(row[1] for row in rows)
    broken = [
        f"{domain} weighs {weight:.6f} outside [{floor:.6f}, {cap:.6f}]"
        for domain, weight, cap, floor in rows
        if weight > cap + 1e-6 or weight < floor - 1e-6
    ]
    if abs(total - 1) > 1e-9:
        broken.append(f"the weights sum to {total!r}")
    return Finding(bool(rows) and not broken, "; ".join(broken) or "sums to 1 within caps and floors", {"sum": total})


LEFT_OUT = 64
"""Trained mixtures left out, one at a time, to learn how far outside the others' hull a mixture usually lies."""


def inside_sampled_region(connection: duckdb.DuckDBPyConnection, quantile: float = 0.9) -> Finding:
    """Whether the optimal mixture extrapolates no further than the out-of-fold scores vouch for.

    In many dimensions even a typical mixture lies outside the convex hull of the others. The regressor's errors are
    measured on such mixtures, so they hold for a decision that is no farther out than most of them: its distance to the
    hull of all trained mixtures is compared with the ``quantile`` of each one's distance to the hull of the others.
    """
    chosen = dict(connection.execute("select domain, weight from current_optimal_mixture").fetchall())
    # Mixtures of a single domain are corners: their hull is the whole simplex, yet nothing was measured inside it.
    rows = connection.execute(
        "select mixture, domain, weight from current_mixtures "
        "where origin not like 'only~_%' escape '~' order by mixture"
    ).fetchall()
    domains = sorted(set(chosen) | {row[1] for row in rows})
    names = sorted({row[0] for row in rows})
    points = np.zeros((len(names), len(domains)))
    for mixture, domain, weight in rows:
        points[names.index(mixture), domains.index(domain)] = weight
    distance = distance_to_hull(np.array([chosen.get(domain, 0.0) for domain in domains]), points)
    usual = 0.0
    if len(names) > 2:
        left_out = np.linspace(0, len(names) - 1, min(len(names), LEFT_OUT)).astype(int)
        usual = float(np.quantile([distance_to_hull(points[i], np.delete(points, i, 0)) for i in left_out], quantile))
    text = (
        f"{distance:.1%} of the weight lies outside the convex hull of {len(names)} trained mixtures; "
        f"{quantile:.0%} of these lie within {usual:.1%} of the others' hull"
    )
    return Finding(distance <= max(usual, 1e-6), text, {"distance": distance, "usual_distance": usual})


def distance_to_hull(point: NDArray[np.float64], points: NDArray[np.float64]) -> float:
    """Smallest share of weight to move so that ``point``, shape (d,), lies in the hull of ``points``, shape (n, d).

    Half the L1 distance, by linear programming: min sum(u + v) / 2 with points' a + u - v = point, a on the simplex.
    """
    from scipy.optimize import linprog

    n, d = points.shape
    costs = np.concatenate([np.zeros(n), np.full(2 * d, 0.5)])
    equalities = np.vstack(
        [
            np.hstack([points.T, np.eye(d), -np.eye(d)]),
            np.concatenate([np.ones(n), np.zeros(2 * d)])[None, :],
        ]
    )
    solution = linprog(costs, A_eq=equalities, b_eq=np.append(point, 1.0), bounds=(0, None), method="highs")
    return float(max(solution.fun, 0.0))
