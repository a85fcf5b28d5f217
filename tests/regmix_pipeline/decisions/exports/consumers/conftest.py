"""What lets the consuming libraries load beside each other."""

import importlib.metadata

import pytest


@pytest.fixture(autouse=True, scope="session")
def torchvision_beside_any_torch():
    """Let torchvision load where its compiled part does not fit torch's build.

    litgpt and streaming import torchvision for images, which nothing here holds. The package index has it for CUDA
    alone, and beside a torch for CPUs it cannot find its own operators when it registers them.
    """
    import torch

    try:
        importlib.metadata.version("torchvision")
    except importlib.metadata.PackageNotFoundError:
        yield
        return
    if torch.version.cuda is None:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
        yield library
    else:
        yield
