// A map of pictures: points that show what they are, and lead into the gallery. Needs `Plotly`.
const TIP = 160; // pixels, the longer edge of a thumbnail beside the pointer
const REST = 40; // ms that the pointer has to stay on a point before its thumbnail is fetched

/**
 * Draws points into `element` and gives what can be done with them.
 *
 * `x` and `y` are from -1 to 1, one of each per id; `thumbnailUrl(id)` is where a picture is; `onSelect(ids)`
 * is called with what was clicked or drawn around, with none when that is given up; `onMove()` when somebody
 * first moves the map or draws on it.
 */
function drawMap(element, { ids, x, y, dark = false, thumbnailUrl, onSelect = () => {}, onMove = () => {} }) {
  const plot = document.createElement("div");
  plot.className = "ck-plot";
  const tip = document.createElement("img");
  tip.className = "ck-tip";
  tip.alt = "";
  tip.hidden = true;
  element.replaceChildren(plot, tip);

  const size = ids.length > 5000 ? 4 : ids.length > 500 ? 6 : 9;
  const colour = (on) => (on ? "#5eead4" : "#0d9488");
  const ends = [x, y].map((all) => all.reduce(([low, high], at) => [Math.min(low, at), Math.max(high, at)], [0, 0]));
  /** What of each axis is in sight when all points are: both have one scale, so one may show more. */
  const whole = () => {
    const shape = Math.max(plot.clientWidth, 1) / Math.max(plot.clientHeight, 1);
    const [wide, high] = ends.map(([from, to]) => Math.max(to - from, 0.1) * 0.54); // with a margin
    const half = Math.max(high, wide / shape);
    return [half * shape, half].map((reach, at) => {
      const middle = (ends[at][0] + ends[at][1]) / 2;
      return [middle - reach, middle + reach];
    });
  };
  const axis = { visible: false };
  const trace = {
    type: "scattergl",
    mode: "markers",
    x,
    y,
    hoverinfo: "none", // the thumbnail says it
    marker: { size, opacity: 0.65, color: colour(dark) },
    selected: { marker: { opacity: 0.9, size: size + 1 } },
    unselected: { marker: { opacity: 0.12 } },
  };
  const layout = {
    xaxis: { ...axis, range: whole()[0] },
    yaxis: { ...axis, range: whole()[1], scaleanchor: "x" },
    margin: { l: 0, r: 0, t: 0, b: 0 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    dragmode: "pan",
    hovermode: "closest",
    hoverdistance: 12,
    showlegend: false,
    newselection: { line: { color: colour(dark), width: 2 } },
  };
  const config = { scrollZoom: true, displayModeBar: false, responsive: true, doubleClick: "reset" };

  let waiting = 0;
  const away = () => {
    clearTimeout(waiting);
    tip.hidden = true;
  };
  const beside = ({ clientX, clientY }) => {
    const box = element.getBoundingClientRect();
    const [left, top] = [clientX - box.left, clientY - box.top];
    tip.style.left = `${left + 16 + TIP > box.width ? left - 16 - TIP : left + 16}px`;
    tip.style.top = `${Math.max(0, Math.min(box.height - TIP, top - TIP / 2))}px`;
  };
  tip.addEventListener("load", () => (tip.hidden = false));
  tip.addEventListener("error", away);

  Plotly.newPlot(plot, [trace], layout, config);
  plot.on("plotly_hover", ({ points: [point], event }) => {
    away();
    waiting = setTimeout(() => {
      beside(event);
      const url = thumbnailUrl(ids[point.pointNumber]);
      if (tip.getAttribute("src") === url && tip.complete && tip.naturalWidth) tip.hidden = false;
      else tip.src = url;
    }, REST);
  });
  plot.on("plotly_unhover", away);
  plot.on("plotly_relayouting", away);
  plot.on("plotly_relayout", (change) => "xaxis.range[0]" in change && onMove());
  plot.on("plotly_click", ({ points: [point] }) => {
    mark([point.pointNumber]);
    onMove();
    onSelect([ids[point.pointNumber]]);
  });
  plot.on("plotly_selected", (drawn) => {
    if (!drawn) return; // a click beside all points, after a selection
    onMove();
    onSelect(drawn.points.map((point) => ids[point.pointNumber]));
  });
  plot.on("plotly_deselect", () => clear());

  const mark = (places) => Plotly.restyle(plot, { selectedpoints: [places] });
  const clear = () => {
    mark(null);
    Plotly.relayout(plot, { selections: [] });
    onSelect([]);
  };
  const look = (ranges) => Plotly.relayout(plot, { "xaxis.range": ranges[0], "yaxis.range": ranges[1] });
  const nearer = (factor) =>
    ["xaxis", "yaxis"].map((name) => {
      const [low, high] = plot._fullLayout[name].range;
      const [middle, half] = [(low + high) / 2, (high - low) / 2 / factor];
      return [middle - half, middle + half];
    });
  return {
    clear,
    /** "pan", "lasso" or "select", a box. */
    tool: (name) => Plotly.relayout(plot, { dragmode: name }),
    /** Nearer by a factor above 1, farther by one below; all of the map without one. */
    zoom: (factor) => look(factor ? nearer(factor) : whole()),
    dark: (on) =>
      Plotly.update(plot, { "marker.color": colour(on) }, { "newselection.line.color": colour(on) }),
    close: () => {
      away();
      Plotly.purge(plot);
    },
  };
}

// --- the tab

const value = () => props.value || {};
const PREVIEW = 24; // pictures of a selection that are shown below the map
const isDark = () => document.body.classList.contains("dark");
let map = null;
let turn = 0; // answers to what was asked before the last turn are dropped
let chosen = null; // the method that somebody pressed
let moved = false;
let drawn = ""; // what is shown now, or is being drawn

const stage = make("div", { class: "ck-stage-map" });
const told = make("p", { class: "ck-told", role: "status" });
const picked = make("div", { class: "ck-picked", hidden: true });
const tools = ["pan", "lasso", "select"].map((name) =>
  make(
    "button",
    { type: "button", "aria-pressed": String(name === "pan"), onclick: () => take(name) },
    { pan: "move", lasso: "lasso", select: "box" }[name],
  ),
);
const methods = ["umap", "pca"].map((name) =>
  make("button", { type: "button", "aria-pressed": "false", onclick: () => ask(name) }, { umap: "groups", pca: "spread" }[name]),
);
methods[0].title = "UMAP: neighbours stay together; how far groups are apart says little";
methods[1].title = "PCA: seen from where pictures differ most; at once, but groups overlap";
const lens = [
  ["+", "nearer", 1.6],
  ["−", "farther", 1 / 1.6],
  ["all", "all of the map", 0],
].map(([sign, label, factor]) =>
  make("button", { type: "button", "aria-label": label, title: label, onclick: () => map && map.zoom(factor) }, sign),
);

function take(name) {
  tools.forEach((one, at) => one.setAttribute("aria-pressed", String(["pan", "lasso", "select"][at] === name)));
  if (map) map.tool(name);
}

const url = (id) => picture(value().collection, "thumbnail", id);

/** As many as are shown, from all over: those beside each other in the list are often of one folder. */
const some = (ids) =>
  ids.length <= PREVIEW ? ids : Array.from({ length: PREVIEW }, (_, at) => ids[Math.floor((at * ids.length) / PREVIEW)]);

function choose(ids) {
  picked.hidden = !ids.length;
  const count = `${ids.length.toLocaleString("en")} picture${ids.length === 1 ? "" : "s"}`;
  picked.replaceChildren(
    make(
      "div",
      { class: "ck-buttons" },
      make("strong", {}, count),
      make("button", { type: "button", onclick: () => tell("pick", { ids }) }, "show in the gallery"),
      ids.length === 1 && make("button", { type: "button", onclick: () => tell("similar", { id: ids[0] }) }, "similar"),
      make("button", { type: "button", class: "ck-quiet", onclick: () => map.clear() }, "clear"),
    ),
    make(
      "div",
      { class: "ck-preview" },
      some(ids).map((id) => make("img", { src: url(id), alt: id.split(/[/\\#]/).pop(), loading: "lazy" })),
    ),
  );
}

let script = null;
const plotly = () =>
  (script ||= new Promise((done, fail) => {
    if (window.Plotly) return done();
    const tag = make("script", { src: "static/plotly.min.js", onload: done, onerror: () => fail(new Error("plotly")) });
    document.head.append(tag);
  }));

function show(found) {
  if (map) map.close();
  choose([]);
  moved = false;
  map = drawMap(stage, { ...found, dark: isDark(), thumbnailUrl: url, onSelect: choose, onMove: () => (moved = true) });
  take("pan");
  methods.forEach((one, at) => one.setAttribute("aria-pressed", String(["umap", "pca"][at] === found.method)));
  root().dataset.method = found.method; // for whoever waits for it
}

function explain({ ids, total, explained, method }) {
  const all = ids.length < total ? `${ids.length.toLocaleString("en")} of ${total.toLocaleString("en")} pictures, chosen at random` : `${total.toLocaleString("en")} pictures`;
  const held = method === "pca" && explained ? ` · x and y hold ${Math.round(100 * (explained[0] + explained[1]))}% of the differences` : "";
  return `${all}${held}`;
}

/** Draws the map by a method; without one by that which is quick, and then by the better one. */
async function ask(method) {
  chosen = method || null;
  const mine = ++turn;
  for (const each of method ? [method] : ["pca", "umap"]) {
    say(each === "umap" ? "Finding groups: some ten seconds for 20,000 pictures …" : "Drawing …");
    let found;
    try {
      found = await server.draw({ collection: value().collection, method: each });
      if (!found.error && found.ids.length) await plotly();
    } catch {
      found = { error: "The map could not be drawn: load the page again." };
    }
    if (mine !== turn) return;
    if (found.error) return say(found.error, true);
    if (!found.ids.length) return empty();
    if (!method && each === "umap" && moved) return say("Groups are found: press “groups” to see them.");
    show(found);
    say(explain(found));
  }
}

function say(text, wrong = false) {
  told.textContent = text;
  told.classList.toggle("ck-refused", wrong);
}

function empty() {
  if (map) map.close();
  map = null;
  choose([]);
  stage.replaceChildren(make("div", { class: "ck-empty" }, make("p", {}, "There are no pictures to map yet.")));
  say("");
}

function begin() {
  const { collection, key } = value();
  const now = `${collection} ${key}`;
  if (!collection || now === drawn || !element.offsetParent) return;
  drawn = now;
  ask(chosen);
}

root().replaceChildren(make("div", { class: "ck-tools" }, make("span", {}, methods), make("span", {}, tools), make("span", {}, lens), told), stage, picked);
new IntersectionObserver(begin).observe(element); // a hidden tab has no size to draw in
new MutationObserver(() => map && map.dark(isDark())).observe(document.body, { attributeFilter: ["class"] });
watch("value", () => (value().error ? say(value().error, true) : begin()));
