"""The page holds everything, says what the ledger says, and copes with studies of every shape."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest

from regmix_pipeline.errors import LedgerError
from regmix_pipeline.mixtures.mixture import Mixture
from regmix_pipeline.report.page import render


class _Page(HTMLParser):
    """What a browser would see: elements with their attributes, text by section, tables as rows of cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self.tables: dict[str, list[list[list[str]]]] = {}
        self.scripts: list[str] = []
        self._section, self._script, self._cell = "header", False, False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.elements.append((tag, given))
        if tag == "section":
            self._section = given["id"] or ""
        self._script = tag in ("script", "style")
        if tag == "script":
            self.scripts.append("")
        tables = self.tables.setdefault(self._section, [])
        if tag == "table":
            tables.append([])
        elif tag == "tr":
            tables[-1].append([])
        elif tag in ("td", "th"):
            tables[-1][-1].append("")
            self._cell = True
        elif tag in ("br", "span") and self._cell:
            tables[-1][-1][-1] += " "

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False
        if tag in ("script", "style"):
            self._script = False

    def handle_data(self, data: str) -> None:
        if self._script:
            if self.scripts:
                self.scripts[-1] += data
            return
        self.text[self._section] = self.text.get(self._section, "") + data
        if self._cell:
            self.tables[self._section][-1][-1][-1] += data

    def row(self, section: str, table: int, name: str) -> list[str]:
        """The cells of the row that begins with ``name``, without surplus space."""
        rows = [[" ".join(cell.split()) for cell in row] for row in self.tables[section][table]]
        return next(row for row in rows if row and (row[0] == name or row[0].startswith(f"{name} ")))

    @property
    def figures(self) -> dict[str, Any]:
        """The plots' JSON; anything that is not JSON, NaN too, raises."""

        def refuse(token: str) -> None:
            raise AssertionError(f"{token} in a figure")

        return json.loads(self.scripts[0], parse_constant=refuse)


def _render(made: Any) -> _Page:
    return _Page(render(made.ledger, made.decision))


@pytest.fixture(scope="module")
def page(study: Any) -> _Page:
    return _render(study)


