"""A view of attention for notebooks and browsers: every head of every layer, in one piece of HTML that needs nothing.

    view = AttentionView(weights, tokens, title="who looks at whom")   # (T, S), (H, T, S) or (L, H, T, S)
    view                                                               # last in a notebook's cell: there it is
    view.save("attention.html")                                        # one file, no network

It has two layers. The first is still: a table of one head, a picture of all heads, the strongest pairs as text. It is
what a mail, a notebook that nobody has trusted yet, or a page without scripts shows. The second (`viewer.js`,
`viewer.css`) takes its place where scripts run: any head by key, where a token looks and who looks at it.
"""

import base64
import html
import json
import struct
import zlib
from importlib import resources
from pathlib import Path

import numpy as np

from minattn.plots import canvas
from minattn.weights import replace

MISSING = 255  # the byte of a weight that is no number; the others are 0 .. 254
ROWS, COLUMNS, PAIRS = 12, 16, 10  # what the still layer shows at most
PIXELS = 16_000  # of the picture of all heads, before it is enlarged
LONG = 200  # characters of a token that a title holds

# Cividis (Nuñez, Anderton & Renslow 2018) at 0, 0.1, ... 1: reads the same with and without colour blindness.
CIVIDIS = "00224e 083370 35456c 4f576c 666970 7d7c78 948e77 aea371 c8b866 e5cf52 fee838"
GREY = 0xD9, 0xD9, 0xD9


class AttentionView:
    """Attention weights and their tokens, to be looked at.

    Parameters
    ----------
    weights : (T, S), (H, T, S) or (L, H, T, S) array, or a list of them by layer or by head
        T queries look at S keys, in each of H heads, in each of L layers; any real numbers, on any device. NaN and
        infinite weights are grey.
    queries : sequence of T tokens
        Any tokens: they are data, and what cannot be seen in them is written out, as by `heatmap`.
    keys : sequence of S tokens, optional
        The queries, unless given: then each token is shown both as one that looks and as one that is looked at.
    title : str, optional
        What the view says above itself.
    layer, head : int
        Which head the table shows, and the view when it opens.

    Raises
    ------
    ValueError, TypeError
        weights are not real numbers of such a shape, the tokens do not fit them, or there is no such layer or head.
    """

    def __init__(self, weights, queries, keys=None, *, title=None, layer=0, head=0):
        self.weights = _every_head(weights)  # (L, H, T, S)
        self.title = "Attention" if title is None else canvas.shorten(canvas.visible(title), LONG)
        self.alike = keys is None
        self.queries = canvas.labels("queries", queries)
        self.keys = self.queries if keys is None else canvas.labels("keys", keys)
        self._check_tokens()
        L, H = self.weights.shape[:2]
        self.start = _place("layer", layer, L), _place("head", head, H)
        self.low, self.step, self.codes = _bytes_of(self.weights)

    def __repr__(self):
        L, H, T, S = self.weights.shape
        return f"AttentionView: {_count(L, 'layer')}, {_count(H, 'head')}, {_count(T, 'query')}, {_count(S, 'key')}"

    def _repr_html_(self):
        return self.to_html()

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/html": self.to_html(), "text/plain": repr(self)}

    def save(self, path):
        """Write a page of its own; nobody ever finds half a file."""
        page = self.to_html(full_page=True)
        replace(Path(path), lambda partial: partial.write_text(page, encoding="utf-8", newline="\n"))

    def to_html(self, full_page=False):
        """The view as HTML: a piece to stand in a page, beside others; or with full_page a page of its own."""
        view = self._piece()
        return PAGE.format(title=html.escape(self.title), view=view) if full_page else view

    def _check_tokens(self):
        T, S = self.weights.shape[2:]
        shape = f"weights (L, H, T, S) = {self.weights.shape}"
        if len(self.queries) != T:
            raise ValueError(f"queries has {len(self.queries)} tokens but {shape} has T={T} rows: one row a query")
        if self.alike and T != S:
            raise ValueError(f"{shape} has S={S} columns for T={T} queries: name them with keys=, one token a column")
        if len(self.keys) != S:
            raise ValueError(f"keys has {len(self.keys)} tokens but {shape} has S={S} columns: one column a key")

    def _piece(self):
        still = f'<div class="still">{self._table()}{self._picture()}{self._pairs()}</div>'
        return VIEW.format(
            title=html.escape(self.title),
            style=_beside("viewer.css"),
            still=still,
            data=_safe_json(self._data()),
            script=_beside("viewer.js"),
        )

    def _data(self):
        """What the script reads: the weights as bytes, weight = low + step * byte."""
        queries = [_spoken(token) for token in self.queries]
        return {
            "shape": self.codes.shape,
            "start": self.start,
            "title": self.title,
            "queries": queries,
            "keys": None if self.alike else [_spoken(token) for token in self.keys],
            "low": self.low,
            "step": self.step,
            "digits": _digits(self.step),
            "palette": _base64(_palette().tobytes()),
            "weights": _base64(self.codes.tobytes()),
        }

    def _table(self):
        """One head, as large as can be read: it needs no style sheet, and a screen reader can walk through it."""
        (layer, head), (T, S) = self.start, self.codes.shape[2:]
        weights, codes = self.weights[layer, head, :ROWS, :COLUMNS], self.codes[layer, head, :ROWS, :COLUMNS]
        palette = _palette()
        styles = [f"background-color:#{rgb.tobytes().hex()};color:{canvas.ink(rgb / 255)}" for rgb in palette]
        digits = min(_digits(self.step), 2)

        heads = "".join(f'<th scope="col">{_token(token)}</th>' for token in self.keys[:COLUMNS])
        rows = []
        for token, values, bytes_ in zip(self.queries, weights, codes, strict=False):
            cells = "".join(
                f'<td title="{value:.3g}" style="{styles[code]}">{_say(value, digits)}</td>'
                for value, code in zip(values, bytes_, strict=True)
            )
            rows.append(f'<tr><th scope="row">{_token(token)}</th>{cells}</tr>')
        cut = [f"{n} of {total} {name}" for n, total, name in ((ROWS, T, "queries"), (COLUMNS, S, "keys")) if n < total]
        caption = f"Layer {layer}, head {head}: {' and '.join(cut) or 'queries down, keys across'}"
        return TABLE.format(caption=caption, heads=heads, rows="".join(rows))

    def _picture(self):
        """All heads in one image: a row a layer, a column a head."""
        L, H, T, S = self.codes.shape
        alt = (
            f"Weights of all heads, brighter = larger: layers 0 to {L - 1} downwards, heads 0 to {H - 1} to the right."
        )
        if L == H == 1:
            alt = f"The weights of all {T} queries, downwards, and {S} keys, to the right, brighter = larger."
        png = _base64(_png(*_mosaic(self.codes)))
        return f'<p><img alt="{alt}" style="max-width:100%" src="data:image/png;base64,{png}"></p>'

    def _pairs(self):
        L, H, T, S = self.weights.shape
        values = np.where(self.codes.ravel() == MISSING, -np.inf, self.weights.ravel())
        some = min(PAIRS, values.size)
        best = np.flatnonzero(values >= np.partition(values, -some)[-some])  # of equals those that stand first
        lines = []
        for place in best[np.argsort(-values[best], kind="stable")][:PAIRS]:
            layer, head, t, s = np.unravel_index(place, self.weights.shape)
            if np.isfinite(values[place]):
                pair = f"{_token(self.queries[t])} looks at {_token(self.keys[s])}: {values[place]:.3g}"
                lines.append(f"<li>{pair} (layer {layer}, head {head}, query {t}, key {s})</li>")
        text = f"<ol>{''.join(lines)}</ol>" if lines else "<p>No weight is a number.</p>"
        return f"<details><summary>The strongest pairs</summary>{text}</details>"


