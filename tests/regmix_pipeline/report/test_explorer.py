"""The sliders: the page's law is Python's law, and a browser does with them what the page says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regmix_pipeline.decisions.verdicts import Verdict
from regmix_pipeline.regression.catalogue import LAWS, regressor
from regmix_pipeline.regression.fitted import FittedRegressor
from regmix_pipeline.report import explorer, page
from regmix_pipeline.report.alternatives import Named
from regmix_pipeline.report.tables import Shown
from regmix_pipeline.search.region import usual_distance

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LAWS_JS = Path(explorer.__file__).with_name("templates") / "laws.js"
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


def in_browser(folder: Path, html: str, script: str | None) -> Any:
    """What ``script``, the body of a function, returns in the page, by way of its DOM; without one, what the page gives
    as its title."""
    asked = f"<script>document.title = 'answer ' + JSON.stringify((() => {{ {script} }})());</script>" if script else ""
    path = folder / "page.html"
    path.write_text(html.replace("</body>", f"{asked}</body>"), encoding="utf-8")
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command += ["--virtual-time-budget=2000", "--dump-dom", path.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r"<title>answer (.*?)</title>", shown, re.S)
    assert found, shown[:2000]
    return json.loads(unescape(found[1]))


def fitted_to(rows: list[dict[str, Any]], losses: np.ndarray, targets: list[str], name: str = "saturation") -> Any:
    """A law really fitted to mixtures and losses, as the only model."""
    domains = list(rows[0])
    weights = np.array([[row[domain] for domain in domains] for row in rows])
    model = regressor(name).fit(weights, losses)
    return FittedRegressor(
        domains=tuple(domains),
        targets=tuple(targets),
        weights=weights,
        losses=losses,
        chosen=dict.fromkeys(targets, name),
        out_of_fold=losses,
        scores=[],
        models={name: model},
        blend={target: {name: 1.0} for target in targets},
        stack={},
        spread=np.ones_like(losses),
    )


def mixtures(count: int, domains: int, seed: int) -> np.ndarray:
    """Random mixtures, some of them with domains left out, (count, domains)."""
    generator = np.random.Generator(np.random.PCG64(seed))
    drawn = generator.dirichlet(np.full(domains, 0.7), count)
    drawn[::4, 0] = 0.0
    return drawn / drawn.sum(axis=1, keepdims=True)


@needs_browser
@pytest.mark.parametrize("law", LAWS)
def test_the_page_computes_what_python_computes(law: str, tmp_path: Path) -> None:
    trained, asked = mixtures(60, 5, 1), mixtures(20, 5, 2)
    generator = np.random.Generator(np.random.PCG64(3))
    losses = np.column_stack(
        [3 + 0.1 * t + generator.gamma(1, 0.4, 5) @ np.exp(-6 * trained.T) for t in range(3)]
    ) + generator.normal(0, 0.01, (60, 3))
    names = [f"d{j}" for j in range(5)]
    fitted = fitted_to([dict(zip(names, row, strict=True)) for row in trained], losses, ["a", "b", "c"], law)
    decision = {"domains": [{"domain": name, "weight": 0.2} for name in names], "objective": {"a": 3, "c": 1}}
    targets = [Shown("objective", "objective", True), *(Shown(t, t, t != "b") for t in "abc")]
    chosen = Named("chosen", "chosen", dict(zip(names, asked[0].tolist(), strict=True)))
    study = explorer.explorer(fitted, decision, targets, [chosen])
    assert study is not None
    html = f"<html><body><script>{LAWS_JS.read_text()}</script></body></html>"
    given = json.dumps({"study": study, "asked": asked.tolist()})
    found = in_browser(
        tmp_path,
        html,
        f"const given = {given}; return [given.asked.map((w) => lossesByLaw(given.study, w)), "
        "given.asked.map((w) => distanceToTrained(given.study, w))];",
    )
    each = fitted.predict(asked, law)
    expected = np.column_stack([fitted.objective(asked, {"a": 3, "c": 1}, law), each])
    assert np.abs(np.array(found[0]) - expected).max() < 1e-9
    nearest = (np.sqrt(asked) @ np.sqrt(trained).T).max(axis=1)
    assert found[1] == pytest.approx(np.sqrt(np.maximum(1 - nearest, 0)).tolist(), abs=1e-4)
    assert study["usual"] == usual_distance(trained)
    both = explorer.disagreement(study, fitted)
    assert both["law"] == pytest.approx(expected[0, 0])


@pytest.fixture(scope="module")
def shown(make: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, Any]:
    """The page of a study with real regressors: HTML, study, fitted."""
    home = tmp_path_factory.mktemp("explored")
    made = make(home, domains=5, targets=4)
    rows: dict[str, dict[str, float]] = {}
    for row in made.rows["mixtures"]:
        rows.setdefault(row["mixture"], {})[row["domain"]] = row["weight"]
    losses = {(row["mixture"], row["target"]): row["loss"] for row in made.rows["proxy_losses"] if row["final"]}
    targets = list(dict.fromkeys(target for _, target in losses))
    table = np.array([[losses[key, target] for target in targets] for key in rows])
    fitted = fitted_to(list(rows.values()), table, targets)
    given = {"mixture": "m1", "weights": {"pubmed": 0.5, "legal": 0.5}, "from": "the study file"}
    gone = {"mixture": "m2", "weights": {"withdrawn": 1.0}, "from": "decision d1"}
    decision = made.decision | {"alternatives": {"half": given, "previous": gone}}
    said = [
        Verdict("v1", "d1", 1, "approved", "<it> is sound", "Ada", "regmix", "2026-05-05T10:00:00+00:00", "", "", "")
    ]
    return page.render(made.ledger, decision, fitted, said), made, fitted


def moved(number: int, value: float) -> str:
    return (
        f"const slider = document.getElementById('slider-{number}'); slider.value = {value}; "
        "slider.dispatchEvent(new Event('input'));"
    )


SEEN = """
const line = (row) => [...row.cells].map((cell) => cell.textContent);
return {
  rows: [...document.querySelectorAll("#losses-by-law tbody tr")].map(line),
  text: document.getElementById("weights-text").value,
  headline: document.getElementById("headline").textContent,
  cautions: [...document.querySelectorAll("#cautions li")].map((one) => one.textContent),
  hidden: document.getElementById("cautions").hidden,
  broken: [...document.querySelectorAll(".slider.broken label")].map((one) => one.textContent),
  pressed: [...document.querySelectorAll('.presets [aria-pressed="true"]')].map((one) => one.dataset.mixture),
  buttons: [...document.querySelectorAll(".presets button")].map((one) => one.textContent),
};
"""


def weights_in(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in (line.split(": ") for line in text.splitlines())}


@needs_browser
def test_opens_at_the_chosen_mixture(shown: tuple[str, Any, Any], tmp_path: Path) -> None:
    html, made, fitted = shown
    seen = in_browser(tmp_path, html, SEEN)
    chosen = made.decision["mixture"]["weights"]
    assert seen["pressed"] == ["chosen"]
    assert seen["buttons"] == ["chosen", "natural", "uniform", "best proxy", "half"]  # a domain of `previous` is gone
    assert weights_in(seen["text"]) == pytest.approx({name: chosen.get(name, 0.0) for name in fitted.domains}, abs=1e-6)
    assert sum(round(1e6 * weight) for weight in weights_in(seen["text"]).values()) == 1_000_000
    at = np.array([[chosen.get(name, 0.0) for name in fitted.domains]])
    objective = fitted.predict(at)[0, fitted.targets.index("encyclopedia")]
    assert seen["rows"][0][:2] == ["encyclopedia (objective)", f"{objective:.3f}"]
    assert f"{objective:.3f} by the law" in seen["headline"]


@needs_browser
def test_one_slider_moves_the_others_in_proportion(shown: tuple[str, Any, Any], tmp_path: Path) -> None:
    html, made, fitted = shown
    chosen = [made.decision["mixture"]["weights"].get(name, 0.0) for name in fitted.domains]
    row = next(row for row in made.decision["domains"] if row["domain"] == fitted.domains[1])
    seen = in_browser(tmp_path, html, moved(1, 1.0) + "{" + moved(1, 0.95) + "}" + SEEN)
    expected = [0.95 if j == 1 else weight * 0.05 / (1 - chosen[1]) for j, weight in enumerate(chosen)]
    assert list(weights_in(seen["text"]).values()) == pytest.approx(expected, abs=2e-6)
    law = fitted.predict(np.array([expected]))[0]
    assert [line[1] for line in seen["rows"]] == [
        f"{law[fitted.targets.index(line[0].split(' ')[0])]:.3f}" for line in seen["rows"]
    ]
    assert row["cap"] < 0.95
    assert seen["broken"] == [row["domain"]]
    assert seen["pressed"] == []
    assert not seen["hidden"]
    assert f"{row['domain']} is above its cap" in " ".join(seen["cautions"])


@needs_browser
def test_warns_outside_the_sampled_region(shown: tuple[str, Any, Any], tmp_path: Path) -> None:
    html, _, fitted = shown
    rare = int(fitted.weights.max(axis=0).argmin())
    away = float(np.sqrt(1 - np.sqrt(fitted.weights[:, rare]).max()))
    assert away > usual_distance(fitted.weights)
    seen = in_browser(tmp_path, html, moved(rare, 1.0) + SEEN)
    assert f"outside the sampled region: {away:.2f} from the nearest" in " ".join(seen["cautions"])
    assert f"{fitted.domains[rare]} is above the highest weight that was trained" in " ".join(seen["cautions"])


@needs_browser
def test_buttons_bring_named_mixtures(shown: tuple[str, Any, Any], tmp_path: Path) -> None:
    html, _, _ = shown
    press = "document.querySelector('[data-mixture=\"half\"]').click();"
    seen = in_browser(tmp_path, html, moved(0, 0.9) + press + SEEN)
    assert seen["pressed"] == ["half"]
    weights = weights_in(seen["text"])
    assert (weights["pubmed"], weights["legal"], sum(weights.values())) == (0.5, 0.5, 1.0)


def test_says_by_how_much_law_and_decision_differ(shown: tuple[str, Any, Any]) -> None:
    html, made, fitted = shown
    row = next(r for r in made.decision["predictions"] if (r["name"], r["target"]) == ("chosen", "encyclopedia"))
    at = np.array([[made.decision["mixture"]["weights"].get(name, 0.0) for name in fitted.domains]])
    gap = fitted.predict(at)[0, fitted.targets.index("encyclopedia")] - row["predicted"]
    text = " ".join(re.sub(r"<[^>]+>", "", html[html.index('<section id="explorer">') :]).split())
    assert "These numbers are not the decision's." in text
    assert f"where the decision says {row['predicted']:.3f}: {gap:+.3f}".replace("-", "−") in text


def test_says_who_approved_it(shown: tuple[str, Any, Any]) -> None:
    html, _, _ = shown
    assert "Approved by Ada on 2026-05-05" in html
    assert "&lt;it&gt; is sound" in html


def test_without_regressors_there_are_no_sliders(study: Any) -> None:
    html = page.render(study.ledger, study.decision)
    assert "No pure law is at hand" in html
    assert 'id="sliders"' not in html
    assert '<script type="application/json" id="study">null</script>' in html


@needs_browser
def test_the_table_of_overlaps_fits_a_phone(make: Callable[..., Any], tmp_path: Path) -> None:
    rows = [{"target": "encyclopedia", "domain": "parliament_multilingual", "runs": 0.2, "documents": 0.011}]
    made = make(tmp_path / "study", overlap=rows)
    html = page.render(made.ledger, made.decision)
    # Headless Chromium has no window as narrow as a phone's; a frame may be.
    inner = json.dumps(html).replace("</", r"<\/")
    outer = f"""<body><script>
      const frame = document.createElement("iframe");
      frame.width = 390;
      frame.srcdoc = {inner};
      document.body.append(frame);
      frame.onload = () => {{
        const table = frame.contentDocument.querySelector("#overlap ~ .table");
        document.title = "answer " + JSON.stringify([table.scrollWidth, table.clientWidth, frame.clientWidth]);
      }};
    </script></body>"""
    inside, shown, phone = in_browser(tmp_path, outer, None)
    assert phone == 390
    assert 0 < inside <= shown < 390
