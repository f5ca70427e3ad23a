// The albums of a collection, each with its first pictures.
const value = () => props.value || {};

function album({ name, about, covers, error }) {
  const images = covers.map((id) => make("img", { src: picture(value().collection, "thumbnail", id), alt: "", loading: "lazy" }));
  const drop = make("button", { type: "button", class: "ck-quiet", onclick: (event) => {
    if (event.target.dataset.sure) return tell("delete", { name });
    event.target.dataset.sure = "yes";
    event.target.textContent = "really delete it?";
  } }, "delete");
  return make("article", { class: "ck-album" },
    make("button", { type: "button", class: "ck-covers", "aria-label": `open ${name}`, onclick: () => tell("open", { name }) }, images),
    make("h3", {}, name),
    make("p", { class: error ? "ck-error" : "" }, error || about),
    drop);
}

function render() {
  const { albums = [], error } = value();
  const told = error && make("p", { class: "ck-error", role: "status" }, error);
  const empty = !error && !albums.length && make("div", { class: "ck-empty" },
    make("p", {}, "There are no albums yet."),
    make("p", {}, "Search for something, mark hits as good or bad, and press “save as album”."));
  root().replaceChildren(...[told, empty, make("div", { class: "ck-album-grid" }, albums.map(album))].filter(Boolean));
}

watch("value", render);
render();
