"""What a command reported becomes a finished proxy: a folder that appears whole or not at all."""

from __future__ import annotations

import platform
from typing import Any

from regmix_pipeline.files import folder_written_atomically, read_json, sha256_of, write_json
from regmix_pipeline.proxies.commands.inputs import run_folder
from regmix_pipeline.proxies.commands.reported import Reported, read_reported
from regmix_pipeline.proxies.integrity import RECORD, REPORTED, TRAJECTORY, trajectory_schema
from regmix_pipeline.proxies.spec import COMMAND_CODE, ProxySpec


def finish(spec: ProxySpec, seconds: float) -> dict[str, Any]:
    """Check what a command reported, and make the finished proxy of it.

    Args:
        spec: the proxy.
        seconds: that the command took; 0 where nobody watched it.

    Returns:
        What `proxy.json` holds.

    Raises:
        FileNotFoundError: nothing was reported.
        ProxyError: what was reported is not whole, or not what was asked for.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    reported = read_reported(run_folder(spec) / REPORTED, spec)
    tokens, available = sum(reported.tokens.values()), spec.available_tokens
    value = {
        "id": spec.id,
        "mixture": spec.exact_mixture.id,
        "seed": spec.seed,
        "spec": spec.model_dump(mode="json"),
        "steps": reported.step,
        "tokens": tokens,
        "domains": {
            domain: {
                "tokens": reported.tokens.get(domain, 0),
                "available_tokens": available[domain],
                "epochs": reported.tokens.get(domain, 0) / available[domain],
            }
            for domain, _ in spec.exact_mixture.parts
        },
        "parameters": reported.parameters,
        "training_loss": reported.training_loss,
        "seconds": {"total": round(seconds, 4)},
        "tokens_per_second": round(tokens / seconds, 1) if seconds else None,
        "device": "command",
        "versions": {"code": COMMAND_CODE, "python": platform.python_version()},
    }
    with folder_written_atomically(spec.output) as temporary:
        # Its checksum is the evidence's: what a trainer does not report leaves no trace in it.
        write_json(
            temporary / REPORTED, reported.model_dump(mode="json", exclude=None if reported.training else {"training"})
        )
        value["sha256"] = sha256_of(temporary / REPORTED)
        rows = pa.Table.from_pylist(_trajectory(reported, spec), schema=trajectory_schema())
        pq.write_table(rows, temporary / TRAJECTORY)
        write_json(temporary / RECORD, value)
    return read_json(spec.output / RECORD)


def _trajectory(reported: Reported, spec: ProxySpec) -> list[dict[str, Any]]:
    return [
        {
            "target": name,
            "target_version": spec.targets[name].measure_version,
            "step": point.step,
            "tokens": point.tokens,
            **loss_fields(loss.model_dump()),
        }
        for point in reported.trajectory
        for name, loss in point.losses.items()
    ] + [step.model_dump() for step in sorted(reported.training, key=lambda step: step.step)]


def loss_fields(loss: dict[str, Any]) -> dict[str, Any]:
    """A reported loss with all the fields of a measured one; None for what nobody said."""
    fields = ("loss", "standard_error", "bits_per_byte", "bits_per_byte_standard_error", "evaluated_tokens")
    found: dict[str, Any] = dict.fromkeys(fields) | loss
    if found["standard_error"] is not None and found["bits_per_byte"] is not None and found["loss"]:
        found["bits_per_byte_standard_error"] = found["standard_error"] * found["bits_per_byte"] / found["loss"]
    return found
