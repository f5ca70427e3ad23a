// What is in the query besides words: pictures and items with their weights, and how many hits are marked.
const value = () => props.value || {};

function chip(part) {
  const image = part.where === "picture" ? `uploads/${part.name}` : picture(value().collection, "thumbnail", part.name);
  const said = make("output", {}, part.weight.toFixed(1));
  const slider = make("input", {
    type: "range", min: -1, max: 1, step: 0.1, value: part.weight, title: "more like this, or less",
    "aria-label": `weight of ${part.label}`,
    oninput: (event) => (said.textContent = Number(event.target.value).toFixed(1)),
    onchange: (event) => tell("weigh", { where: part.where, name: part.name, weight: Number(event.target.value) }),
  });
  return make(
    "div",
    { class: `ck-chip${part.weight < 0 ? " ck-chip-minus" : ""}` },
    make("img", { src: image, alt: part.label }),
    slider,
    said,
    make("button", {
      type: "button", "aria-label": `take ${part.label} away`,
      onclick: () => tell("drop", { where: part.where, name: part.name }),
    }, "×"),
  );
}

function saver() {
  const name = make("input", { type: "text", placeholder: "name of the album", maxlength: 100, "aria-label": "name of the album" });
  const again = make("input", { type: "checkbox" });
  const send = () => {
    if (!name.value.trim()) return;
    tell("save", { name: name.value, again: again.checked });
    form.hidden = true;
    open.hidden = false;
  };
  name.addEventListener("keydown", (event) => event.key === "Enter" && send());
  const form = make("span", { class: "ck-save", hidden: true }, name, make("label", {}, again, " replace"),
    make("button", { type: "button", onclick: send }, "save"));
  const open = make("button", { type: "button", class: "ck-quiet", onclick: () => {
    open.hidden = true;
    form.hidden = false;
    name.focus();
  } }, "save as album");
  return [open, form];
}

function render() {
  const { parts = [], good = 0, bad = 0, picked, asks, shared } = value();
  const marks = good + bad > 0 &&
    make("div", { class: "ck-chip", title: "the question moves towards the good and away from the bad ones (Rocchio)" }, `✓ ${good} good, ✗ ${bad} bad`,
      make("button", { type: "button", "aria-label": "forget the marks", onclick: () => tell("forget") }, "×"));
  const part = picked &&
    make("div", { class: "ck-chip" }, "a part of the map",
      make("button", { type: "button", "aria-label": "all of the collection", onclick: () => tell("unpick") }, "×"));
  const link = make("button", { type: "button", class: "ck-quiet", onclick: async (event) => {
    const address = location.href;
    try {
      await navigator.clipboard.writeText(address);
      event.target.textContent = "link copied";
    } catch {
      window.prompt("Copy this link:", address);
    }
  } }, "copy link");
  const saving = asks && saver();
  const clear = asks && make("button", { type: "button", class: "ck-quiet", onclick: () => tell("clear") }, "clear");
  root().replaceChildren(...[...parts.map(chip), part, marks, saving, shared && link, clear].flat().filter(Boolean));
}

watch("value", render);
render();
