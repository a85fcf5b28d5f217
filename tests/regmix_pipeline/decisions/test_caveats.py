"""The price of a decision, and which of its weights the evidence leaves open."""

from regmix_pipeline.decisions.caveats import open_weights, price_of


def record(gaps, domains):
    rows = [{"name": "natural", "target": name, "predicted": 3.0} for name in gaps]
    rows += [{"name": "chosen", "target": name, "predicted": 3.0 + gap} for name, gap in gaps.items()]
    return {"predictions": rows, "domains": domains}


def domain(name, weight, low, high, **more):
    return {"domain": name, "weight": weight, "low": low, "high": high, "cap": 1.0, "floor": 0.0, **more}


def test_the_price_names_what_gets_worse_the_worst_first():
    said = price_of(record({"objective": -1.0, "code": 0.87, "poems": 5.15, "news": -0.3}, []))
    assert said == "It costs most on poems +5.150, code +0.870 (nats per token of a proxy, above the natural mixture)."


def test_nothing_that_gets_worse_and_domains_that_nobody_measured():
    said = price_of(record({"news": -0.3}, [domain("news", 1.0, 1.0, 1.0), domain("poems", 0.0, 0.0, 0.0)]))
    assert "cost nothing on any of the 1 targets" in said
    assert "What it costs on poems was not measured" in said
    assert price_of({}) == ""


def test_large_weights_that_may_be_anything_are_named():
    loose = domain("poems", 0.6, 0.1, 0.9, weakly_identified=True)
    said = open_weights(record({}, [domain("code", 0.3, 0.29, 0.31), loose, domain("news", 0.01, 0.0, 0.9)]))
    assert said.startswith("The largest weight is not pinned down: poems 60.0% (as good: 10.0% to 90.0%).")
    assert "code" not in said
    assert "news" not in said
    seen = record({}, [{**loose, "highest_sampled": 0.9}])
    assert open_weights(seen).startswith(said[: said.index(").")])
    some = record({}, [{**loose, "highest_sampled": 0.62}])
    assert "(as good: 10.0% to 90.0%, above 62.0% by extrapolation)" in open_weights(some)
    assert open_weights(record({}, [domain("code", 1.0, 0.99, 1.0)])) == ""
