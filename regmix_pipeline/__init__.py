"""RegMix as a data pipeline: the best pre-training mixture, how sure we are of it, and why it was chosen."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regmix_pipeline.api import Fit, LargeRun, Optimum, Prediction, fit, sample

__version__ = "0.1.0"
__all__ = ["Fit", "LargeRun", "Optimum", "Prediction", "__version__", "fit", "sample"]


def __getattr__(name: str) -> Any:
    # Commands import this package too, and must not wait for regressors.
    if name in __all__:
        from regmix_pipeline import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
