// All collections, each to be opened.
const bytes = (count) => (count >= 1e9 ? `${(count / 1e9).toFixed(1)} GB` : `${(count / 1e6).toFixed(1)} MB`);

function row(one) {
  const open = make("button", { type: "button", onclick: () => tell("open", { name: one.name }) }, "open");
  if (one.error) return make("tr", {}, make("th", {}, one.name), make("td", { colspan: 5, class: "ck-wrong" }, one.error), make("td", {}, open));
  const cells = [one.images.toLocaleString(), one.texts.toLocaleString(), one.model, bytes(one.bytes), one.index || "exact"];
  return make("tr", {}, make("th", { scope: "row" }, one.name), cells.map((cell) => make("td", {}, cell)), make("td", {}, open));
}

function render() {
  const { collections } = props.value || {};
  if (!collections) return root().replaceChildren();
  if (!collections.length)
    return root().replaceChildren(make("div", { class: "ck-empty" }, make("p", {}, "There is no collection yet."), make("p", {}, "Index a folder to make one.")));
  const heads = ["collection", "pictures", "texts", "model", "on disk", "search", ""];
  root().replaceChildren(
    make("div", { class: "ck-wide" },
      make("table", { class: "ck-table" },
        make("thead", {}, make("tr", {}, heads.map((head) => make("th", { scope: "col" }, head)))),
        make("tbody", {}, collections.map(row)))));
}

watch("value", render);
render();
