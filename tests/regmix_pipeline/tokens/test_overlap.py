"""What two texts share is what comparing all documents and all runs of tokens one by one finds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regmix_pipeline.tokens import overlap
from regmix_pipeline.tokens.overlap import SplitText, TargetText, overlaps

EOS = 0
documents = st.lists(st.lists(st.integers(1, 3), max_size=40).map(tuple), min_size=1, max_size=12)


def written(folder, name, texts):
    tokens = [token for text in texts for token in (*text, EOS)]
    np.array(tokens, "<u2").tofile(folder / name)
    np.cumsum([len(text) + 1 for text in texts]).astype("<u8").tofile(folder / f"{name}.index")
    return SplitText(folder / name, "uint16", bytes=12 * len(tokens))


def runs_of(texts, length):
    return {text[start : start + length] for text in texts for start in range(len(text) - length + 1)}


@pytest.mark.parametrize("block", [7, 16, overlap.BLOCK])
@given(documents, documents, documents)
def test_as_comparing_everything_one_by_one(tmp_path_factory, block, own, training, other):
    folder = tmp_path_factory.mktemp("overlap")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap, "BLOCK", block)
        overlap._powers.cache_clear()
        text = TargetText.of(written(folder, "target", own))
        others = TargetText.of(written(folder, "other", other))
        found = overlaps(written(folder, "training", training), {"own": text, "other": others})
    overlap._powers.cache_clear()
    for name, texts in (("own", own), ("other", other)):
        size = sum(len(each) + 1 for each in texts)
        same = sum(len(each) + 1 for each in texts if each in set(training))
        if block == overlap.BLOCK:  # of a document longer than a block its beginning and its length count
            assert found[name].documents == pytest.approx(same / size)
        assert found[name].documents >= same / size - 1e-9
        assert found[name].run_length == overlap.SHORTEST_RUN
        wanted = runs_of(texts, overlap.SHORTEST_RUN)
        # Of training text, runs over the end of a document are looked at as well; they hold its end-of-text token.
        shared = wanted & runs_of(training, overlap.SHORTEST_RUN)
        assert found[name].runs == pytest.approx(len(shared) / len(wanted) if wanted else 0.0)


def test_a_sample_of_the_runs_of_a_large_target(tmp_path, monkeypatch):
    monkeypatch.setattr(overlap, "MOST_RUNS", 1000)
    generator = np.random.default_rng(1)
    texts = [tuple(generator.integers(1, 5000, 300)) for _ in range(100)]
    target = TargetText.of(written(tmp_path, "target", texts))
    assert 500 < len(target.runs) <= 1500
    training = written(tmp_path, "training", [text[:200] for text in texts[:50]])
    found = overlaps(training, {"target": target})["target"]
    assert found.documents == 0.0
    assert found.runs == pytest.approx(50 * 193 / (100 * 293), abs=0.05)
    monkeypatch.setattr(overlap, "MOST_RUNS_OF_ALL", 5000)
    fewer = TargetText.of(written(tmp_path, "target", texts), targets=10)
    assert 250 < len(fewer.runs) <= 750
    assert overlaps(training, {"target": fewer})["target"].runs == pytest.approx(found.runs, abs=0.07)
