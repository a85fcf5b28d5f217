"""What every export format writes for a trainer is read back as a blend of the same weights."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from regmix_pipeline.blends.read import read_blend
from regmix_pipeline.errors import MixtureError
from regmix_pipeline.formats.catalogue import FORMATS
from regmix_pipeline.formats.data import DataFile, DomainData
from regmix_pipeline.formats.export import Export, Origin

READ_AS = {
    "regmix": "regmix",
    "olmo-core": "olmo-core",
    "megatron": "megatron",
    "nemo": "megatron",
    "energon": "energon",
    "litgpt": "python",
    "torchtitan": "python",
    "mixtera": "python",
    "hf": "table",
    "streaming": "table",
    "csv": "table",
    "json": "table",
}
NO_BLEND = ("phases",)
"""A section of a study file."""


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in NO_BLEND])
@given(weights=st.lists(st.integers(0, 1_000_000), min_size=2, max_size=6).filter(any))
def test_an_export_is_read_back(tmp_path_factory, name, weights):
    total = sum(weights)
    mixture = {f"domain_{place}": weight / total for place, weight in enumerate(weights)}
    address = "domain:{}" if name == "mixtera" else "/data/{}"
    data = {domain: DomainData((DataFile(address.format(domain), 10**9),), 10**9) for domain in mixture}
    form, folder = FORMATS[name], tmp_path_factory.getbasetemp() / f"blend-{name}"
    folder.mkdir(exist_ok=True)
    export = Export(Origin("d1", {}, ("Decision d1.",)), mixture, {}, data, budget=10**9, main=f"mixture{form.suffix}")
    for ending, text in form.write(export).items():
        if ending == ".loader.py":  # hf's code, which reads the weights from the file beside it
            continue
        path = folder / f"mixture{ending or form.suffix}"
        path.write_text(text)
        blend = read_blend(path)
        assert blend.format == READ_AS[name]
        found = {source.name.rpartition("/")[2]: source.weight for source in blend.sources}
        assert {name: weight for name, weight in found.items() if weight} == pytest.approx(
            {name: weight for name, weight in mixture.items() if weight}, rel=1e-6, abs=1e-6
        )
        assert math.isclose(blend.total, 1, abs_tol=1e-5)


def metadataset(folder, split, version="MetadatasetV2"):
    value = {"__module__": "megatron.energon", "__class__": version, "splits": {"train": split}}
    path = folder / "metadataset.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


def test_a_blend_inside_a_blend_has_the_share_that_is_given_to_it(tmp_path):
    inner = {"weight": 3, "blend": [{"weight": 1, "path": "./code"}, {"weight": 1, "path": "./wiki"}]}
    blend = read_blend(metadataset(tmp_path, {"blend": [{"weight": 7, "path": "./web"}, inner]}))
    assert [(source.name, source.weight) for source in blend.sources] == [
        ("./web", 7.0),
        ("./code", 1.5),
        ("./wiki", 1.5),
    ]
    assert blend.sources[2].place.endswith("metadataset.yaml:splits.train.1.1")


def test_the_first_version_of_a_metadataset_is_read(tmp_path):
    rows = [{"weight": 5, "path": "./web"}, {"path": "./code"}]
    blend = read_blend(metadataset(tmp_path, {"datasets": rows}, "Metadataset"))
    assert [source.weight for source in blend.sources] == [5.0, 1.0]


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ({"blend_epochized": [{"repetitions": 2, "path": "./web"}]}, "is not a blend with weights"),
        ({"blend": [{"weight": "much", "path": "./web"}]}, "splits.train.0: 'much' is not a weight"),
        ({"blend": [{"weight": 1}]}, "splits.train.0: a dataset without a path"),
        ({"path": "./web"}, "splits.train: the training split is not a blend"),
    ],
)
def test_a_metadataset_without_weights_is_refused_with_its_field(tmp_path, split, said):
    with pytest.raises(MixtureError) as refused:
        read_blend(metadataset(tmp_path, split))
    assert said in str(refused.value)
