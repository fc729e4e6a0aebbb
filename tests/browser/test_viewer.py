"""The viewer in a real browser: by keyboard alone, in both themes, with nothing loaded and nothing complained about.

The accessibility scan needs axe.min.js of the npm package axe-core (AXE=path, or node_modules/ here).
"""

import os
import re
import time
from pathlib import Path

import numpy as np
import pytest

from minattn.plots import AttentionView

ROOT = Path(__file__).parents[2]
AXE = Path(os.environ.get("AXE") or ROOT / "node_modules" / "axe-core" / "axe.min.js")
WORDS = "The cat sat on the mat .".split()

pytestmark = pytest.mark.browser


@pytest.fixture
def visit(browser, tmp_path):
    """visit(html, **options of the context) -> the page. In the end: nothing was loaded, nothing went wrong."""
    contexts, wrong = [], []

    def visit(text, **options):
        path = tmp_path / f"view{len(contexts)}.html"
        path.write_text(text, encoding="utf-8")
        contexts.append(browser.new_context(**{"viewport": {"width": 1000, "height": 800}, **options}))
        page = contexts[-1].new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: wrong.append(request.url) if not local(request.url) else None)
        page.goto(path.as_uri())
        return page

    def local(url):
        return url.startswith(("file:", "data:", "blob:"))

    yield visit
    for context in contexts:
        context.close()
    assert wrong == []


