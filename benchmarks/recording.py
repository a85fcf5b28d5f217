"""The recording of the demo in the README: `regmix run --demo` in a terminal, as a picture that moves.

    make recording                                        # minutes: the demo itself is recorded
    python benchmarks/recording.py --cast demo.cast       # rendered again from a recording that is kept

asciinema records the command in an empty folder; nothing is shown that it did not print, but for the folder's own path.
Its time is then scaled to `SECONDS`, pauses of the work first, and termtosvg renders the picture.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "recording.svg"
COMMAND = "regmix run --demo"
SECONDS, LAST = 20.0, 5.0
"""Of the picture, and of its last frame, which has the decision."""
PAUSE = 2.0
"""Seconds that any pause of the recording counts at most."""
COLUMNS, ROWS = 108, 32


def record(cast: Path, folder: Path) -> None:
    """Record the command in a folder, with the interpreter's own `regmix`."""
    tools = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "TERM": "xterm-256color"}
    size = ["--cols", str(COLUMNS), "--rows", str(ROWS)]
    command = [str(tools / "asciinema"), "rec", "--quiet", "--overwrite", *size, "-c", COMMAND, str(cast.resolve())]
    subprocess.run(command, cwd=folder, env=environment, check=True, stdin=subprocess.DEVNULL)
    cast.write_text(cast.read_text().replace(str(folder.resolve()), "~/demo"))


def scaled(lines: list[str], command: str) -> list[str]:
    """A recording's lines with the command typed first, and its time scaled to `SECONDS`."""
    header, *events = map(json.loads, lines)
    gaps = [min(after[0] - before[0], PAUSE) for before, after in pairwise(events)]
    rate = (SECONDS - LAST - 1) / max(sum(gaps), 1e-9)
    times, typed = [1.0], [0.2, "o", f"$ {command}\r\n"]
    for gap in gaps:
        times.append(times[-1] + gap * rate)
    moved = [[round(time, 3), *event[1:]] for time, event in zip(times, events, strict=True)]
    return [json.dumps(each) for each in (header, typed, *moved, [SECONDS, "o", ""])]


def main() -> None:
    """Record, unless a recording is given, and render."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cast", type=Path, help="a recording; made and kept where it does not exist")
    parser.add_argument("--typed", default=COMMAND, help="what the recording shows as typed, of one that is given")
    parser.add_argument("--out", type=Path, default=PICTURE)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cast = given.cast or Path(folder, "demo.cast")
        if not cast.is_file():
            (work := Path(folder, "demo")).mkdir()
            record(cast, work)
        short = Path(folder, "short.cast")
        short.write_text("\n".join(scaled(cast.read_text().splitlines(), given.typed)) + "\n")
        tool = Path(sys.executable).parent / "termtosvg"
        render = [str(tool), "render", str(short), str(given.out), "-m", "120", "-t", "window_frame"]
        subprocess.run(render, check=True)
    print(f"wrote {given.out}, {given.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
