"""The gallery of the documentation: a picture of each part of a decision's report, in a real browser.

    python benchmarks/pictures.py .regmix/demo        # the home of any study; writes docs/images/report/*.png

It needs Chromium and playwright (the extra dev).
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import Browser, FloatRect, Playwright, sync_playwright

FOLDER = Path(__file__).parents[1] / "docs" / "images" / "report"
WIDTH, HIGHEST = 1100, 1100
"""Pixels; what is higher is cut off at the bottom."""
DRAWN = """[...document.querySelectorAll('.plot')]
    .filter((each) => each.offsetParent)
    .every((each) => each.querySelector('svg'))"""
"""Every figure that is not in a closed part has its picture."""
SECTIONS = ("weights", "confirmation", "predictions", "evidence", "alternatives", "explorer")
"""Ids of the report's parts; one that a study has not is left out."""


def report_of(home: Path) -> Path:
    """The newest report of a home."""
    found = sorted((home / "reports").rglob("*.html"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise SystemExit(f"{home}: no report; run the study first")
    return found[-1]


def browser_of(playwright: Playwright) -> Browser:
    """The machine's Chromium, where it has one; else playwright's own."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    return playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])


def main() -> None:
    """Write a picture of each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--out", type=Path, default=FOLDER)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = browser_of(playwright)
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        page.goto(report_of(given.home).resolve().as_uri())
        page.wait_for_load_state("networkidle")
        # Figures are drawn when they come into view: all of them at once in a window as high as the page.
        page.set_viewport_size({"width": WIDTH, "height": page.evaluate("document.documentElement.scrollHeight")})
        page.wait_for_function(DRAWN, timeout=120_000)
        for name in SECTIONS:
            part = page.locator(f"section#{name}")
            if not part.count():
                print(f"{name}: not in this report")
                continue
            box = part.bounding_box()
            assert box is not None
            path = given.out / f"{name}.png"
            height = min(box["height"], HIGHEST)
            clip: FloatRect = {"x": box["x"], "y": box["y"], "width": box["width"], "height": height}
            page.screenshot(path=path, clip=clip)
            print(f"wrote {path}, {path.stat().st_size / 1e3:.0f} kB")
        browser.close()


if __name__ == "__main__":
    main()
