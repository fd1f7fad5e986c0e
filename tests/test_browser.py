"""Pages in headless Chromium with the network off, and the real JupyterLab."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medlab import ROOT

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SCREENSHOTS = os.environ.get("MEDLAB_SCREENSHOTS")
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM:
        assert not os.environ.get("CI"), "CI needs Chromium (apt-get install chromium)"
        pytest.skip("no Chromium on this machine: pages are not looked at")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
            ],
        )
        yield chromium
        chromium.close()


def watched(browser, **options):
    """A page that records console errors and requests that leave the machine."""
    page = browser.new_context(**options).new_page()
    page.problems = []
    page.on("console", lambda message: message.type == "error" and page.problems.append(message.text))
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("requestfailed", lambda request: page.problems.append(f"request for {request.url}"))
    page.on(
        "request",
        lambda request: (
            request.url.startswith(("file:", "data:")) or page.problems.append(f"request for {request.url}")
        ),
    )
    return page


def screenshot(page, name):
    if SCREENSHOTS:
        Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png", full_page=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_offline(browser, demo, scheme):
    folder, _ = demo
    reports = folder / "reports"
    page = watched(browser, offline=True, color_scheme=scheme, java_script_enabled=False)
    for path in [reports / "index.html", *sorted((reports / "demo").glob("*.html"))]:
        page.goto(path.as_uri())
        assert page.problems == [], path.name
        images = page.locator("img").count()
        assert path.parent != reports / "demo" or images > 0, path.name
        for address in page.locator("a").evaluate_all("list => list.map(a => a.getAttribute('href'))"):
            if address and not address.startswith(("http", "#", "mailto")):
                assert (path.parent / address.split("#")[0]).exists(), f"{path.name}: {address}"
        screenshot(page, f"{path.parent.name}-{path.stem}-{scheme}")


def test_every_image_is_drawn(browser, demo):
    folder, _ = demo
    page = watched(browser, offline=True)
    for path in sorted((folder / "reports" / "demo").glob("*.html")):
        page.goto(path.as_uri())
        widths = page.locator("img").evaluate_all("list => list.map(i => i.complete ? i.naturalWidth : 0)")
        assert widths and min(widths) > 50, path.name
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1"), path.name
        assert page.problems == [], path.name


def test_the_first_screen_answers_and_every_content_is_one_click_away(browser, demo):
    folder, _ = demo
    page = watched(browser, offline=True, viewport={"width": 1200, "height": 800}, java_script_enabled=False)
    for path in sorted((folder / "reports" / "demo").glob("0*.html")):
        page.goto(path.as_uri())
        for first in ("h1", ".question", ".answer p", ".answer .medlab-key .amount"):
            box = page.locator(first).first.bounding_box()
            assert box and box["y"] + box["height"] <= 800, f"{path.name}: {first}"
        assert page.locator("main").bounding_box()["height"] < 8000, path.name
        links = page.locator(".contents.wide a")
        assert links.count() > 3 and not page.locator(".contents.narrow").is_visible()
        for i in range(links.count()):
            target = links.nth(i).get_attribute("href")
            page.goto(f"{path.as_uri()}{target}")
            assert page.locator(target).is_visible() and page.locator(target).bounding_box()["height"] > 10, target
        assert page.locator("nav.steps a").count() >= 3 and page.problems == []
        assert not page.locator(".code .source").first.is_visible()
        page.locator(".contents.wide .all-code").click()
        shown = page.locator("section.section .code .source")
        assert shown.count() and all(shown.nth(i).is_visible() for i in range(shown.count())), path.name


def test_the_list_of_runs_is_filtered_by_dataset_without_a_script(browser, tmp_path):
    from medlab.engine import pages
    from medlab.statistics import keys

    row = dict(state="done", title="T", synthetic=False, numbers=[keys.number("AUC", 0.0)], finished="2026-01-01 10:00")
    rows = [dict(row, run=name, dataset=dataset, repeats=[dict(row, run=f"{name}-s0", dataset=dataset)] * (name == "b"))
            for name, dataset in (("a", "thorax"), ("b", "brain"), ("c", "thorax"))]
    (tmp_path / "index.html").write_text(pages.runs_index(rows))
    page = watched(browser, offline=True, java_script_enabled=False)
    page.goto((tmp_path / "index.html").as_uri())
    lines = page.locator("table.runs > tbody")
    assert [lines.nth(i).is_visible() for i in range(3)] == [True] * 3 and "AUC 0.000" in lines.first.inner_text()
    assert not page.get_by_role("link", name="b-s0").is_visible()
    page.get_by_role("link", name="thorax").click()
    assert [lines.nth(i).is_visible() for i in range(3)] == [True, False, True]


def pages_of(data):
    return len(re.findall(rb"/Type\s*/Page[^s]", data))


def test_pages_on_a_telephone_and_on_paper(browser, demo):
    folder, _ = demo
    page = watched(browser, offline=True, viewport={"width": 390, "height": 844})
    for path in [folder / "reports" / "index.html", *sorted((folder / "reports" / "demo").glob("*.html"))]:
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1"), path.name
    screenshot(page, "demo-index-telephone")
    page.goto((folder / "reports" / "demo" / "04_evaluation.html").as_uri())
    assert page.locator(".contents.narrow").is_visible() and not page.locator(".contents.wide").is_visible()
    screenshot(page, "demo-04-telephone")
    page.emulate_media(media="print")
    assert not page.locator(".code label").first.is_visible() and not page.locator("nav.steps").is_visible()
    a4 = dict(format="A4", margin=dict.fromkeys(("top", "bottom", "left", "right"), "12mm"))
    assert len(page.pdf(**a4)) > 20_000
    page.goto((folder / "reports" / "demo" / "index.html").as_uri())
    assert pages_of(page.pdf(**a4)) <= 2


def test_an_attack_in_the_data_stays_text(browser, tmp_path):
    import nbformat

    from medlab.engine import pages

    attack = "<img src=x onerror=\"document.title='owned'\"><svg onload=\"document.title='owned'\"></svg>"
    output = nbformat.v4.new_output(
        "display_data",
        {
            "text/html": attack,
            "image/svg+xml": f"<svg>{attack}</svg>",
            "application/javascript": "document.title='owned'",
        },
    )
    stream = nbformat.v4.new_output("stream", text=attack + "<script>document.title='owned'</script>")
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell(f"# x\n{attack}\n<script>document.title='owned'</script>"),
            nbformat.v4.new_code_cell("1", outputs=[output, stream]),
        ]
    )
    html = pages.notebook_page(
        notebook, f"safe {attack}", dict(state="done", text=attack), [(attack, [(attack,) * 2])], []
    )
    (tmp_path / "page.html").write_text(html)
    page = browser.new_context(offline=True).new_page()
    page.goto((tmp_path / "page.html").as_uri())
    time.sleep(0.3)
    assert page.title().startswith("safe ")


@pytest.fixture(scope="module")
def laboratory(demo):
    """A real JupyterLab server on a copy of the notebooks; yields its address."""
    folder, environment = demo
    shutil.copytree(ROOT / "notebooks", folder / "lab")
    shutil.copytree(folder / "reports", folder / "lab_reports")  # a run by hand withdraws pages others look at
    environment = {**environment, "MEDLAB_REPORTS": str(folder / "lab_reports")}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "jupyterlab",
            "--no-browser",
            "--ip=127.0.0.1",
            f"--port={port}",
            "--allow-root",
            "--IdentityProvider.token=check",
            f"--notebook-dir={folder / 'lab'}",
            "--LabApp.news_url=None",
        ],
        env={**environment, "JUPYTER_CONFIG_DIR": str(folder / "config")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.2)
    yield f"http://127.0.0.1:{port}/lab/tree/01_data_exploration.ipynb?token=check"
    server.terminate()
    server.wait(timeout=20)


def test_jupyterlab_runs_notebook_01_and_shows_its_figures(browser, laboratory, demo):
    from playwright.sync_api import Error

    folder, _ = demo
    page = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    page.goto(laboratory)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=180_000)
    page.get_by_text("| Idle").first.wait_for(timeout=120_000)  # before its kernel is ready it runs nothing
    for attempt in range(6):  # a menu that opens while JupyterLab is still starting closes again
        page.get_by_role("menuitem", name="Run", exact=True).click()
        try:
            page.get_by_text("Run All Cells", exact=True).click(timeout=5_000)
            break
        except Error:
            assert attempt < 5, "JupyterLab shows no 'Run All Cells'"
            page.keyboard.press("Escape")
            time.sleep(3)
    cohort = folder / "lab_reports" / "demo" / "cohort.parquet"
    before = cohort.stat().st_mtime
    for _ in range(600):
        if cohort.stat().st_mtime > before:
            break
        time.sleep(0.2)
    assert cohort.stat().st_mtime > before, "notebook 01 did not finish in JupyterLab"
    seen = set()
    for _ in range(60):
        page.locator(".jp-Notebook").first.hover()
        page.mouse.wheel(0, -900)  # the run ended at the last cell
        time.sleep(0.15)
        seen |= set(
            page.locator(".jp-RenderedImage img").evaluate_all(
                "list => list.filter(i => i.naturalWidth > 50).map(i => i.src.slice(-200))"
            )
        )
        if len(seen) >= 3:
            break
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / "jupyterlab.png")
    assert len(seen) >= 3, "figures of notebook 01 in JupyterLab"
    assert not re.search(
        r"Error", " ".join(page.locator(".jp-OutputArea-output.jp-mod-error").all_inner_texts())
    )