def test_loads_nothing(page: _Page) -> None:
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "base", "object", "embed", "img")
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    policy = next(
        given["content"] for _, given in page.elements if given.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert any("plotly.js v" in script for script in page.scripts)


def test_style_loads_nothing(study: Any) -> None:
    style = re.findall(r"<style>(.*?)</style>", render(study.ledger, study.decision), re.S)[0]
    assert "url(" not in style
    assert "@import" not in style


def test_every_place_for_a_plot_has_its_figure(page: _Page) -> None:
    places = [given["id"] for _, given in page.elements if given.get("class") == "plot"]
    assert len(places) == len(set(places))
    assert set(places) == set(page.figures)
    assert len([place for place in places if place and place.startswith("out_of_fold-")]) == 10


def test_says_the_decision_and_its_warnings(page: _Page, study: Any) -> None:
    header = page.text["header"]
    assert study.decision["summary"] in header
    assert study.decision["flags"][0] in header
    assert "97%" in header
    assert f"{study.decision['gain']['predicted']:+.3f}" in header


def test_weights_equal_the_record(page: _Page, study: Any) -> None:
    for row in study.decision["domains"]:
        cells = page.row("weights", 0, row["domain"])
        weight = 100 * row["weight"]
        assert cells[1] == ("< 0.1%" if 0 < weight < 0.05 else f"{weight:.1f}%")
        assert cells[2] == f"{100 * row['prior']:.1f}%"
        assert cells[5] == f"{100 * row['cap']:.1f}%"
        assert cells[6] == f"{row['epochs']:.2f}"


def test_predictions_equal_the_record(page: _Page, study: Any) -> None:
    rows = {(row["name"], row["target"]): row for row in study.decision["predictions"]}
    for target in ("encyclopedia", "legal"):
        cells = page.row("predictions", 0, target)
        for column, name in enumerate(("chosen", "natural", "uniform", "best_observed"), start=1):
            row = rows[name, target]
            expected = f"{row['predicted']:.3f} {row['low']:.3f}–{row['high']:.3f} law {row['predicted_by_law']:.3f}"
            assert cells[column] == expected


def test_figures_hold_the_ledgers_losses(page: _Page, study: Any) -> None:
    pairs = [row for row in study.rows["out_of_fold"] if row["target"] == "encyclopedia"]
    dots = page.figures["out_of_fold-0"]["data"][1]
    assert sorted(dots["x"]) == pytest.approx(sorted(row["loss"] for row in pairs), abs=1e-6)
    assert sorted(dots["y"]) == pytest.approx(sorted(row["predicted"] for row in pairs), abs=1e-6)
    shown = sum(len(trace["x"]) for trace in page.figures["losses"]["data"])
    finals = [row for row in study.rows["proxy_losses"] if row["final"]]
    assert shown == len(finals) + 10  # and the chosen mixture's prediction on every target


def test_says_how_the_spread_compares_with_the_noise(page: _Page, study: Any) -> None:
    finals = [r["loss"] for r in study.rows["proxy_losses"] if r["final"] and r["target"] == "encyclopedia"]
    assert f"standard deviation of {stdev(finals):.3f}" in page.text["evidence"]
    assert "standard error of 0.011" in page.text["evidence"]


def test_says_what_more_proxies_could_gain(page: _Page) -> None:
    text = " ".join(page.text["header"].split())
    assert "More proxies could still gain" in text
    assert "0.0031" in text
    assert "2% of the expected gain: the decision is stable" in text


def test_says_how_much_of_a_loss_is_luck(page: _Page) -> None:
    text = " ".join(page.text["evidence"].split())
    assert "6 mixtures were trained with 2 seeds each" in text
    assert "0.0123 0.0091–0.0202" in text
    assert text.count("▲") == 2  # the flagged target, and what the mark means


def test_scores_equal_the_ledger(page: _Page, study: Any) -> None:
    found = {
        (row["target"], row["regressor"]): row
        for row in study.rows["regressor_scores"]
        if row["metric"] == "spearman" and row["split"] == "random"
    }
    cells = page.row("evidence", 0, "legal")
    row = found["legal", "law"]
    assert cells[1] == f"● {row['value']:.2f} {row['low']:.2f}–{row['high']:.2f}"
    assert cells[2].startswith(f"{found['legal', 'lightgbm']['value']:.2f}")
    assert "●" not in cells[2]


def test_inventory_equals_the_ledger(page: _Page, study: Any) -> None:
    for row in study.rows["domain_inventory"]:
        cells = page.row("data", 0, row["source"])
        assert cells[3] == f"{row['train_tokens']:,}"
        assert cells[5] == str(row["duplicates"])
        assert cells[6] == f"{row['bytes_per_token']:.2f}"
    assert page.row("data", 0, "total")[3] == f"{sum(row['train_tokens'] for row in study.rows['domain_inventory']):,}"


def test_confirmation_shows_means_over_seeds(page: _Page, study: Any) -> None:
    losses = [
        row["loss"] for row in study.rows["confirmations"] if row["target"] == "legal" and row["name"] == "chosen"
    ]
    # The standard error of a mean of two is half their distance.
    mean, error = sum(losses) / 2, abs(losses[0] - losses[1]) / 2
    assert page.row("confirmation", 0, "legal")[4] == f"{mean:.3f} ± {error:.3f}"


def test_the_first_screen_says_the_price_and_the_choosing_is_no_regressor(page: _Page, study: Any) -> None:
    assert "Price." in page.text["header"]
    assert "It costs most on" in page.text["header"] or "cost nothing on any of" in page.text["header"]
    assert "nested_choice_by" not in page.text["evidence"]


def test_near_overlap_of_targets_and_domains_has_a_table(make: Callable[..., Any], study: Any, tmp_path: Path) -> None:
    shares = [("books", 0.031, 0.0), ("music", 0.62, 0.0), ("legal", 0.009, 0.004)]
    rows = [{"target": "encyclopedia", "domain": name, "runs": r, "documents": d} for name, r, d in shares]
    page = _render(make(tmp_path, overlap=rows))
    assert [[cell.strip() for cell in row] for row in page.tables["data"][1]] == [
        ["target", "domain", "runs", "documents"],
        ["encyclopedia", "music", "62.0%", "0.0%"],
        ["encyclopedia", "books", "3.1%", "0.0%"],
    ]
    assert len(_render(study).tables["data"]) == 1


def test_says_it_when_the_confirmation_goes_against_the_decision(make: Callable[..., Any], tmp_path: Path) -> None:
    page = _render(make(tmp_path, confirmed="against"))
    assert "Larger models disagree" in page.text["header"]
    assert "speaks against the decision" in page.text["confirmation"]


def test_says_when_seeds_overlap(make: Callable[..., Any], tmp_path: Path) -> None:
    page = _render(make(tmp_path, confirmed="unclear"))
    assert "undecided" in page.text["header"]
    assert "no evidence for the chosen mixture and none against it" in page.text["confirmation"]


def test_confirmations_of_other_decisions_do_not_count(study: Any) -> None:
    page = _Page(render(study.ledger, study.decision | {"decision": "another"}))
    assert "not tested" in page.text["header"]
    assert "No larger model was trained" in page.text["confirmation"]


def test_text_is_escaped(study: Any) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    names = {"study": evil, "description": evil, "summary": evil, "flags": [evil], "run": evil, "decision": evil}
    page = _Page(render(study.ledger, study.decision | names))
    assert not any(tag == "img" for tag, _ in page.elements)
    assert not any("alert(" in script for script in page.scripts)
    assert page.text["header"].count("alert(1)") >= 3


def test_a_name_cannot_end_the_script_of_figures(study: Any) -> None:
    odd = [{**row, "domain": "</script><marquee>"} for row in study.decision["domains"][:1]]
    page = _Page(render(study.ledger, study.decision | {"domains": odd}))
    assert not any(tag == "marquee" for tag, _ in page.elements)
    assert len(page.scripts) == 5
    assert "</script><marquee>" in json.dumps(page.figures["weights"])


def test_without_confirmation(make: Callable[..., Any], tmp_path: Path) -> None:
    page = _render(make(tmp_path, confirmed=None))
    assert "No larger model was trained" in page.text["confirmation"]
    assert "confirmation" not in page.figures


@pytest.mark.parametrize(("domains", "targets"), [(2, 1), (40, 12)])
def test_shapes(make: Callable[..., Any], tmp_path: Path, domains: int, targets: int) -> None:
    made = make(tmp_path, domains=domains, targets=targets)
    page = _render(made)
    assert len(page.tables["weights"][0]) == domains + 1
    assert len(page.tables["predictions"][0]) == targets + 1
    assert sum(name.startswith("domain-") for name in page.figures) == domains


def test_objective_of_several_targets(make: Callable[..., Any], tmp_path: Path) -> None:
    shares = {"encyclopedia": 0.75, "books": 0.25}
    made = make(tmp_path, objective=shares)
    page = _render(made)
    assert page.row("predictions", 0, "objective")
    finals = {(row["mixture"], row["target"]): row["loss"] for row in made.rows["proxy_losses"] if row["final"]}
    natural = next(row["mixture"] for row in made.rows["mixtures"] if row["origin"] == "natural")
    expected = sum(share * finals[natural, target] for target, share in shares.items())
    shown = [trace["y"] for trace in page.figures["domain-0"]["data"] if trace.get("name") == "natural"]
    assert shown == [[pytest.approx(expected, abs=1e-6)]]


def test_a_bare_record_says_what_is_missing(study: Any) -> None:
    page = _Page(render(study.ledger, {"decision": "d"}))
    assert "not recorded" in page.text["header"]
    assert "None" not in "".join(page.text.values())
    assert "Undefined" not in "".join(page.text.values())


def test_numbers_that_are_missing_are_dashes(study: Any) -> None:
    nothing = [{**row, "epochs": None, "cap": float("nan")} for row in study.decision["domains"]]
    guesses = [{**row, "low": float("nan"), "high": None} for row in study.decision["predictions"]]
    page = _Page(render(study.ledger, study.decision | {"domains": nothing, "predictions": guesses}))
    shown = "".join(page.text.values())
    assert re.search(r"\bnan\b", shown, re.I) is None
    assert page.row("weights", 0, "legal")[5:7] == ["–", "–"]
    assert page.figures["weights"]


def test_says_when_the_ledger_has_moved_on(study: Any) -> None:
    versions = {**study.decision["versions"], "mixtures/all": "older"}
    header = _Page(render(study.ledger, study.decision | {"versions": versions})).text["header"]
    assert "moved on" in header
    assert "mixtures/all" in header
    assert "moved on" not in _render(study).text["header"]


def test_recomputes_the_mixture_id(page: _Page, study: Any) -> None:
    assert "as recorded" in page.text["lineage"]
    other = {"id": "m000000000000", "weights": study.decision["mixture"]["weights"]}
    lineage = _Page(render(study.ledger, study.decision | {"mixture": other})).text["lineage"]
    assert "not the recorded one" in lineage
    assert Mixture.from_weights(other["weights"]).id in lineage


def test_lineage_lists_every_current_record(page: _Page, study: Any) -> None:
    rows = page.tables["lineage"][0]
    assert len(rows) == 1 + 10 + 10 + 3 + 2 * 64 + 4
    assert any("token_shards × 10" in row[3] for row in rows)


def test_shows_what_the_decision_was_compared_with(study: Any) -> None:
    half = {"mixture": "m1", "weights": {"legal": 0.5, "books": 0.5}, "from": "the study file"}
    before = {"mixture": "m2", "weights": {"withdrawn": 1.0}, "from": "decision d1"}
    row = {"target": "objective", "predicted": 6.5, "low": 6.4, "high": 6.6, "predicted_by_law": 6.45}
    more = [row | {"name": "half", "mixture": "m1"}, row | {"name": "previous", "mixture": "m2", "predicted": 6.75}]
    decision = study.decision | {"alternatives": {"half": half, "previous": before}}
    page = _Page(render(study.ledger, decision | {"predictions": [*study.decision["predictions"], *more]}))
    chosen = next(row["predicted"] for row in study.decision["predictions"] if row["target"] == "objective")
    assert page.row("alternatives", 0, "half")[1:] == [
        *(
            "the study file; beyond the limits: legal, books",
            "6.500",
            "6.400–6.600",
            "6.450",
            f"{6.5 - chosen:+.3f}".replace("-", "−"),
        )
    ]
    assert page.row("alternatives", 0, "decision before")[1:3] == ["decision d1; beyond the limits: withdrawn", "6.750"]
    assert page.row("alternatives", 1, "withdrawn")[-2:] == ["100.0%", "0.0%"]
    header = [" ".join(cell.split()) for cell in page.tables["predictions"][0][0]]
    assert header[5:7] == ["decision before", "half"]


def test_shows_how_targets_are_predicted_as_recorded(study: Any) -> None:
    score = {"spearman (random folds)": {"value": 0.91, "low": 0.85, "high": 0.95}}
    recorded = {
        "legal": {
            "regressor": "stack",
            "blend": {"saturation": 0.75, "lightgbm": 0.25},
            "hyperparameters": {"saturation": {"inner_folds": 4}},
            "scores": score,
        }
    }
    page = _Page(render(study.ledger, study.decision | {"regression": recorded}))
    tables = [table for table in page.tables["evidence"] if "mixed from" in " ".join(table[0])]
    assert [" ".join(cell.split()) for cell in tables[0][1]] == [
        *("legal", "stack", "saturation 75%, lightgbm 25%", "0.910 0.850–0.950")
    ]
    assert '"inner_folds": 4' in page.text["evidence"]


def test_says_what_triggered_it_and_which_runs_made_what(study: Any) -> None:
    runs = {"run1": ["mixtures/all", *(f"proxy_losses/m{i}" for i in range(7))], "": ["documents/books"]}
    triggered = {"through": "Dagster", "by": "schedule refit", "why": "legal arrived"}
    machine = {"python": "3.11.7", "system": "Linux-6", "libraries": {"duckdb": "2.0.0"}}
    more = {"runs": runs, "triggered": triggered, "environment": machine, "previous": "d1", "seal": "ab12"}
    page = _Page(render(study.ledger, study.decision | more))
    text = " ".join(page.text["lineage"].split())
    assert "schedule refit, through Dagster: legal arrived" in text
    made = [["run1", "mixtures, proxy_losses × 7"], ["outside Dagster", "documents/books"]]
    assert page.tables["lineage"][0][1:] == made
    assert "the decision before is d1" in text
    assert "Python 3.11.7, Linux-6" in text


def test_says_how_far_a_weight_is_pinned_down(study: Any) -> None:
    ranged = [{**row, "low": 0.001, "high": 0.4} for row in study.decision["domains"]]
    page = _Page(render(study.ledger, study.decision | {"domains": ranged}))
    assert page.row("weights", 0, "legal")[4] == "0.1% – 40.0%"
    assert "does not pin this weight down" in page.text["weights"]


def test_needs_a_ledger(tmp_path: Path) -> None:
    with pytest.raises(LedgerError):
        render(tmp_path / "ledger.duckdb", {"decision": "d"})


def test_says_who_allows_how_many_epochs_and_what_a_cap_costs(study: Any) -> None:
    domain = study.decision["domains"][0]["domain"]
    own = {"max_epochs": 6.0, "set_by": f"domains.{domain}.max_epochs", "reason": "tried before <b>"}
    further = {
        "cap": 0.3,
        "epochs": 9.0,
        "weight": 0.3,
        "gain": 0.0123,
        "low": 0.004,
        "high": 0.0206,
        "measured": False,
    }
    price = {"limit": f"cap of {domain}", "domain": domain, "cap": 0.2, "epochs": 6.0, "price_per_point": 0.002}
    decision = study.decision | {
        "repetition": {domain: own},
        "shadow_prices": [price | {"price_per_epoch": 0.0071, "further": further}],
    }
    text = " ".join(_Page(render(study.ledger, decision)).text["weights"].split())
    assert f"{domain} may be seen 6 times (domains.{domain}.max_epochs): tried before <b>" in text
    assert "at 9 epochs instead of 6 the predicted gain is +0.0123 nats per token" in text
    assert "beyond what any run held; at the cap, an epoch more is worth 0.0071" in text