def causal(L=3, H=4, T=7, seed=0):
    scores = np.random.default_rng(seed).normal(size=(L, H, T, T)) * 2
    e = np.where(np.tril(np.ones((T, T), dtype=bool)), np.exp(scores), 0)
    return e / e.sum(axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def weights():
    return causal()


@pytest.fixture(scope="module")
def text(weights):
    return AttentionView(weights, WORDS, title="a causal reader").to_html(full_page=True)


def said(page):
    return page.locator("[role=status]").first.inner_text()


def shown(page):
    """Layer and head, as the choices say."""
    return tuple(page.locator("select").nth(i).evaluate("e => e.selectedIndex") for i in (0, 1))


def focused(page):
    """The list and the place of the token that has the focus."""
    return page.evaluate(
        "() => { const e = document.activeElement, list = e.closest('[role=listbox]');"
        " return list && [list.getAttribute('aria-label'), [...list.children].indexOf(e)]; }"
    )


def tab_to(page, name):
    for _ in range(12):
        page.keyboard.press("Tab")
        if (focused(page) or [None])[0] == name:
            return
    raise AssertionError(f"Tab does not lead to {name}")


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def test_the_still_layer_gives_way(visit, text):
    page = visit(text)
    assert page.locator(".live").is_visible() and not page.locator("table").is_visible()
    assert page.locator("[role=option]").all_inner_texts()[0].split() == ["The", "1.00"]


def test_without_scripts_the_still_layer_stands(visit, text):
    page = visit(text, java_script_enabled=False)
    assert page.locator("table").is_visible() and page.locator("img").is_visible()
    assert page.locator("summary").is_visible() and not page.locator(".live").is_visible()


def test_every_head_by_keyboard(visit, text):
    page = visit(text)
    tab_to(page, "Queries")
    press(page, "ArrowRight", "ArrowRight", "]")
    assert shown(page) == (1, 2) and said(page).startswith("Layer 1, head 2. The looks at The 1.00")
    press(page, "ArrowLeft", "[", "[")  # not beyond the first
    assert shown(page) == (0, 1)
    press(page, *["ArrowRight"] * 9, *["]"] * 9)
    assert shown(page) == (2, 3)
    assert focused(page) == ["Queries", 0]


def test_tokens_and_pairs_by_keyboard(visit, text, weights):
    page = visit(text)
    tab_to(page, "Queries")
    press(page, "ArrowDown", "ArrowDown", "ArrowUp")
    assert focused(page) == ["Queries", 1]
    press(page, "End", "ArrowDown")
    assert focused(page) == ["Queries", len(WORDS) - 1]
    row = weights[0, 0, -1]
    best = row.argsort()[::-1][:3]
    assert said(page).startswith(f". looks at {WORDS[best[0]]} {row[best[0]]:.2f}, {WORDS[best[1]]} {row[best[1]]:.2f}")

    press(page, "Enter")
    assert page.locator('[role=option][aria-selected="true"]').count() == 1 and said(page).endswith("Pinned.")
    tab_to(page, "Keys")
    press(page, "ArrowDown")
    assert said(page) == f". looks at cat: {row[1]:.2f}. Pinned."
    press(page, "ArrowRight")
    assert said(page) == f"Layer 0, head 1. . looks at cat: {weights[0, 1, -1, 1]:.2f}. Pinned."
    press(page, "Escape")
    assert page.locator('[aria-selected="true"]').count() == 0 and focused(page) == ["Keys", 1]
    press(page, "Home", "Space")
    assert page.locator('[aria-label="Keys"] [aria-selected="true"]').inner_text().startswith("The")


def test_each_list_is_one_stop_and_keeps_its_place(visit, text):
    page = visit(text)
    tab_to(page, "Queries")
    press(page, "ArrowDown", "ArrowDown", "Tab")
    assert focused(page) == ["Keys", 0]
    press(page, "Shift+Tab")
    assert focused(page) == ["Queries", 2]
    assert page.locator('[role=option][tabindex="0"]').count() == 2
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_the_pointer_shows_and_a_click_pins(visit, text, weights):
    page = visit(text)
    queries, keys = page.get_by_label("Queries").locator("li"), page.get_by_label("Keys").locator("li")
    queries.nth(3).hover()
    assert said(page).startswith("on looks at ")
    page.mouse.move(0, 0)
    assert said(page).startswith("The looks at ")
    queries.nth(3).click()
    keys.nth(1).hover()
    assert said(page) == f"on looks at cat: {weights[0, 0, 3, 1]:.2f}. Pinned."
    press(page, "Escape")
    canvas = page.locator("canvas").last
    box = canvas.bounding_box()
    canvas.hover(position={"x": box["width"] - 8, "y": box["height"] - 8})
    assert said(page) == f". looks at .: {weights[0, 0, -1, -1]:.2f}."
    page.locator("canvas.all").click(position={"x": 3 * 64 + 5, "y": 2 * 64 + 5})
    assert shown(page) == (2, 3)


def test_two_equal_views_on_one_page_mind_their_own(visit, weights):
    piece = AttentionView(weights, WORDS).to_html()
    page = visit(f'<!DOCTYPE html><html lang="en"><title>two</title>{piece}{piece}</html>')
    page.locator("select").last.select_option("3")
    assert [e.evaluate("e => e.selectedIndex") for e in page.locator("select").all()] == [0, 0, 0, 3]
    assert page.locator("canvas").count() == 4 and page.locator("[id]").count() == 0


def test_running_the_script_again_does_no_harm(visit, text):
    page = visit(text)
    page.locator("select").last.select_option("2")
    again = "() => { const s = document.createElement('script'); s.textContent = document.querySelector("
    page.evaluate(again + "'script:not([type])').textContent; document.body.append(s); }")
    assert shown(page) == (0, 2) and page.locator("[role=listbox]").count() == 2


def test_a_script_that_runs_elsewhere_finds_its_view(visit, weights):
    piece = AttentionView(weights, WORDS).to_html()
    script = re.search(r"<script>.*?</script>", piece, flags=re.DOTALL).group()
    page = visit(f"<!DOCTYPE html><title>moved</title>{piece.replace(script, '')}{script}")
    assert page.locator(".live").is_visible()


def luminance(colour):
    rgb = np.array([float(part) for part in re.findall(r"[\d.]+", colour)[:3]]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


def ground(page):
    return luminance(page.locator("figure").evaluate("e => getComputedStyle(e).backgroundColor"))


def test_light_and_dark_and_the_notebook_has_the_last_word(visit, text):
    assert ground(visit(text, color_scheme="light")) > 0.9
    page = visit(text, color_scheme="dark")
    assert ground(page) < 0.05
    page.evaluate("document.body.dataset.jpThemeLight = 'true'")
    assert ground(page) > 0.9
    page = visit(text.replace("<body>", '<body data-jp-theme-light="false">'), color_scheme="light")
    assert ground(page) < 0.05


def test_motion_is_reduced_where_one_asks_for_it(visit, text):
    duration = "e => getComputedStyle(e).transitionDuration"
    assert visit(text, reduced_motion="reduce").locator("li").first.evaluate(duration) == "0s"
    assert visit(text, reduced_motion="no-preference").locator("li").first.evaluate(duration) == "0.12s"


def test_labels_are_redrawn_when_the_theme_changes(visit, text):
    page = visit(text, color_scheme="light")
    before = page.locator("canvas").last.evaluate("e => e.toDataURL()")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"document.querySelectorAll('canvas')[1].toDataURL() !== {before!r}", timeout=2000)


@pytest.mark.parametrize("width", [320, 400, 1400])
def test_it_fits_its_room(visit, text, width):
    page = visit(text, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sides = page.locator("[role=option]").evaluate_all("all => all.map(e => Math.min(e.offsetWidth, e.offsetHeight))")
    assert min(sides) >= 24, "WCAG 2.2: large enough for a finger"
    many = visit(AttentionView(causal(1, 64), WORDS).to_html(full_page=True), viewport={"width": width, "height": 800})
    assert many.evaluate("document.documentElement.scrollWidth") <= width
    still = visit(text, viewport={"width": width, "height": 800}, java_script_enabled=False)
    assert still.locator("figure").bounding_box()["width"] <= width


def test_save_picture_is_a_png_of_this_head(visit, text, tmp_path):
    page = visit(text)
    page.locator("select").first.select_option("1")
    with page.expect_download() as found:
        page.get_by_role("button", name="Save picture").click()
    assert found.value.suggested_filename == "attention-layer1-head0.png"
    found.value.save_as(tmp_path / "saved.png")
    from matplotlib import pyplot

    pixels = pyplot.imread(tmp_path / "saved.png")
    assert min(pixels.shape[:2]) > 200 and (pixels[..., 3] == 1).all() and len(np.unique(pixels)) > 20


def test_tokens_do_nothing_but_show(visit):
    nasty = [
        "</script><script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        '"',
        "a\u202eb",
        "",
        "שלום",
        "x" * 10_000,
    ]
    page = visit(AttentionView(np.eye(len(nasty)), nasty, title=nasty[1]).to_html(full_page=True))
    tokens = page.get_by_label("Queries").locator("bdi").all_inner_texts()
    assert tokens[0] == "</script><scrip…" and tokens[3:5] == [r"a\u202eb", "∅"] and len(tokens[6]) == 16
    assert page.locator("figcaption").inner_text() == nasty[1]
    assert len(page.get_by_label("Queries").locator("li").nth(6).get_attribute("title")) < 250


def test_what_is_no_number_is_said(visit):
    weights = np.array([[np.nan, 1.0], [0.0, 0.0]])
    page = visit(AttentionView(weights, "ab", "xy").to_html(full_page=True))
    tab_to(page, "Queries")
    assert said(page) == "a looks at y 1.00."
    press(page, "Enter", "Tab")
    assert said(page) == "a looks at x: not a number. Pinned."
    press(page, "Escape", "Shift+Tab", "ArrowDown")
    assert said(page) == "b looks at nothing."


def test_12_layers_12_heads_128_tokens_open_within_a_second(visit):
    view = AttentionView(causal(12, 12, 128).astype(np.float32), [f"token{i}" for i in range(128)])
    page = visit(view.to_html(full_page=True))
    ready = "() => performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
    milliseconds = page.evaluate(ready)
    print(f"12 x 12 x 128: {len(view.to_html()) / 1e6:.1f} MB, ready after {milliseconds:.0f} ms")
    assert milliseconds < 1000 and page.locator("[role=option]").count() == 256
    tab_to(page, "Queries")
    start = time.perf_counter()
    press(page, *["ArrowRight"] * 10)
    print(f"one head further: {(time.perf_counter() - start) * 100:.0f} ms")
    assert shown(page) == (0, 10)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("scripts", ["with scripts", "still"])
def test_axe_finds_nothing(visit, text, scheme, scripts):
    if not AXE.exists():
        pytest.skip(f"no axe-core at {AXE}: npm install --no-save axe-core")
    if scripts == "still":  # the scan is a script too, so only the view's own is taken out
        text = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    page = visit(text, color_scheme=scheme, reduced_motion="reduce")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    found = page.evaluate("tags => axe.run(document, {runOnly: tags})", tags)
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]] == []
    assert len(found["passes"]) > 8
