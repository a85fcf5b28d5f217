"""Settings of torch in every process that trains or measures."""

from __future__ import annotations

import os


def prepare_torch() -> None:
    """One thread, no slow denormals, and kernels that always add in one order where the environment asks for them."""
    import torch

    if os.environ.get("REGMIX_DETERMINISTIC") == "1":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA is first used
        torch.use_deterministic_algorithms(True)

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # AdamW's averages decay into denormals, which are slow
