// What a picture shows: the texts of the collection, and tags, to be copied or saved.
const value = () => props.value || {};

function save(name, text) {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "text/plain" })), download: name });
  link.click();
  URL.revokeObjectURL(link.href);
}

function list(title, rows, name, note) {
  const said = rows.map((row) => row.said).join("\n");
  const copy = async (event) => {
    try {
      await navigator.clipboard.writeText(said);
      event.target.textContent = "copied";
    } catch {
      window.prompt("Copy:", said);
    }
  };
  return make("section", {},
    make("h3", {}, title),
    rows.length
      ? make("ol", { class: `ck-${name}` }, rows.map((row) =>
          make("li", { title: row.strength ? `${row.strength} standard deviations above others` : "" },
            make("span", { class: "ck-score" }, score(row.score)), ` ${row.said}`)))
      : make("p", {}, note),
    rows.length > 0 && make("div", { class: "ck-buttons" },
      make("button", { type: "button", onclick: copy }, "copy"),
      make("button", { type: "button", onclick: () => save(`${name}.txt`, `${said}\n`) }, "save")));
}

function render() {
  const { texts, tags, error, advice = [] } = value();
  if (error) return root().replaceChildren(make("p", { class: "ck-error", role: "status" }, error));
  if (!texts)
    return root().replaceChildren(make("div", { class: "ck-empty" },
      make("p", {}, "Drop a picture here."),
      make("p", {}, "You get the texts of the collection that fit it best, and tags.")));
  root().replaceChildren(
    list("Tags", tags, "tags", "No label of the vocabulary stands out."),
    list("Texts of the collection", texts, "texts", advice.join(" ")));
}

watch("value", render);
render();
