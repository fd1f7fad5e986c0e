"""Pictures of the README: the first screen of pages of the demo runs, as they are now (`make pictures`)."""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
PAGES = {"index": "demo/index", "01": "demo/01_data_exploration", "04": "demo/04_evaluation",
         "05": "demo/05_survival_analysis", "06": "demo-lesions/06_segmentation", "09": "demo-fmri/09_fmri"}
WIDTH = 640  # pixels of a picture


def main() -> None:
    """Write docs/pictures/NAME.png of every page that exists; pages that do not are named."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        for name, path in PAGES.items():
            source = ROOT / "reports" / f"{path}.html"
            if not source.exists():
                print(f"reports/{path}.html is not there: docs/pictures/{name}.png stays as it is", file=sys.stderr)
                continue
            page.goto(source.as_uri())
            picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.LANCZOS)
            picture.quantize(128).save(Path(__file__).with_name(f"{name}.png"), optimize=True)
        browser.close()


if __name__ == "__main__":
    main()