# The figure has no ids at all, so that many of them, even equal ones, share a page in peace.
VIEW = """\
<figure class="minattn-view" aria-label="{title}">
<style>
{style}</style>
<figcaption><strong>{title}</strong></figcaption>
<div class="live" hidden></div>
{still}
<script type="application/json">{data}</script>
<script>
{script}</script>
</figure>
"""

# cellpadding: where style sheets are taken away, the cells keep some air.
TABLE = """\
<p>A row is a query, a column a key; a number says how much the query looks at the key.</p>
<div role="region" aria-label="Table of one head" tabindex="0" style="overflow-x:auto">
<table cellpadding="4"><caption>{caption}</caption>
<thead><tr><td></td>{heads}</tr></thead>
<tbody>{rows}</tbody></table></div>
"""

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
</head>
<body>
<main>
{view}</main>
</body>
</html>
"""


def _every_head(weights):
    """-> (L, H, T, S) float64."""
    if isinstance(weights, list | tuple):  # of arrays, which may each lie on a device
        weights = [canvas.to_host(each) for each in weights]
    weights = canvas.numbers("weights", weights)
    if not 2 <= weights.ndim <= 4:
        advice = {1: "write weights[None] for one query", 5: "choose one sequence, as in weights[:, 0]"}
        advice = advice.get(weights.ndim, "a view draws one sequence, so choose it")
        raise ValueError(f"weights must be (T, S), (H, T, S) or (L, H, T, S) but has shape {weights.shape}: {advice}")
    if not weights.size:
        raise ValueError(f"weights {weights.shape} is empty: there is nothing to look at")
    return weights.reshape((1,) * (4 - weights.ndim) + weights.shape)


def _place(name, index, n):
    if not 0 <= index < n:
        raise ValueError(f"there is no {name} {index}: weights has {_count(n, name)}, counted from 0")
    return int(index)


def _bytes_of(weights):
    """-> low, step and bytes with weights = low + step * bytes, to half a step; 0 is always among the colours."""
    missing = ~np.isfinite(weights)
    real = np.clip(np.where(missing, 0, weights), -1e300, 1e300)  # so that no difference overflows
    low, high = min(0.0, real.min()), max(0.0, real.max())
    if high - low < 1e-300:  # all are 0
        high = 1.0
    step = (high - low) / (MISSING - 1)
    codes = np.rint((real - low) / step).astype(np.uint8)
    return float(low), float(step), np.where(missing, np.uint8(MISSING), codes)


def _digits(step):
    """How many decimals a byte is good for; -1 where numbers so large or small are written with an exponent."""
    digits = int(-np.floor(np.log10(step))) - 1
    return max(digits, 0) if -5 < digits < 7 else -1


def _say(value, digits):
    if not np.isfinite(value):
        return "×"
    return f"{value:.1e}" if digits < 0 else f"{value:.{digits}f}"


def _spoken(token):
    """A token for the script: its text, or [its short text, its long text]."""
    long = canvas.shorten(canvas.visible(token), LONG)
    short = canvas.shorten(long)
    return short if short == long else [short, long]


def _token(token):
    """A token in HTML, isolated: letters that run from right to left turn nothing around them."""
    long = canvas.shorten(canvas.visible(token), LONG)
    short = canvas.shorten(long)
    title = f' title="{html.escape(long)}"' if short != long else ""
    return f"<bdi{title}>{html.escape(short)}</bdi>"


def _count(n, name):
    return f"{n} {name}" if n == 1 else f"{n} queries" if name == "query" else f"{n} {name}s"


def _beside(name):
    """A file beside this one, without what only its readers need: comments of whole lines, and indentation."""
    lines = resources.files("minattn.plots").joinpath(name).read_text(encoding="utf-8").splitlines()
    return "".join(f"{line.strip()}\n" for line in lines if line.strip() and not line.lstrip().startswith("//"))


def _base64(body):
    return base64.b64encode(body).decode("ascii")


def _safe_json(data):
    """JSON in ASCII, in which no token can end the element that it stands in."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _palette():
    """(256, 3) bytes: the colour of each byte of a weight."""
    anchors = np.array([list(bytes.fromhex(colour)) for colour in CIVIDIS.split()])
    places = np.linspace(0, len(anchors) - 1, MISSING)
    colours = [np.interp(places, np.arange(len(anchors)), channel) for channel in anchors.T]
    return np.vstack([np.rint(np.stack(colours, axis=1)), GREY]).astype(np.uint8)


