"""A view says what the weights say, without a script too, and no token can do anything in a page but be read."""

import base64
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from device import DeviceArray

from minattn.plots import AttentionView, viewer

VOID = {"img", "meta", "br", "link", "input"}
NASTY = [
    "</script><script>alert(1)</script>",
    '"><img src=x>',
    "' onload='x",
    "a\u202eb",
    "",
    "x" * 10_000,
    "&lt;",
    "\u2028",
    "<!--<script /",
    '"' * 20,
]


class Page(HTMLParser):
    """Every element as (name, attributes, text inside), and the names that stand open at the end."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        element = [tag, dict(attrs), ""]
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1][0] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data):
        for element in self.open:
            element[2] += data

    def all(self, tag, **attributes):
        return [e for e in self.elements if e[0] == tag and attributes.items() <= e[1].items()]

    def data(self):
        ((_, _, text),) = self.all("script", type="application/json")
        return json.loads(text)


@pytest.fixture
def weights():
    return np.random.default_rng(0).dirichlet(np.ones(6), size=(2, 3, 5))  # (L, H, T, S)


def decoded(data):
    """The weights as the script reads them."""
    codes = np.frombuffer(base64.b64decode(data["weights"]), dtype=np.uint8).reshape(data["shape"])
    return np.where(codes == viewer.MISSING, np.nan, data["low"] + data["step"] * codes)


def picture(page):
    from matplotlib import pyplot

    ((_, attributes, _),) = page.all("img")
    head, _, body = attributes["src"].partition(",")
    assert head == "data:image/png;base64"
    return np.rint(255 * pyplot.imread(io.BytesIO(base64.b64decode(body)))).astype(int)  # (Y, X, 4)


def test_the_table_is_a_real_one(weights):
    page = Page(AttentionView(weights, "abcde", "uvwxyz", layer=1, head=2).to_html())
    assert page.open == []
    assert [text for _, _, text in page.all("th", scope="col")] == list("uvwxyz")
    assert [text for _, _, text in page.all("th", scope="row")] == list("abcde")
    ((_, _, caption),) = page.all("caption")
    assert caption == "Layer 1, head 2: queries down, keys across"
    cells = [e for e in page.all("td") if "title" in e[1]]
    assert [text for _, _, text in cells] == [f"{w:.2f}" for w in weights[1, 2].ravel()]
    assert [attributes["title"] for _, attributes, _ in cells] == [f"{w:.3g}" for w in weights[1, 2].ravel()]


def test_the_table_has_the_colours_of_its_weights():
    page = Page(AttentionView([[0.0, 0.5], [0.25, 1.0]], "ab").to_html())
    styles = [attributes["style"] for _, attributes, _ in page.all("td") if "style" in attributes]
    assert [style[len("background-color:") :][:7] for style in styles] == ["#00224e", "#7d7c78", "#434e6c", "#fee838"]


def test_numbers_can_be_read_on_their_colour(weights):
    page = Page(AttentionView(weights, "abcde", "uvwxyz").to_html())
    for _, attributes, _ in page.all("td"):
        if "style" in attributes:
            ground, ink = re.fullmatch(r"background-color:#(\w{6});color:(black|white)", attributes["style"]).groups()
            rgb = np.array(list(bytes.fromhex(ground))) / 255
            bright = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
            contrast = (bright + 0.05) / 0.05 if ink == "black" else 1.05 / (bright + 0.05)
            assert contrast >= 4.5, "WCAG 2 AA"


def test_the_colours_are_those_of_the_heatmap():
    import matplotlib

    theirs = 255 * matplotlib.colormaps["cividis"](np.linspace(0, 1, viewer.MISSING))[:, :3]
    assert np.abs(viewer._palette()[: viewer.MISSING] - theirs).max() < 9  # of 255: nobody sees it


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_weights_travel_to_half_a_step(weights, dtype):
    weights = weights.astype(dtype)
    data = Page(AttentionView(weights, "abcde", "uvwxyz").to_html()).data()
    np.testing.assert_allclose(decoded(data), weights, atol=0.5001 * data["step"], rtol=0)
    assert data["low"] == 0 and data["step"] == pytest.approx(float(weights.max()) / 254)


def test_scores_have_a_scale_too(weights):
    scores = 20 * weights - 10
    data = Page(AttentionView(scores, "abcde", "uvwxyz").to_html()).data()
    np.testing.assert_allclose(decoded(data), scores, atol=0.5001 * data["step"], rtol=0)


@pytest.mark.parametrize("size", [0, 5e-324, 1e-12, 3, 1e8, 1.7e308])
def test_numbers_of_any_size(size):
    weights = size * np.array([[1.0, -1.0], [0.5, 0.0]])
    data = Page(AttentionView(weights, "ab").to_html()).data()
    assert np.isfinite(decoded(data)).all()
    if 1e-300 < size < 1e300:
        np.testing.assert_allclose(decoded(data), weights[None, None], atol=0.51 * data["step"])


def test_what_is_no_number_is_grey_and_crossed(weights):
    weights[0, 0, 1, 2], weights[0, 0, 3, 3], weights[0, 0, 4] = np.nan, np.inf, -np.inf
    page = Page(AttentionView(weights, "abcde", "uvwxyz").to_html())
    np.testing.assert_array_equal(np.isnan(decoded(page.data())), ~np.isfinite(weights))
    crossed = [text == "×" for _, attributes, text in page.all("td") if "title" in attributes]
    np.testing.assert_array_equal(np.reshape(crossed, (5, 6)), ~np.isfinite(weights[0, 0]))
    assert all("inf" not in text and "nan" not in text for _, _, text in page.all("li"))
    nothing = Page(AttentionView(np.full((2, 2), np.nan), "ab").to_html())
    assert "No weight is a number." in nothing.all("details")[0][2]


def test_the_picture_holds_all_heads(weights):
    pixels = picture(Page(AttentionView(weights, "abcde", "uvwxyz").to_html()))
    larger = pixels.shape[0] // (2 * 6 - 1)
    assert pixels.shape == ((2 * 6 - 1) * larger, (3 * 7 - 1) * larger, 4)
    small = pixels[::larger, ::larger]
    assert (small[5, :, 3] == 0).all() and (small[:, [6, 13], 3] == 0).all()  # the lines between heads
    for layer in range(2):
        for head in range(3):
            part = small[6 * layer :, 7 * head :][:5, :6]
            assert (part[..., 3] == 255).all()
            brightest = np.unravel_index(weights[layer, head].argmax(), (5, 6))
            assert part[brightest].sum() == part.sum(axis=-1).max()


def test_a_thin_diagonal_stays_in_a_small_picture():
    pixels = picture(Page(AttentionView(np.eye(500), [str(i) for i in range(500)]).to_html()))
    assert pixels.shape == (3 * 125, 3 * 125, 4)  # four weights a side, each three pixels a side
    yellow = (pixels[..., :3] == [0xFE, 0xE8, 0x38]).all(axis=-1)
    np.testing.assert_array_equal(yellow, np.kron(np.eye(125), np.ones((3, 3))))


def test_the_strongest_pairs_as_text():
    weights = np.zeros((2, 1, 3, 4))
    weights[1, 0, 2, 3], weights[0, 0, 1, 0] = 0.9, 0.8
    page = Page(AttentionView(weights, "abc", "wxyz").to_html())
    lines = [text for _, _, text in page.all("li")]
    assert lines[0] == "c looks at z: 0.9 (layer 1, head 0, query 2, key 3)"
    assert lines[1] == "b looks at w: 0.8 (layer 0, head 0, query 1, key 0)"
    assert lines[2] == "a looks at w: 0 (layer 0, head 0, query 0, key 0)" and len(lines) == viewer.PAIRS
    many = np.random.default_rng(0).permutation(300) / 300
    page = Page(AttentionView(many.reshape(3, 10, 10), "abcdefghij").to_html())
    best = [text.split(": ")[1].split(" ")[0] for _, _, text in page.all("li")]
    assert best == [f"{w:.3g}" for w in np.sort(many)[: -viewer.PAIRS - 1 : -1]]


def test_a_large_table_is_cut_and_says_so():
    page = Page(AttentionView(np.eye(40), [f"w{i}" for i in range(40)]).to_html())
    assert len(page.all("th", scope="row")) == viewer.ROWS and len(page.all("th", scope="col")) == viewer.COLUMNS
    ((_, _, caption),) = page.all("caption")
    assert caption == "Layer 0, head 0: 12 of 40 queries and 16 of 40 keys"


def test_tokens_are_data():
    text = AttentionView(np.eye(len(NASTY)), NASTY, title=NASTY[0]).to_html(full_page=True)
    page = Page(text)
    assert page.open == [] and len(page.all("script")) == 2 and len(page.all("img")) == 1
    assert not any(name.startswith("on") for _, attributes, _ in page.elements for name in attributes)
    short = ["</script><scrip…", '"><img src=x>', "' onload='x", r"a\u202eb", "∅", "x" * 15 + "…", "&lt;", r"\u2028"]
    short += ["<!--<script /", '"' * 15 + "…"]
    assert [text for _, _, text in page.all("th", scope="row")] == short
    shown = [token if isinstance(token, str) else token[0] for token in page.data()["queries"]]
    assert shown == short and page.data()["queries"][5][1] == "x" * 199 + "…"
    assert not set("<>&") & set(page.all("script", type="application/json")[0][2])
    assert {attributes.get("title") for _, attributes, _ in page.all("bdi")} == {
        None,
        NASTY[0],
        "x" * 199 + "…",
        '"' * 20,
    }
    assert "\u202e" not in text and "\u2028" not in text and "x" * 300 not in text
    ((_, _, title),) = page.all("title")
    assert title == NASTY[0]


def test_every_token_of_the_still_layer_is_isolated(weights):
    text = AttentionView(weights, "אבגדה", "uvwxyz").to_html()
    assert text.count("א") == text.count("<bdi>א</bdi>") > 0


def test_nothing_is_loaded_and_nothing_has_an_id(weights):
    for full_page in (False, True):
        page = Page(AttentionView(weights, "abcde", "uvwxyz").to_html(full_page))
        for tag, attributes, _ in page.elements:
            assert "id" not in attributes and "href" not in attributes and tag not in ("link", "iframe", "object")
            assert attributes.get("src", "data:").startswith("data:")
        code = "".join(text for _, _, text in page.all("style") + page.all("script"))
        assert not re.search(r"https?:|\burl\(|@import|\bfetch\(|XMLHttpRequest|import\(", code)
        assert not re.search(r"[\"'`(]//", code)


def test_the_files_beside_it_cannot_end_their_element():
    for name in ("viewer.js", "viewer.css"):
        assert not re.search(r"</s|<!--", viewer._beside(name), flags=re.IGNORECASE)


def test_without_script_style_svg_and_iframe_it_still_reads(weights):
    """What a notebook keeps of a view that nobody has trusted yet."""
    text = AttentionView(weights, "abcde", "uvwxyz", title="letters").to_html()
    kept = re.sub(r"<(script|style|svg|iframe)\b.*?</\1>", "", text, flags=re.DOTALL | re.IGNORECASE)
    kept = re.sub(r' (class|role|tabindex|aria-\w+)="[^"]*"', "", kept)
    page = Page(kept)
    assert not page.all("script") and not page.all("style")
    assert len(page.all("table")) == len(page.all("details")) == len(page.all("summary")) == 1
    assert picture(page).size and page.all("img")[0][1]["alt"].startswith("Weights of all heads")
    assert page.all("figcaption")[0][2] == "letters"
    (live,) = page.all("div", hidden=None)
    assert live[2] == ""
    still = re.sub(r"<[^>]*>", " ", kept)
    assert "A row is a query" in still and "looks at" in still and "{" not in still


def test_the_same_view_is_the_same_text_and_12_x_12_x_32_stay_below_250_kb():
    weights = np.random.default_rng(0).dirichlet(np.ones(32), size=(12, 12, 32)).astype(np.float32)
    tokens = [f"token{i}" for i in range(32)]
    text = AttentionView(weights, tokens).to_html(full_page=True)
    assert len(text.encode()) < 250_000
    assert text == AttentionView(weights, tokens).to_html(full_page=True)


def test_the_guide_runs_and_its_sizes_are_right(tmp_path, monkeypatch):
    guide = (Path(__file__).parents[2] / "lessons" / "guides" / "viewer.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", guide, flags=re.DOTALL)
    names = {}
    exec(compile(code, "viewer.md", "exec"), names)
    assert (tmp_path / "attention.html").exists()
    rng = np.random.default_rng(0)
    middle = AttentionView(rng.dirichlet(np.ones(32), size=(12, 12, 32)), [f"token{i}" for i in range(32)])
    for view, row in ((names["view"], "4 layers, 4 heads, 12"), (middle, "12 layers, 12 heads, 32")):
        (said,) = re.findall(rf"\| {row} tokens \| (\d+) KB \|", guide)
        assert int(said) == pytest.approx(len(view.to_html()) / 1000, abs=2), "the guide's table of sizes"


def test_save_is_a_page_and_leaves_nothing_else(weights, tmp_path, monkeypatch):
    view = AttentionView(weights, "אבגדה", "uvwxyz", title="é")
    view.save(tmp_path / "look.html")
    view.save(str(tmp_path / "look.html"))
    (path,) = tmp_path.iterdir()
    text = path.read_bytes().decode("utf-8")
    assert text == view.to_html(full_page=True) and text.startswith("<!DOCTYPE html>\n") and '<html lang="en">' in text
    monkeypatch.setattr(AttentionView, "to_html", lambda *_, **__: "\ud800")  # cannot be written
    with pytest.raises(UnicodeEncodeError):
        view.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["look.html"] and path.read_bytes().decode("utf-8") == text


def test_a_notebook_gets_html_and_text(weights):
    view = AttentionView(weights, "abcde", "uvwxyz")
    bundle = view._repr_mimebundle_(include=None, exclude=None)
    assert bundle == {"text/html": view._repr_html_(), "text/plain": repr(view)}
    assert "<html" not in bundle["text/html"]
    assert repr(view) == "AttentionView: 2 layers, 3 heads, 5 queries, 6 keys"
    assert repr(AttentionView([[1.0]], "a")) == "AttentionView: 1 layer, 1 head, 1 query, 1 key"


def test_one_head_a_layer_all_layers_and_other_devices(weights):
    def text(*args):
        return AttentionView(*args, title="same").to_html()

    whole = text(weights, "abcde", "uvwxyz")
    assert (
        whole
        == text(DeviceArray(weights), "abcde", "uvwxyz")
        == text([DeviceArray(w) for w in weights], "abcde", "uvwxyz")
    )
    assert text(weights[0, 0], "abcde", "uvwxyz") == text(weights[:1, :1], "abcde", "uvwxyz")
    assert text(weights[0], "abcde", "uvwxyz") == text(weights[:1], "abcde", "uvwxyz")
    data = Page(text(weights[:, :, :, :5], "abcde")).data()
    assert data["keys"] is None and data["queries"] == list("abcde")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"queries": "ab"}, ValueError, r"queries has 2 tokens but .* \(2, 3, 5, 6\) has T=5 rows: one row a query"),
        ({"keys": "ab"}, ValueError, r"keys has 2 tokens but .* has S=6 columns: one column a key"),
        ({"keys": None}, ValueError, r"has S=6 columns for T=5 queries: name them with keys="),
        ({"queries": 5}, TypeError, "queries must be a sequence of labels but is a int"),
        ({"weights": np.ones(6)}, ValueError, r"has shape \(6,\): write weights\[None\]"),
        ({"weights": np.ones((2, 1, 3, 5, 6))}, ValueError, r"choose one sequence, as in weights\[:, 0\]"),
        ({"weights": np.ones((0, 6))}, ValueError, "is empty: there is nothing to look at"),
        (
            {"weights": np.ones((5, 6), dtype=complex)},
            TypeError,
            "weights must hold real numbers but has dtype complex",
        ),
        ({"layer": 2}, ValueError, "there is no layer 2: weights has 2 layers, counted from 0"),
        ({"head": -1}, ValueError, "there is no head -1: weights has 3 heads, counted from 0"),
    ],
)
def test_errors_teach(weights, change, error, words):
    with pytest.raises(error, match=words):
        AttentionView(**{"weights": weights, "queries": "abcde", "keys": "uvwxyz", **change})


def test_matplotlib_is_not_needed():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from minattn.plots import AttentionView; print(len(AttentionView([[1.0]], 'a').to_html()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=True)
    assert int(done.stdout) > 10_000
