"""The `regmix` command, quiet on Ctrl-C from its first moment: its imports take seconds."""

from __future__ import annotations

import os
import signal
from typing import Any


def main() -> None:
    """Import the command line and run it."""
    signal.signal(signal.SIGINT, _leave)
    from regmix_pipeline.cli import app

    try:
        app(prog_name="regmix")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _leave(number: int, _: Any) -> None:
    os.write(2, b"interrupted\n")
    os._exit(128 + number)


if __name__ == "__main__":
    main()
