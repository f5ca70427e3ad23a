// The least score of a hit: everything, what stands out, or a score of one's own; the automatic one is marked.
const value = () => props.value || {};

function render() {
  const { cut = "", autos = {}, low = -0.2, high = 1 } = value();
  const marks = Object.entries(autos);
  const auto = marks.length ? marks[0][1] : null;
  const own = cut !== "" && cut !== "auto";
  const now = own ? Number(cut) : auto ?? low;
  const share = (score) => `${(100 * (Math.min(high, Math.max(low, score)) - low)) / (high - low)}%`;
  const said = make("output", {}, own ? now.toFixed(2) : "");
  const choice = (label, chosen, given) =>
    make("button", { type: "button", "aria-pressed": String(chosen), onclick: () => tell("cut", { cut: given }) }, label);
  const slider = make("input", {
    type: "range", min: low, max: high, step: 0.01, value: now, "aria-label": "least score",
    oninput: (event) => (said.textContent = Number(event.target.value).toFixed(2)),
    onchange: (event) => tell("cut", { cut: event.target.value }),
  });
  root().replaceChildren(
    make("span", { class: "ck-cut-title" }, "cut-off"),
    choice("show all", cut === "", ""),
    choice("what stands out", cut === "auto", "auto"),
    make("div", { class: "ck-slider" }, slider,
      ...marks.map(([kind, score]) =>
        make("span", { class: "ck-mark", style: `left:${share(score)}`, title: `automatic for ${kind}s` },
          `auto ${score.toFixed(2)}`))),
    said,
  );
}

watch("value", render);
render();
