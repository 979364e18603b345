"""Make assets/readme.png again: the scrubber at step 11 of 20, on a saved page in headless
Chromium.

    python tools/readme_picture.py

For new weights or a new look of the scrubber. Needs Chromium and what requirements-test.txt
installs.
"""

import io
import tempfile
from pathlib import Path

import torch
from PIL import Image
from playwright.sync_api import sync_playwright

from course_lib import Scrubber, autocast, clipped, load_denoiser, sample_ddim
from course_lib.data import CLASSES
from tools.ci import browser_path

ROOT = Path(__file__).resolve().parents[1]
STEP, CALLS, IMAGES = 11, 20, 40


def scrubber() -> Scrubber:
    """Forty images, four of each class, in 20 calls."""
    shipped = load_denoiser("ddpm-fashion")
    plan, device = shipped.schedule, next(shipped.net.parameters()).device
    noise = torch.randn(IMAGES, 1, 28, 28, generator=torch.Generator().manual_seed(0)).to(
        device
    )
    labels = torch.arange(IMAGES, device=device) % 10
    with autocast(device):
        steps = list(
            sample_ddim(clipped(shipped, plan), plan, noise, plan.times(CALLS), labels)
        )
    titles = [CLASSES[k] for k in labels.tolist()]
    return Scrubber(
        steps, plan, title=f"DDIM, {CALLS} calls of the network", titles=titles, columns=8
    )


def main():
    bundle, _ = scrubber()._repr_mimebundle_()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        saved = Path(folder) / "page.html"
        saved.write_text(
            "<!doctype html><meta charset=utf-8>" + bundle["text/html"], encoding="utf-8"
        )
        path = browser_path()
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1140, "height": 900})
        page.goto(saved.as_uri())
        marble = page.frame_locator("iframe").locator(".marble")
        marble.wait_for()
        slider = marble.locator("[role=slider]")
        slider.focus()
        for _ in range(STEP):
            page.keyboard.press("ArrowRight")
        slider.evaluate("(node) => node.blur()")
        page.wait_for_timeout(500)
        picture = Image.open(io.BytesIO(marble.screenshot()))
        browser.close()
    picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=256).save(
        ROOT / "assets" / "readme.png", optimize=True
    )


if __name__ == "__main__":
    main()
