"""The catalogue, files of one's own, and what is said of wrong ones."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from regmix_pipeline.errors import PlanError
from regmix_pipeline.planning.hardware import CATALOGUE, hardware_of

NAMES = list(yaml.safe_load(CATALOGUE.read_text()))


@pytest.mark.parametrize("name", NAMES)
def test_the_catalogue_loads_and_no_rate_is_above_the_peak(name):
    hardware = hardware_of(name)
    assert hardware.peak_teraflops is not None
    for width in (16, 256, 700, 8192):
        assert 0 < hardware.teraflops(width) <= 0.6 * hardware.peak_teraflops


def test_the_peak_of_an_h100_is_the_data_sheets():
    assert hardware_of("h100-sxm").peak_teraflops == 989


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_wider_models_never_reach_less(one, other):
    hardware = hardware_of("h100-sxm")
    low, high = sorted((one, other))
    assert hardware.teraflops(low) <= hardware.teraflops(high) + 1e-9


def test_a_rate_between_two_widths_is_on_a_line_in_the_logarithm(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("{devices: 2, memory_gb: 10, sustained_teraflops: {256: 10, 1024: 30}}")
    hardware = hardware_of(str(path))
    assert hardware.name == "mine"
    assert hardware.teraflops(512) == pytest.approx(20)
    assert hardware.teraflops(100) == 10
    assert hardware.teraflops(4096) == 30


def test_more_devices_bring_their_cores():
    assert hardware_of("h100-sxm", 64).cores == 8 * hardware_of("h100-sxm").cores
    assert hardware_of("h100-sxm", 64).devices == 64


@pytest.mark.parametrize(
    ("content", "field", "remedy"),
    [
        ("devices: 0\nmemory_gb: 10\nsustained_teraflops: {256: 1}", "devices", "docs/planning.md"),
        ("devices: 1\nsustained_teraflops: {256: 1}", "memory_gb", "docs/planning.md"),
        ("devices: 1\nmemory_gb: 10", "sustained_teraflops", "docs/planning.md"),
        ("devices: 1\nmemory_gb: 10\nmfu: {256: 0.4}", "peak_teraflops", "docs/planning.md"),
        ("devices: 1\nmemory_gb: 10\npeak_teraflops: 9\nmfu: {256: 40}", "mfu.256", "docs/planning.md"),
        ("devices: 1\nmemory_gb: 10\nsustained_teraflops: {256: 0}", "sustained_teraflops.256", "docs/planning.md"),
        ("devices: 1\nmemory_gb: 10\nsustained_teraflops: {256: .inf}", "sustained_teraflops.256", "docs/planning.md"),
        ("devices: 1\nmemory_gb: 10\nsustained_teraflops: {wide: 1}", "sustained_teraflops.wide", "docs/planning.md"),
        ("devices: 1\nmemory_gb: 10\nsustained_teraflops: {256: 1}\nprice: 3", "price", "docs/planning.md"),
        ("devices: 1\nmemory_gb: ten\nsustained_teraflops: {256: 1}", "memory_gb", "docs/planning.md"),
        ("[1, 2]", "no fields", "docs/planning.md"),
        ("devices: [1", "not valid YAML", "correct the line"),
    ],
)
def test_a_wrong_file_is_refused_by_name_field_and_remedy(tmp_path, content, field, remedy):
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(PlanError) as refused:
        hardware_of(str(path))
    assert str(path) in str(refused.value)
    assert field in str(refused.value)
    assert remedy in refused.value.remedy


def test_no_such_hardware_lists_what_there_is(tmp_path):
    with pytest.raises(PlanError, match="h100-sxm, a100-sxm-80gb"):
        hardware_of("h100")
    with pytest.raises(PlanError, match="No such file"):
        hardware_of(str(tmp_path / "none.yaml"))
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    with pytest.raises(PlanError, match="UTF-8"):
        hardware_of(str(tmp_path / "latin.yaml"))


def test_rates_are_finite_numbers():
    assert all(math.isfinite(hardware_of(name).teraflops(64)) for name in NAMES)