def _mosaic(codes):
    """(L, H, T, S) -> pixels (Y, X), and the colours and the opacity that they stand for.

    Large heads are made smaller: a pixel shows the largest weight of its square, so that a thin diagonal stays. Sixteen
    shades are enough here, and a quarter of the size.
    """
    L, H, T, S = codes.shape
    shades, grey, gap = 16, 16, 17
    pixels = np.where(codes == MISSING, -1, codes.astype(np.int16) // shades)
    side = int(np.ceil(np.sqrt(max(codes.size / PIXELS, 1))))
    pixels = np.pad(pixels, ((0, 0), (0, 0), (0, -T % side), (0, -S % side)), constant_values=-1)
    pixels = pixels.reshape(L, H, -(-T // side), side, -(-S // side), side).max(axis=(3, 5))
    pixels = np.where(pixels < 0, grey, pixels)
    pixels = np.pad(pixels, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=gap)  # a line between heads
    pixels = pixels.transpose(0, 2, 1, 3).reshape(L * pixels.shape[2], -1)[:-1, :-1]
    larger = max(1, min(480 // pixels.shape[1], 480 // pixels.shape[0], 16))
    pixels = pixels.repeat(larger, axis=0).repeat(larger, axis=1)
    colours = np.vstack([_palette()[np.linspace(0, MISSING - 1, shades).astype(int)], [GREY], [GREY]])
    return pixels.astype(np.uint8), colours.astype(np.uint8), np.array([255] * gap + [0], dtype=np.uint8)


def _png(pixels, colours, opacity):
    """(Y, X) indices of at most 256 colours -> the bytes of a PNG."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    Y, X = pixels.shape
    header = struct.pack(">IIBBBBB", X, Y, 8, 3, 0, 0, 0)  # 8 bits a pixel, colours from a palette
    lines = np.pad(pixels, ((0, 0), (1, 0))).tobytes()  # each line begins with the name of its filter: 0, none
    chunks = (
        (b"IHDR", header),
        (b"PLTE", colours.tobytes()),
        (b"tRNS", opacity.tobytes()),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)
