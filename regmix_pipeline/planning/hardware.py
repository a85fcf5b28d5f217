"""Hardware that a study is planned for: a small catalogue, or a YAML file of one's own."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from regmix_pipeline.errors import PlanError
from regmix_pipeline.study.settings.base import Settings

CATALOGUE = Path(__file__).with_name("hardware.yaml")


class Hardware(Settings):
    """Devices alike, and what they cost. Everything a device does is per device, whatever proxies share it."""

    name: str = ""
    """What to call it."""
    description: str = ""
    """One sentence."""
    kind: Literal["cuda", "cpu"] = "cuda"
    """cuda: GPUs. cpu: a device is a core with its share of the memory, and trains one proxy."""
    devices: int = Field(ge=1, le=1_000_000)
    """How many."""
    peak_teraflops: float | None = Field(default=None, gt=0)
    """Peak of a device, TFLOP/s, of which mfu is a share."""
    mfu: dict[int, float] = Field(default_factory=dict)
    """Width of a model -> share of the peak that its whole training steps reach; in between, a line in log width."""
    sustained_teraflops: dict[int, float] = Field(default_factory=dict)
    """Width of a model -> TFLOP/s of its whole training steps on a device, instead of peak and mfu."""
    memory_gb: float = Field(gt=0)
    """Memory of a device, GB."""
    proxies_per_device: int = Field(default=1, ge=1)
    """Proxies that train on a device at once, as one program; fewer where memory asks for it."""
    cores: int = Field(default=8, ge=1)
    """CPU cores of all machines together, for tokenising and fitting."""
    price_per_hour: float = Field(default=0.0, ge=0)
    """Of one device."""
    currency: str = "USD"
    """Of the prices."""
    disk_price: float = Field(default=0.0, ge=0)
    """Per GB and month."""

    @model_validator(mode="after")
    def _rated(self) -> Hardware:
        if bool(self.sustained_teraflops) == bool(self.mfu):
            raise ValueError("give either sustained_teraflops, or mfu with peak_teraflops")
        if self.mfu and self.peak_teraflops is None:
            raise ValueError("mfu is a share of peak_teraflops, which is missing")
        for name, rates in (("mfu", self.mfu), ("sustained_teraflops", self.sustained_teraflops)):
            wrong = [width for width, rate in rates.items() if width < 1 or not 0 < rate < math.inf]
            wrong += [width for width, rate in self.mfu.items() if rate > 1] if name == "mfu" else []
            if wrong:
                raise ValueError(f"{name}.{wrong[0]}: a width is at least 1, a rate above 0, and a share at most 1")
        return self

    def teraflops(self, width: int) -> float:
        """TFLOP/s of a device at training models of this width."""
        rates = self.sustained_teraflops or {at: share * (self.peak_teraflops or 0) for at, share in self.mfu.items()}
        widths = sorted(rates)
        if width <= widths[0]:
            return rates[widths[0]]
        for low, high in itertools.pairwise(widths):
            if width <= high:
                share = math.log(width / low) / math.log(high / low)
                return rates[low] + share * (rates[high] - rates[low])
        return rates[widths[-1]]


def hardware_of(name: str, devices: int | None = None) -> Hardware:
    """An entry of the catalogue, or a YAML file.

    Args:
        name: of an entry, or a path.
        devices: how many, instead of what it says; cores grow with them.

    Raises:
        PlanError: there is neither, or the file is wrong: naming the file and the field.
    """
    catalogue = yaml.safe_load(CATALOGUE.read_text(encoding="utf-8"))
    if name in catalogue:
        found = _checked({"name": name} | catalogue[name], CATALOGUE)
    elif Path(name).suffix in (".yaml", ".yml") or Path(name).exists():
        found = _checked(_read(Path(name)), Path(name))
    else:
        raise PlanError(
            f"no hardware {name!r}",
            where="--hardware",
            remedy=f"choose one of {', '.join(catalogue)}, or give a YAML file; docs/planning.md lists its fields",
        )
    if devices is None:
        return found
    cores = max(1, round(found.cores * devices / found.devices))
    return found.model_copy(update={"devices": devices, "cores": cores})


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise PlanError(f"cannot be read: {error.strerror}", where=str(path), remedy="give a file") from error
    except UnicodeDecodeError as error:
        raise PlanError("not UTF-8", where=str(path), remedy="save the file as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or error
        raise PlanError(f"not valid YAML: {problem}", where=where, remedy="correct the line") from error
    if not isinstance(raw, dict):
        raise PlanError("the file holds no fields", where=str(path), remedy=_REMEDY)
    return {"name": path.stem} | raw


_REMEDY = "docs/planning.md lists the fields; give for instance devices: 8 and sustained_teraflops: {256: 40}"


def _checked(raw: dict[str, Any], path: Path) -> Hardware:
    try:
        return Hardware.model_validate(raw)
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in item['loc']) or 'hardware'}: " + re.sub("^Value error, ", "", item["msg"])
            for item in error.errors()
        ]
        raise PlanError("; ".join(lines), where=str(path), remedy=_REMEDY) from error
