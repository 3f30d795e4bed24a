"""The page of `gcvit serve` in a real browser: what a person does, how long maps take, and pictures of it.

    python runs/serve_page.py ADDRESS PHOTO.jpg FOLDER [--browser /usr/bin/chromium]

ADDRESS: of a `gcvit serve` that runs already. Needs `pip install playwright` and a Chromium. Writes laptop.png,
dark.png and phone.png to FOLDER, prints the time from pointer to map, and exits with 1 when a request leaves the
machine, a script fails, or a view is not what its link says.
"""

import argparse
import sys
from functools import partial
from io import BytesIO
from pathlib import Path
from statistics import quantiles
from typing import Any

from PIL import Image
from playwright.sync_api import Page, Request, sync_playwright

QUIET = ["no-sandbox", "disable-gpu", "disable-background-networking", "disable-component-update", "disable-sync"]
UNNAMED = "[...document.querySelectorAll('canvas, img')].filter((x) => !(x.alt || x.ariaLabel)).length"
SCREENS: dict[str, dict[str, Any]] = {
    "laptop": {"viewport": {"width": 1280, "height": 860}},
    "dark": {"viewport": {"width": 1280, "height": 860}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2},
}


LARGEST = 300_000  # bytes of a picture


def save(shot: bytes, path: Path) -> None:
    """Write a screenshot as a PNG with a palette, of as many colours as `LARGEST` allows."""
    for colours in (256, 224, 192, 160, 128, 64):
        content = BytesIO()
        picture = Image.open(BytesIO(shot)).convert("RGB").quantize(colours, dither=Image.Dither.NONE)
        picture.save(content, "PNG", optimize=True)
        if content.tell() <= LARGEST:
            break
    path.write_bytes(content.getvalue())


def send(page: Page, photo: Path) -> None:
    """Choose a picture and wait until its answer and maps are there."""
    with page.expect_response(lambda answer: "/target?" in answer.url):
        page.set_input_files("#file", photo)
    page.locator("#answer li").first.wait_for()


def times(page: Page, moves: int = 40) -> list[float]:
    """Milliseconds from a movement of the pointer until the maps of that place are drawn."""
    box = page.locator("#picture").bounding_box()
    assert box is not None
    found = []
    for number in range(moves):
        x, y = (0.05 + 0.9 * (number * step % 1) for step in (0.618, 0.382))
        with page.expect_response(lambda answer: "/point?" in answer.url) as told:
            start = page.evaluate("performance.now()")
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        told.value.finished()
        page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        found.append(page.evaluate("performance.now()") - start)
    return found


def check(page: Page, linked: Page) -> list[str]:
    """What is wrong: the keyboard, the link, texts for who cannot see."""
    wrong = []
    page.click("summary")
    page.focus("#x")
    before = page.url
    page.keyboard.press("ArrowRight")
    if page.url == before:
        wrong.append("the keyboard does not move the point")
    linked.goto(page.url)
    linked.locator("#answer li").first.wait_for()
    if linked.url != page.url:
        wrong.append(f"the link {page.url} shows {linked.url}")
    if unnamed := page.evaluate(UNNAMED):
        wrong.append(f"{unnamed} pictures have no text for who cannot see them")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("photo", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--browser", default="/usr/bin/chromium")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    wrong: list[str] = []

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.browser, args=[f"--{flag}" for flag in QUIET])
        for name, screen in SCREENS.items():
            page = browser.new_context(**screen).new_page()
            page.on("pageerror", partial(_failed, wrong))
            page.on("request", partial(_asked, wrong, options.address))
            page.goto(options.address)
            send(page, options.photo)
            times(page, 1)
            page.wait_for_timeout(1000)
            save(page.screenshot(full_page=True), options.folder / f"{name}.png")
            if name == "laptop":
                found = quantiles(times(page), n=20)
                print(f"from pointer to map: median {found[9]:.0f} ms, 95% below {found[18]:.0f} ms")
                wrong += check(page, browser.new_context(**screen).new_page())
        browser.close()
    print(*wrong, sep="\n", file=sys.stderr)
    return int(bool(wrong))


def _failed(wrong: list[str], error: object) -> None:
    wrong.append(f"script: {error}")


def _asked(wrong: list[str], address: str, sent: Request) -> None:
    if not sent.url.startswith((address, "blob:", "data:")):
        wrong.append(f"asked for {sent.url}")


if __name__ == "__main__":
    raise SystemExit(main())
