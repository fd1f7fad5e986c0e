"""Pages in headless Chromium with the network off, and the real JupyterLab."""

import json
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
        assert page.evaluate("document.documentElement.scrollHeight") <= 8000, path.name
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
def laboratory(tmp_path_factory):
    """A project under git with the notebooks, and the real JupyterLab that `medlab lab` starts on it."""
    folder = tmp_path_factory.mktemp("laboratory")
    for name in ("notebooks", "data", "reports"):
        (folder / name).mkdir()
    for name in ("00_start", "01_data_exploration"):
        text = (ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
        (folder / "notebooks" / f"{name}.ipynb").write_text(text.replace("forest_trees=200", "gallery_size=6"))
    (folder / ".gitignore").write_text("/00_start.ipynb\n/config\n/data/*\n/reports/*\n.ipynb_checkpoints\n")
    git(folder, "init", "--quiet")
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "as it is")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    places = {f"MEDLAB_{name.upper()}": str(folder / name) for name in ("notebooks", "data", "reports")}
    server = subprocess.Popen(
        [sys.executable, "-m", "medlab", "lab", "--allow-root", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
         "--IdentityProvider.token=check"],
        env={**os.environ, **places, "JUPYTER_CONFIG_DIR": str(folder / "config")},
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(2000):  # on a busy machine it takes minutes
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.2)
    yield folder, f"http://127.0.0.1:{port}"
    server.terminate()
    try:
        server.wait(timeout=60)
    except subprocess.TimeoutExpired:
        server.kill()


def git(folder, *words):
    return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True).stdout


def run_all(page):
    """Run All of the notebook that is open, once its kernel is ready."""
    from playwright.sync_api import Error

    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=180_000)
    page.get_by_text("| Idle").first.wait_for(timeout=120_000)  # before its kernel is ready it runs nothing
    for attempt in range(6):  # a menu that opens while JupyterLab is still starting closes again
        page.get_by_role("menuitem", name="Run", exact=True).click()
        try:
            return page.get_by_text("Run All Cells", exact=True).click(timeout=30_000)
        except Error:
            assert attempt < 5, "JupyterLab shows no 'Run All Cells'"
            page.keyboard.press("Escape")
            time.sleep(3)


def eventually(what, seconds=500):
    for _ in range(seconds * 5):
        if what():
            return True
        time.sleep(0.2)
    return False


def test_from_a_source_to_pages_and_to_a_copy_changed_by_hand_in_jupyterlab(browser, laboratory):
    folder, address = laboratory
    run, page = folder / "reports" / "first", browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    page.goto(f"{address}/?token=check")  # opens 00_start
    page.get_by_role("tab", name="00_start.ipynb").wait_for(timeout=180_000)
    listed = page.locator(".jp-DirListing-itemText")
    assert eventually(lambda: {"data", "notebooks", "reports"} <= set(listed.all_inner_texts()))
    run_all(page)
    assert eventually((run / "index.html").exists)
    page.locator("a", has_text="01_data_exploration").first.wait_for(timeout=600_000)
    said = " ".join(page.locator(".jp-OutputArea-output").all_inner_texts())
    assert "[first] 01_data_exploration: done in" in said and "299 events" in said
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / "jupyterlab-start.png")
    published = (run / "01_data_exploration.html").read_text()
    copy = run / "copies" / "01_data_exploration.ipynb"
    copy.write_text(copy.read_text().replace("gallery_size: int = 6", "gallery_size: int = 3"))
    page.goto(f"{address}/lab/tree/{copy.relative_to(folder)}?reset&token=check")
    page.get_by_role("tab", name="01_data_exploration.ipynb").wait_for(timeout=180_000)
    run_all(page)
    assert eventually(lambda: "gallery_size: 3" in (run / "params.yaml").read_text())
    shown = page.locator(".jp-RenderedImage img")
    assert eventually(lambda: shown.count() and shown.first.evaluate("i => i.naturalWidth") > 50), "no figure"
    page.keyboard.press("Control+S")
    assert eventually(lambda: any(cell.get("outputs") for cell in json.loads(copy.read_text())["cells"]))
    assert not page.locator(".jp-OutputArea-output.jp-mod-error").count()
    now = (run / "01_data_exploration.html").read_text()
    assert "Executed by hand since" in now and now.split("</div>", 1)[1][-5000:] == published[-5000:]
    for index in (run / "index.html", folder / "reports" / "index.html"):
        assert 'class="badge hand"' in index.read_text(), index
    page.goto(f"{address}/lab/tree/notebooks/01_data_exploration.ipynb?reset&token=check")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=180_000)
    page.keyboard.press("Control+S")
    time.sleep(2)
    assert not page.get_by_text("Jupyter news").count()
    assert git(folder, "status", "--porcelain") == ""
