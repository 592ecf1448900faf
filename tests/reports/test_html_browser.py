"""The page of a leaderboard in a real browser: quiet, sortable, readable at every width and in the dark."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helpers.leaderboards import NAMES, make_evidence, make_leaderboard
from helpers.toy_distances import registered_toys

from vdna_metrics.reports.html import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LONG = "a_name_without_any_space_that_is_as_long_as_some_people_make_the_names_of_their_folders_of_samples_kimg25000"

# Contrast of words with what lies behind them, after the Web Content Accessibility Guidelines.
CONTRAST = """() => {
  const parse = text => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const words = "h1, h2, h3, h4, p, li, td, th, small, caption, summary, dd, dt, a, svg text";
  for (const e of document.querySelectorAll(words)) {
    if (!e.checkVisibility() || !e.textContent.trim()) continue;
    const style = getComputedStyle(e);
    const front = parse(e instanceof SVGElement ? style.fill : style.color);
    if (e instanceof SVGElement && style.fill === "rgb(255, 255, 255)") continue;  // on a cell of a heat map
    const [a, b] = [light(front), light(behind(e))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), e.tagName + " " + e.textContent.trim().slice(0, 30)]);
  }
  return found.sort((x, y) => x[0] - y[0]).slice(0, 3);
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's chromium."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no chromium is installed (apt-get install chromium)")
    with api.sync_playwright() as playwright:
        # Its sandbox refuses to run as root, as continuous integration does; the page is our own.
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with all parts and a long name, whose second column is in another order than the first."""
    leaderboard = make_leaderboard([LONG, *NAMES[:3]], networks=["tiny"], metrics=["emd", "lfd"])
    folder = tmp_path_factory.mktemp("report")
    return write_report(leaderboard, make_evidence(leaderboard, generators=2), folder, figures=())


def opened(browser: Browser, path: Path, **options: Any) -> tuple[Page, list[str]]:
    """The page, and what went wrong or was asked for while it was read."""
    page, trouble = browser.new_context(**options).new_page(), []
    page.on("console", lambda message: trouble.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: trouble.append(f"error: {error}"))

    def answer(route: Any) -> None:
        if route.request.url == path.as_uri():
            route.continue_()
        else:
            trouble.append(f"request: {route.request.url[:80]}")
            route.abort()

    page.route(lambda url: not url.startswith("data:"), answer)
    page.goto(path.as_uri())
    return page, trouble


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_it_loads_quietly_at_every_width_and_can_be_read(browser: Browser, path: Path, width: int, scheme: Any) -> None:
    """No message, no request, no scrolling to the side, and words stand out from what lies behind them."""
    page, trouble = opened(browser, path, viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert all(page.evaluate("[...document.images].map(image => image.complete && image.naturalWidth > 0)"))
    for ratio, what in page.evaluate(CONTRAST):
        assert ratio >= 4.5, (what, ratio)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) < 200) == (scheme == "dark")
    assert trouble == []


@pytest.mark.parametrize("key", [None, "Enter", "Space"])
def test_each_column_sorts_both_ways(browser: Browser, path: Path, key: str | None) -> None:
    """By mouse or key: up first, then down; the head says how, the others fall silent, and it is told."""
    page, trouble = opened(browser, path)
    page.locator("#columns summary").click()
    heads = page.locator("#columns .ranking thead th")
    assert heads.count() == 4
    assert heads.nth(1).get_attribute("aria-sort") == "ascending"
    for column in range(heads.count()):
        button = heads.nth(column).get_by_role("button")
        orders = []
        for _ in range(2):
            if key is None:
                button.click()
            else:
                button.press(key)
            keys = page.locator("#columns .ranking tbody tr").evaluate_all(
                "(rows, column) => rows.map(row => row.cells[column].dataset.key)", column
            )
            orders.append([each if column == 0 else float(each) for each in keys])
            assert len(keys) == 4
            told = heads.evaluate_all("all => all.map(head => head.getAttribute('aria-sort'))")
            assert told.count(None) == 3
            assert page.locator("#sorted").inner_text().endswith(str(told[column]))
            if column:
                assert orders[-1] == sorted(orders[-1], reverse=told[column] == "descending")
        assert orders[0] == orders[1][::-1] or column == 3  # all have as many images
    assert trouble == []


def test_a_higher_is_better_column_sorts_the_best_first(browser: Browser, tmp_path: Path) -> None:
    """It is shown, and sorts at the first click, from the largest value down; a distance the other way."""
    with registered_toys():
        leaderboard = make_leaderboard(NAMES[:3], networks=["tiny"], metrics=["entropy", "overlap", "jsd"])
        page, trouble = opened(browser, write_report(leaderboard, make_evidence(leaderboard), tmp_path, figures=()))
    assert page.locator("#ranks .ranking").first.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"
    page.locator("#columns summary").click()
    heads = page.locator("#columns .ranking thead th")  # the distance first, which is the one to report
    for column, first, then in ((2, "descending", "ascending"), (3, "descending", "ascending")):
        for expected in (first, then):
            heads.nth(column).get_by_role("button").click()
            assert heads.nth(column).get_attribute("aria-sort") == expected
            keys = page.locator("#columns .ranking tbody tr").evaluate_all(
                "(rows, column) => rows.map(row => Number(row.cells[column].dataset.key))", column
            )
            assert keys == sorted(keys, reverse=expected == "descending")
    assert trouble == []


def test_every_control_is_reached_and_seen(browser: Browser, path: Path) -> None:
    """The first key press offers to skip to the ranking; Tab then meets every link, head, table and summary in turn."""
    page, _ = opened(browser, path)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0  # type: ignore[index]
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "ranks"
    page, _ = opened(browser, path)
    controls = page.locator("a, button, summary, [tabindex='0']").count()
    met = []
    for _ in range(controls):
        page.keyboard.press("Tab")
        met.append(
            page.evaluate(
                "[document.activeElement.tagName, parseFloat(getComputedStyle(document.activeElement).outlineWidth)]"
            )
        )
    assert all(width >= 2 for _, width in met)
    assert {tag for tag, _ in met} >= {"A", "BUTTON", "SUMMARY", "DIV"}
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") in ("BODY", "A")


def test_without_a_script_all_is_there(browser: Browser, path: Path) -> None:
    """Only sorting is missing, and its arrows with it."""
    page, trouble = opened(browser, path, java_script_enabled=False)
    assert page.locator(".ranking").first.locator("tbody tr").count() == 4
    assert page.locator("summary").count() > 0
    assert trouble == []


def test_on_paper_it_is_light_and_complete(browser: Browser, path: Path) -> None:
    """A print in the dark has dark words on white, and no navigation."""
    page, _ = opened(browser, path, color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert max(map(int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).color")))) < 80
    assert not page.locator("nav").is_visible()
    assert page.locator(".ranking").first.is_visible()
