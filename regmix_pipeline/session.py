"""A command in a session of its own, all of whose processes end with this one: `run_session`.

Run as a module, ``python -P -m regmix_pipeline.session COMMAND...``, it is the first process of that session: it starts
the command, and kills the whole session once its input ends, which is when whoever started it ends, however that ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

from regmix_pipeline.processes import command, module_search


def run_session(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command and wait for it; returns its status. An exception, such as a signal's, ends all its processes.

    Args:
        words: the command. What it and its children print appears here.
        environment: its whole environment.
    """
    first = subprocess.Popen(
        [*command("regmix_pipeline.session"), *words],
        stdin=subprocess.PIPE,
        env={**environment, "PYTHONPATH": module_search()},
        start_new_session=True,
    )
    try:
        return first.wait()
    finally:
        # Also when the first process itself was killed: the session's others are there still.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(first.pid, signal.SIGKILL)
        first.wait()


def main(words: Sequence[str]) -> int:
    """Run the command; see this module."""
    # Nobody ignores a signal: Dagster takes SIGTERM for what it was started to do on SIGINT.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_DFL)
    threading.Thread(target=_end_with_input, daemon=True).start()
    return subprocess.call(words, stdin=subprocess.DEVNULL)


def _end_with_input() -> None:
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
