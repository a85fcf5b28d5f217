"""The demo's study file, which the package brings along."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from regmix_pipeline.files import written_atomically
from regmix_pipeline.progress import Say, to_stderr
from regmix_pipeline.study.file import DEMO, default_study_file


def demo_study(say: Say = to_stderr) -> Path:
    """The demo's study file: the one that is here, else a new demo.yaml in the working folder.

    It is a file of the user's own, not the package's: the home and the corpora lie beside it, and it can be edited.
    """
    here = default_study_file()
    if here.name == DEMO and here.is_file():
        say(f"{here} is there already, and is used as it is")
        return here
    path = Path(DEMO)
    text = resources.files("regmix_pipeline.study_init").joinpath(DEMO).read_text(encoding="utf-8")
    first, rest = text.split("\n", 1)
    with written_atomically(path) as temporary:
        # The first line names the schema that is beside the file in the repository.
        temporary.write_text(rest if "yaml-language-server" in first else text, encoding="utf-8")
    say(f"wrote {path}, the study to be run")
    return path
