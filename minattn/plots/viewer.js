// The live layer of an attention view: any head, and for any token where it looks and who looks at it.
//
// A view is a figure.minattn-view that holds its data as JSON, an empty .live and a .still, whose place .live takes.
// Nothing is looked up outside of that figure, nothing is loaded, and running this twice does no harm.

(() => {
  "use strict";

  const MISSING = 255; // the byte of a weight that is no number
  const KEYS =
    "Keys: ← → head, [ ] layer, ↑ ↓ Home End token, Tab from queries to keys, Enter or Space pins a token, " +
    "Escape unpins it.";
  const TALLEST = 384; // pixels of the picture of all heads

  // ---- The data -----------------------------------------------------------------------------------------------------

  function read(figure) {
    const data = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
    const [layers, heads, T, S] = data.shape;
    const tokens = (list) => list.map((token) => (Array.isArray(token) ? token : [token, token]));
    const queries = tokens(data.queries);
    return {
      ...data, layers, heads, T, S, queries,
      alike: data.keys === null,
      keys: data.keys === null ? queries : tokens(data.keys),
      palette: colours(bytes(data.palette)),
      weights: bytes(data.weights),
    };
  }

  function bytes(base64) {
    const text = atob(base64);
    const found = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) found[i] = text.charCodeAt(i);
    return found;
  }

  /** Red, green, blue one after the other -> one number a colour, as the pixels of an image hold it. */
  function colours(channels) {
    const found = new Uint8ClampedArray((channels.length / 3) * 4).fill(255);
    for (let i = 0; i < channels.length; i++) found[i + Math.floor(i / 3)] = channels[i];
    return new Uint32Array(found.buffer);
  }

  /** Where the T x S bytes of a head begin. */
  const startOf = (view, layer, head) => (layer * view.heads + head) * view.T * view.S;

  /** The byte of a weight in the head that is shown. */
  const code = (view, t, s) => view.weights[startOf(view, view.layer, view.head) + t * view.S + s];

  function say(view, byte) {
    if (byte === MISSING) return "not a number";
    const weight = view.low + view.step * byte;
    return view.digits < 0 ? weight.toExponential(1) : weight.toFixed(view.digits);
  }

  /** The strongest few of a row of bytes, as pairs [index, byte]; weights of 0 do not count. */
  function strongest(view, row, count = 3) {
    return row
      .map((byte, i) => [i, byte])
      .filter(([, byte]) => byte !== MISSING && Number(say(view, byte)) !== 0)
      .sort((one, other) => other[1] - one[1])
      .slice(0, count);
  }

  const rowOf = (view, t) => view.keys.map((_, s) => code(view, t, s));
  const columnOf = (view, s) => view.queries.map((_, t) => code(view, t, s));

  // ---- Where one is: `at` by focus or pointer, `pin` by Enter or a click --------------------------------------------

  /** Which query and which key are looked at together, null where only one is chosen. */
  function chosen(view) {
    return view.pin ? { ...view.at, [view.pin.side]: view.pin.index } : view.at;
  }

  /** Which row colours the keys, which column the queries; where both are the same tokens, one choice does both. */
  function coloured(view) {
    const { query, key } = view.pin ? { query: null, key: null, [view.pin.side]: view.pin.index } : view.at;
    return { query: query ?? (view.alike ? key : null), key: key ?? (view.alike ? query : null) };
  }

  function look(view, spot) {
    view.at = { query: null, key: null, ...spot };
    show(view);
  }

  /** The pointer moves over a token: one that only rests there takes nothing from the keyboard. */
  function point(view, side, index) {
    if (index >= 0 && view.at[side] !== index) look(view, { [side]: index });
  }

  function backToFocus(view) {
    look(view, { [view.focus.side]: view.focus.index });
  }

  function pin(view, side, index) {
    const again = view.pin && view.pin.side === side && view.pin.index === index;
    view.pin = again ? null : { side, index };
    show(view);
  }

  function choose(view, layer, head) {
    view.layer = Math.min(Math.max(layer, 0), view.layers - 1);
    view.head = Math.min(Math.max(head, 0), view.heads - 1);
    show(view, true);
  }

  // ---- Building -----------------------------------------------------------------------------------------------------

  function make(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  function build(view) {
    view.layerChoice = choice("Layer", view.layers, (i) => choose(view, i, view.head));
    view.headChoice = choice("Head", view.heads, (i) => choose(view, view.layer, i));
    const save = make("button", { type: "button" }, "Save picture");
    save.addEventListener("click", () => savePicture(view));
    view.said = make("p", { role: "status", class: "said" });
    view.lists = { query: tokenList(view, "query"), key: tokenList(view, "key") };
    view.all = overview(view);
    view.one = headCanvas(view);

    const name = (text) => make("p", { class: "name", "aria-hidden": "true" }, text);
    const left = make("div", {}, ...(view.layers * view.heads > 1 ? [view.all] : []), view.said);
    left.append(name("Queries: they look"), view.lists.query, name("Keys: they are looked at"), view.lists.key);
    return [
      make("div", { class: "bar" }, view.layerChoice.parentNode, view.headChoice.parentNode, save),
      make("div", { class: "panes" }, left, make("div", {}, view.one)),
      make("p", { class: "note" }, KEYS),
      make("p", { class: "note" }, scale(view)),
    ];
  }

  function scale(view) {
    const three = (x) => Number(x.toPrecision(3));
    const [low, high, step] = [view.low, view.low + view.step * (MISSING - 1), view.step].map(three);
    return `Colours run from ${low} to ${high} in all heads; weights are kept in steps of ${step}.`;
  }

  function choice(name, count, act) {
    const options = Array.from({ length: count }, (_, i) => make("option", {}, String(i)));
    const select = make("select", {}, ...options);
    select.disabled = count === 1;
    select.addEventListener("change", () => act(select.selectedIndex));
    make("label", {}, `${name} `, select);
    return select;
  }

  function tokenList(view, side) {
    const tokens = side === "query" ? view.queries : view.keys;
    const list = make("ul", {
      class: side === "query" ? "queries tokens" : "keys tokens",
      role: "listbox",
      "aria-label": side === "query" ? "Queries" : "Keys",
    });
    list.append(...tokens.map(tokenItem));
    const indexOf = (event) => [...list.children].indexOf(event.target.closest("li"));
    list.addEventListener("focusin", (event) => {
      view.focus = { side, index: indexOf(event) };
      rove(list, view.focus.index);
      backToFocus(view);
    });
    list.addEventListener("pointermove", (event) => point(view, side, indexOf(event)));
    list.addEventListener("pointerleave", () => backToFocus(view));
    list.addEventListener("click", (event) => indexOf(event) >= 0 && pin(view, side, indexOf(event)));
    return list;
  }

  function tokenItem([short, long], index) {
    const number = make("small", { "aria-hidden": "true" });
    const item = make("li", { role: "option", tabindex: index === 0 ? "0" : "-1", "aria-selected": "false" });
    item.append(make("bdi", {}, short), number);
    item.title = short === long ? `position ${index}` : `${long} (position ${index})`;
    return item;
  }

  /** One token of a list can be reached by Tab: the one that was last there. */
  function rove(list, index) {
    list.querySelector('[tabindex="0"]')?.setAttribute("tabindex", "-1");
    list.children[index].setAttribute("tabindex", "0");
  }

  // ---- Keys ---------------------------------------------------------------------------------------------------------

  function onKey(view, event) {
    const act = action(view, event);
    if (!act) return;
    act();
    event.preventDefault();
    event.stopPropagation();
  }

  function action(view, event) {
    // Brackets with any modifier: some keyboards need AltGr for them.
    if (event.key === "[") return () => choose(view, view.layer - 1, view.head);
    if (event.key === "]") return () => choose(view, view.layer + 1, view.head);
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("select")) return null;
    if (event.key === "ArrowLeft") return () => choose(view, view.layer, view.head - 1);
    if (event.key === "ArrowRight") return () => choose(view, view.layer, view.head + 1);
    if (event.key === "Escape" && view.pin) return () => pin(view, view.pin.side, view.pin.index);
    return event.target.closest(".tokens") ? tokenAction(view, event.key) : null;
  }

  function tokenAction(view, key) {
    const { side, index } = view.focus;
    const items = view.lists[side].children;
    const goal = { ArrowUp: index - 1, ArrowDown: index + 1, Home: 0, End: items.length - 1 }[key];
    if (key === "Enter" || key === " ") return () => pin(view, side, index);
    if (goal === undefined) return null;
    return () => items[Math.min(Math.max(goal, 0), items.length - 1)].focus();
  }

  // ---- Showing ------------------------------------------------------------------------------------------------------

  function show(view, headChanged = false) {
    view.layerChoice.selectedIndex = view.layer;
    view.headChoice.selectedIndex = view.head;
    const { query, key } = coloured(view);
    colour(view, "key", query === null ? null : rowOf(view, query));
    colour(view, "query", key === null ? null : columnOf(view, key));
    const said = sentence(view);
    if (headChanged) said.unshift(`Layer ${view.layer}, head ${view.head}. `);
    view.said.replaceChildren(...said);
    drawOverview(view);
    drawOnScreen(view);
  }

  function colour(view, side, row) {
    const here = chosen(view)[side];
    [...view.lists[side].children].forEach((item, i) => {
      const byte = row === null ? 0 : row[i];
      const text = row === null || Number(say(view, byte)) === 0 ? "" : byte === MISSING ? "×" : say(view, byte);
      item.style.setProperty("--weight", row === null || byte === MISSING ? 0 : (byte / (MISSING - 1)).toFixed(3));
      item.classList.toggle("missing", row !== null && byte === MISSING);
      item.classList.toggle("here", here === i);
      item.setAttribute("aria-selected", String(view.pin?.side === side && view.pin.index === i));
      item.lastChild.textContent = text;
    });
  }

  /** What the live region reads, as text and isolated tokens. */
  function sentence(view) {
    const { query, key } = chosen(view);
    const token = (side, i) => make("bdi", {}, (side === "query" ? view.queries : view.keys)[i][0]);
    const one = (side, [i, byte], n) => [n ? ", " : " ", token(side, i), ` ${say(view, byte)}`];
    const list = (side, found) => (found.length ? found.flatMap((each, n) => one(side, each, n)) : [" nothing"]);
    const end = view.pin ? ". Pinned." : ".";
    if (query !== null && key !== null)
      return [token("query", query), " looks at ", token("key", key), `: ${say(view, code(view, query, key))}`, end];

    const index = query ?? key;
    const parts = [];
    if (query !== null || view.alike) parts.push([" looks at", ...list("key", strongest(view, rowOf(view, index)))]);
    if (key !== null || view.alike)
      parts.push([" is looked at by", ...list("query", strongest(view, columnOf(view, index)))]);
    const joined = parts.flatMap((part, n) => (n ? [";", ...part] : part));
    return [token(query === null ? "key" : "query", index), ...joined, end];
  }

  // ---- Drawing ------------------------------------------------------------------------------------------------------

  /** One head as an image on a canvas that is never shown: a pixel is the largest weight of a square. */
  function pixels(view, layer, head, side = 1) {
    const { T, S, palette } = view;
    const [width, height] = [Math.ceil(S / side), Math.ceil(T / side)];
    const largest = new Uint8Array(width * height); // bytes + 1, so that what is no number, 255, is less than all others
    let place = startOf(view, layer, head);
    for (let t = 0; t < T; t++) {
      const row = Math.floor(t / side) * width;
      for (let s = 0; s < S; s++) {
        const [pixel, rank] = [row + Math.floor(s / side), (view.weights[place++] + 1) & 255];
        if (rank > largest[pixel]) largest[pixel] = rank;
      }
    }
    const canvas = make("canvas", { width, height });
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    new Uint32Array(image.data.buffer).set(Array.from(largest, (rank) => palette[(rank + 255) & 255]));
    context.putImageData(image, 0, 0);
    return canvas;
  }

  /** Give a canvas a size in the page, and as many pixels as the screen has there. */
  function size(canvas, width, height, ratio) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    return context;
  }

  function overview(view) {
    const { layers, heads } = view;
    const label = `All heads: layers 0 to ${layers - 1} downwards, heads 0 to ${heads - 1} to the right`;
    const canvas = make("canvas", { class: "all", role: "img", "aria-label": label });
    canvas.addEventListener("click", (event) => {
      const box = canvas.getBoundingClientRect();
      choose(
        view,
        Math.floor(((event.clientY - box.top) / box.height) * layers),
        Math.floor(((event.clientX - box.left) / box.width) * heads),
      );
    });
    return canvas;
  }

  function drawOverview(view) {
    const { layers, heads, T, S } = view;
    const room = view.all.parentNode?.clientWidth;
    if (!room) return;
    const cell = Math.floor(Math.max(Math.min(room / heads, (TALLEST * S) / (layers * T), 64), 8));
    const tall = Math.max(Math.min(Math.round((cell * T) / S), 96), 8);
    if (view.thumbnails?.width !== cell) view.thumbnails = { width: cell, canvas: thumbnails(view, cell, tall) };
    const context = size(view.all, cell * heads, tall * layers, devicePixelRatio);
    context.drawImage(view.thumbnails.canvas, 0, 0, cell * heads, tall * layers);
    frame(context, view.head * cell, view.layer * tall, cell, tall);
  }

  function thumbnails(view, cell, tall) {
    const canvas = make("canvas");
    const context = size(canvas, cell * view.heads, tall * view.layers, devicePixelRatio);
    const side = Math.max(Math.round(view.S / cell), 1);
    context.imageSmoothingEnabled = false;
    for (let layer = 0; layer < view.layers; layer++)
      for (let head = 0; head < view.heads; head++)
        context.drawImage(pixels(view, layer, head, side), head * cell + 2, layer * tall + 2, cell - 4, tall - 4);
    return canvas;
  }

  /** White on black: it shows on every colour. */
  function frame(context, x, y, width, height) {
    for (const [colour, line] of [["#000", 4], ["#fff", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = line;
      context.strokeRect(x + 1, y + 1, width - 2, height - 2);
    }
  }

  function headCanvas(view) {
    const canvas = make("canvas", { role: "img" });
    const cell = (event) => {
      const box = canvas.getBoundingClientRect();
      const { left, top, width } = view.grid;
      const s = Math.floor((event.clientX - box.left - left) / width);
      const t = Math.floor((event.clientY - box.top - top) / width);
      return t >= 0 && t < view.T && s >= 0 && s < view.S ? { query: t, key: s } : null;
    };
    canvas.addEventListener("pointermove", (event) => (cell(event) ? look(view, cell(event)) : backToFocus(view)));
    canvas.addEventListener("pointerleave", () => backToFocus(view));
    return canvas;
  }

  function drawOnScreen(view) {
    const room = view.one.parentNode?.clientWidth;
    if (!room) return;
    view.grid = drawHead(view, view.one, room, devicePixelRatio);
    const label = `Weights of layer ${view.layer}, head ${view.head}: a row a query, a column a key`;
    view.one.setAttribute("aria-label", label);
    const { query, key } = chosen(view);
    const { context, left, top, width } = view.grid;
    if (query !== null) frame(context, left, top + query * width, width * view.S, width);
    if (key !== null) frame(context, left + key * width, top, width, width * view.T);
  }

  /** The heat map of the head that is shown with its tokens, at most so wide -> where its cells lie. */
  function drawHead(view, canvas, room, ratio) {
    const { queries, keys, T, S } = view;
    const font = "12px system-ui, sans-serif";
    const gauge = make("canvas").getContext("2d");
    gauge.font = font;
    const longest = (tokens) => Math.ceil(Math.max(...tokens.map(([short]) => gauge.measureText(short).width)));
    const left = longest(queries) + 8;
    const width = Math.min((room - left - 2) / S, 32);
    const lying = longest(keys) + 6 <= width;
    const top = lying ? 22 : longest(keys) + 8;

    const context = size(canvas, Math.ceil(left + S * width + 2), Math.ceil(top + T * width + 2), ratio);
    context.font = font;
    context.fillStyle = getComputedStyle(view.figure).color;
    context.imageSmoothingEnabled = width < 1;
    context.drawImage(pixels(view, view.layer, view.head), left, top, S * width, T * width);
    context.textBaseline = "middle";
    for (const t of readable(T, width)) writeAt(context, queries[t][0], left - 5, top + (t + 0.5) * width, "right");
    for (const s of readable(S, width)) {
      const x = left + (s + 0.5) * width;
      if (lying) writeAt(context, keys[s][0], x, top - 11, "center");
      else writeAt(context, keys[s][0], x, top - 5, "left", -Math.PI / 2);
    }
    return { context, left, top, width };
  }

  function writeAt(context, text, x, y, align, turn = 0) {
    context.save();
    context.translate(x, y);
    context.rotate(turn);
    context.textAlign = align;
    context.fillText(text, 0, 0);
    context.restore();
  }

  /** The steps whose labels fit side by side: all, or every 2nd, 5th, 10th, 20th ... */
  function readable(n, width) {
    const least = 13 / width;
    const power = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
    const step = [1, 2, 5, 10].map((digit) => digit * power).find((each) => each >= least) ?? 1;
    return Array.from({ length: Math.ceil(n / step) }, (_, i) => i * step);
  }

  function savePicture(view) {
    const canvas = make("canvas");
    drawHead(view, canvas, 900, 2);
    const paper = make("canvas", { width: canvas.width, height: canvas.height });
    const context = paper.getContext("2d");
    context.fillStyle = getComputedStyle(view.figure).backgroundColor;
    context.fillRect(0, 0, paper.width, paper.height);
    context.drawImage(canvas, 0, 0);
    paper.toBlob((blob) => {
      const address = URL.createObjectURL(blob);
      make("a", { href: address, download: `attention-layer${view.layer}-head${view.head}.png` }).click();
      setTimeout(() => URL.revokeObjectURL(address), 1000);
    });
  }

  // ---- Starting -----------------------------------------------------------------------------------------------------

  function start(figure) {
    if (figure.minattnView) return;
    const view = (figure.minattnView = read(figure));
    view.figure = figure;
    view.live = figure.querySelector(".live");
    [view.layer, view.head] = view.start;
    view.at = { query: 0, key: null };
    view.focus = { side: "query", index: 0 };
    view.pin = null;
    view.live.replaceChildren(...build(view));
    view.live.hidden = false;
    figure.querySelector(".still").hidden = true;
    view.live.dataset.lmSuppressShortcuts = "true"; // a notebook's own keys wait while the focus is here
    view.live.addEventListener("keydown", (event) => onKey(view, event));
    show(view);
    redrawWhenNeeded(view);
  }

  /** After the room or the theme has changed, that of the system or that of the notebook. */
  function redrawWhenNeeded(view) {
    let width = view.live.clientWidth;
    new ResizeObserver(() => {
      if (view.live.clientWidth !== width) show(view);
      width = view.live.clientWidth;
    }).observe(view.live);
    const system = matchMedia("(prefers-color-scheme: dark)");
    const notebook = new MutationObserver(changed);
    system.addEventListener("change", changed);
    notebook.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });

    function changed() {
      if (view.figure.isConnected) return show(view);
      system.removeEventListener("change", changed);
      notebook.disconnect();
    }
  }

  // Some notebooks run scripts elsewhere than where they stand: then every view that waits is started.
  const mine = document.currentScript?.closest(".minattn-view");
  for (const figure of mine ? [mine] : document.querySelectorAll(".minattn-view")) start(figure);
})();
