// Figures of a collection: its index, and what its captions find.
function table(title, rows) {
  return make("section", {},
    make("h3", {}, title),
    make("div", { class: "ck-wide" },
      make("table", { class: "ck-table" },
        make("tbody", {}, rows.map(([what, value, more]) =>
          make("tr", {}, make("th", { scope: "row" }, what), make("td", {}, value), make("td", { class: "ck-more" }, more)))))));
}

function render() {
  const all = props.value || {};
  const at = all.progress;
  root().replaceChildren(
    ...[
      all.refused && make("p", { class: "ck-wrong", role: "alert" }, all.refused),
      all.error && make("p", { class: "ck-wrong", role: "alert" }, all.error),
      all.busy && make("p", {}, `${all.busy}…`),
      all.running && make("div", { class: "ck-run" },
        make("progress", { "aria-label": "measuring", ...(at ? { value: at.done, max: at.total } : {}) }),
        make("p", { class: "ck-count" }, at ? `${at.done} of ${at.total} searches` : "scanning all vectors…"),
        make("button", { type: "button", disabled: all.stopping, onclick: () => tell("stop") }, all.stopping ? "stopping…" : "stop")),
      all.index && table("The index: of the ten nearest, how many a search finds", all.index),
      all.captions && all.captions.length > 0 && table("Captions: how often a text finds its picture, with the 95% interval", all.captions),
      all.missing && make("p", {}, all.missing),
    ].filter(Boolean));
}

watch("value", render);
render();
