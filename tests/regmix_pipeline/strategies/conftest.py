"""What tests of strategies share."""

import pytest


@pytest.fixture(scope="session")
def small_proxy():
    """Settings of the smaller of a comparison's two sizes of proxy."""
    return {
        "preset": "demo",
        "model": {"context": 32, "layers": 1, "width": 16, "heads": 2, "ffn_width": 32},
        "training": {"tokens": 16_384, "windows_per_step": 16, "learning_rate": 0.02},
    }


@pytest.fixture(autouse=True)
def usual_arithmetic():
    """Sessions set torch up as workers have it; whatever runs after a test gets the usual arithmetic back."""
    yield
    import torch

    torch.set_flush_denormal(False)
