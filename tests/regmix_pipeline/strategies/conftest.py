"""Sessions set torch up as workers have it; whatever runs after these tests gets the usual arithmetic back."""

import pytest


@pytest.fixture(autouse=True)
def usual_arithmetic():
    yield
    import torch

    torch.set_flush_denormal(False)
