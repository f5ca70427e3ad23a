// One hit, large. Opens at once with its thumbnail; what the server knows of it follows.
let list = []; // the cards of the gallery
let at = 0;
let link = ""; // the question, as a link has it
let collection = "";
let turn = 0; // answers to what was asked before the last step are dropped

const dialog = make("dialog", { class: "ck-look", "aria-label": "one hit" });
root().append(dialog);
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());

const act = (action, more = {}) => {
  tell(action, { id: list[at].id, ...more });
  if (["similar", "add", "less"].includes(action)) dialog.close();
};

function step(by) {
  at = Math.min(list.length - 1, Math.max(0, at + by));
  show();
}

function button(label, key, action, more = {}) {
  return make("button", { type: "button", title: key ? `${label} (${key})` : label, ...more, onclick: action }, label);
}

async function copy(text, event) {
  const told = event.target;
  try {
    await navigator.clipboard.writeText(text);
    told.textContent = "copied";
  } catch {
    window.prompt("Copy this path:", text); // over plain http browsers keep the clipboard to themselves
  }
}

function bar(label, value, most, more = "") {
  const share = most ? Math.min(1, Math.abs(value) / most) * 50 : 0;
  return make(
    "div",
    { class: "ck-bar", title: more },
    make("span", { class: "ck-bar-label" }, label),
    make(
      "span",
      { class: "ck-bar-line" },
      make("i", { class: value < 0 ? "ck-minus" : "ck-plus", style: `width:${share}%` }),
    ),
    make("span", { class: "ck-bar-value" }, `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`),
  );
}

function parts(known) {
  if (!known.parts.length) return null;
  const all = known.parts.flatMap((part) => [part.share, ...part.words.map((word) => word.share)]);
  const most = Math.max(...all.map(Math.abs));
  return make(
    "section",
    {},
    make("h3", {}, "What each part adds to the score"),
    known.parts.map((part) => [
      bar(part.label, part.share, most, `weight ${part.weight}, score alone ${score(part.cosine)}`),
      part.words.length > 1 &&
        make("div", { class: "ck-words" }, part.words.map((word) => bar(word.word, word.share, most))),
    ]),
  );
}

function facts(known) {
  return make(
    "dl",
    {},
    known.facts.map(([what, said]) => [make("dt", {}, what), make("dd", {}, said)]),
  );
}

function texts(known) {
  if (!known.texts.length) return null;
  return make(
    "section",
    {},
    make("h3", {}, "Texts that fit best"),
    make("ol", {}, known.texts.map((one) => make("li", {}, make("b", {}, score(one.score)), ` ${one.text}`))),
  );
}

function buttons(known) {
  const pressed = (mark) => ({ "aria-pressed": String(known.mark === mark) });
  const mark = (name) => {
    known.mark = known.mark === name ? null : name;
    act(name);
    fill(known);
  };
  const image = known.kind === "image";
  return make(
    "div",
    { class: "ck-buttons" },
    button("similar", "s", () => act("similar")),
    button("more like this", "", () => act("add")),
    button("less like this", "", () => act("less")),
    button("✓ good", "g", () => mark("good"), pressed("good")),
    button("✗ bad", "b", () => mark("bad"), pressed("bad")),
    button("copy path", "c", (event) => copy(known.path, event)),
    image && make("a", { href: picture(collection, "file", known.id), download: known.name }, "download"),
    button(known.hidden ? "show again" : "hide", "h", () => {
      act(known.hidden ? "unhide" : "hide");
      dialog.close();
    }),
    image && button("why?", "w", why),
  );
}

async function why() {
  const mine = turn;
  const box = dialog.querySelector(".ck-why");
  box.replaceChildren(make("p", {}, "looking…"));
  const found = await server.why({ link, id: list[at].id });
  if (mine !== turn) return;
  if (found.reason) return box.replaceChildren(make("p", {}, found.reason));
  dialog.querySelector(".ck-large").src = found.picture;
  box.replaceChildren(make("p", {}, `Warm places fit the query. Method: ${found.method}. ${found.source}`));
}

function fill(known) {
  dialog
    .querySelector(".ck-side")
    .replaceChildren(
      ...[
        make("h2", {}, known.name),
        make("code", { class: "ck-path" }, known.path),
        known.text && make("p", { class: "ck-text" }, known.text),
        buttons(known),
        make("div", { class: "ck-why" }),
        parts(known),
        facts(known),
        texts(known),
      ].filter(Boolean),
    );
}

async function show() {
  const mine = ++turn;
  const card = list[at];
  const image = card.kind === "image";
  const large = image
    ? make("img", { class: "ck-large", alt: card.name, src: picture(collection, "thumbnail", card.id) })
    : make("p", { class: "ck-large" }, card.text || card.id);
  dialog.replaceChildren(
    make("div", { class: "ck-stage" }, large),
    make("div", { class: "ck-side" }, make("h2", {}, card.name)),
    make("nav", {}, [
      button("‹", "←", () => step(-1), { "aria-label": "previous", disabled: at === 0 }),
      make("span", {}, `${at + 1} / ${list.length}`),
      button("›", "→", () => step(1), { "aria-label": "next", disabled: at === list.length - 1 }),
      button("×", "Esc", () => dialog.close(), { "aria-label": "close" }),
    ]),
  );
  if (!dialog.open) dialog.showModal();
  dialog.focus();
  if (image) {
    const sharp = new Image();
    sharp.onload = () => mine === turn && !large.src.startsWith("data:") && (large.src = sharp.src);
    sharp.src = picture(collection, "large", card.id);
  }
  try {
    const known = await server.details({ link, id: card.id });
    if (mine !== turn) return;
    if (known.error) dialog.querySelector(".ck-side").append(make("p", { class: "ck-error" }, known.error));
    else fill(known);
  } catch {
    if (mine === turn)
      dialog.querySelector(".ck-side").append(make("p", { class: "ck-error" }, "the server does not answer"));
  }
}

dialog.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const press = (label) =>
    [...dialog.querySelectorAll(".ck-buttons button")].find((one) => one.textContent.includes(label))?.click();
  const keys = {
    ArrowRight: () => step(1),
    ArrowLeft: () => step(-1),
    s: () => press("similar"),
    g: () => press("good"),
    b: () => press("bad"),
    h: () => press("hide"),
    w: () => press("why"),
    c: () => press("copy"),
  };
  if (keys[event.key]) {
    event.preventDefault();
    keys[event.key]();
  }
});

window.addEventListener("clipkit:look", ({ detail }) => {
  ({ cards: list, at, link, collection } = detail);
  show();
});
