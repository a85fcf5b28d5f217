"""The stage of n-gram models: counts each domain once, and again only what changed."""

import shutil

import numpy as np
import pytest
import yaml

from regmix_pipeline.documents.domains import DOMAINS
from regmix_pipeline.documents.stage import DOCUMENTS
from regmix_pipeline.engine.workspace import Workspace
from regmix_pipeline.ngrams.stage import NGRAM_MODELS, ngram_evidence, sample
from regmix_pipeline.proxies.tasks import target_files
from regmix_pipeline.proxies.windows import Windows
from regmix_pipeline.tokens.stage import TOKEN_SHARDS, TOKENIZER


@pytest.fixture
def settings(tiny_settings):
    two = {name: tiny_settings["domains"][name] for name in ("code", "licences")}
    return tiny_settings | {"domains": two, "targets": {"science": tiny_settings["targets"]["science"]}}


@pytest.fixture
def folder(real_text, tmp_path):
    shutil.copytree(real_text, tmp_path / "text")
    return tmp_path


def counted(folder, settings):
    """The workspace after its text is counted, and what was said about it."""
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    workspace = Workspace(folder / "tiny.yaml", folder / "home", say=lambda line: None)
    for stage in (DOMAINS, DOCUMENTS, TOKENIZER, TOKEN_SHARDS, NGRAM_MODELS):
        for made in workspace.materialise(stage):
            assert made.error is None, made.error
    return workspace


def files(workspace):
    """Domain -> its file and when it was written."""
    paths = {row["domain"]: workspace.home / row["file"] for row in workspace.json("ngram_models")["domains"]}
    return {domain: (path, path.stat().st_mtime_ns) for domain, path in paths.items()}


def test_a_new_domain_is_counted_alone_and_the_others_stay(folder, settings, tiny_settings):
    before = counted(folder, settings)
    evidence = ngram_evidence(before)
    assert evidence is not None
    first = files(before)
    more = settings["domains"] | {"descriptions": tiny_settings["domains"]["descriptions"]}
    after = counted(folder, settings | {"domains": more})
    second = files(after)
    assert set(second) == {"code", "licences", "descriptions"}
    assert {domain: second[domain] for domain in first} == first
    larger = ngram_evidence(after)
    assert larger is not None
    same = larger.over(evidence.domains, evidence.targets)
    assert same is not None
    np.testing.assert_array_equal(same.probabilities["science"], evidence.probabilities["science"])


def test_a_damaged_file_is_counted_again(folder, settings):
    workspace = counted(folder, settings)
    expected = ngram_evidence(workspace)
    path, _ = files(workspace)["code"]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    again = counted(folder, settings)
    assert path.read_bytes() == content
    found = ngram_evidence(again)
    assert expected is not None
    assert found is not None
    np.testing.assert_array_equal(found.probabilities["science"], expected.probabilities["science"])


def test_text_predicts_its_own_kind_better(folder, settings):
    own = settings | {"targets": {"code": {"weight": 1}, "licences": {"weight": 1}}}
    evidence = ngram_evidence(counted(folder, own))
    assert evidence is not None
    losses = evidence.losses(np.eye(2))
    assert losses[0, 0] < losses[1, 0]
    assert losses[1, 1] < losses[0, 1]


def test_a_study_without_regressors_of_counts_counts_nothing(folder, settings):
    workspace = counted(folder, settings | {"regression": {"regressors": ["saturation"]}})
    assert NGRAM_MODELS.expected_recipes(workspace) == {}
    assert ngram_evidence(workspace) is None


def test_samples_lie_outside_the_windows_that_losses_are_measured_on(folder, settings):
    [file] = target_files(counted(folder, settings)).values()
    context, measured = 16, 40
    windows = Windows(file, context)
    assert windows.count > 2 * measured
    taken = {
        windows.tokens[place * context : place * context + context + 1].tobytes()
        for place in windows.evenly_spaced(measured)
    }
    pieces = sample(file, context, measured)
    assert pieces.shape[1] == context + 1
    dtype = windows.tokens.dtype
    found = [piece.astype(dtype).tobytes() for piece in pieces]
    assert len(found) <= 4096 // context
    assert not taken & set(found)
