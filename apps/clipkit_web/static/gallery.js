// The hits, as many as were asked for. The end of the list, when it comes into sight, asks for more.
let shown = new Map(); // id -> figure, so that what stays is not drawn again
let asked = 0; // how many were there when more was asked for
const value = () => props.value || {};

const end = make("div", { class: "ck-end" });
const sight = new IntersectionObserver(
  ([seen]) => {
    const { more, cards = [] } = value();
    if (seen.isIntersecting && more && cards.length !== asked) {
      asked = cards.length;
      tell("more");
    }
  },
  { rootMargin: "800px" },
);

const open = (at) =>
  window.dispatchEvent(new CustomEvent("clipkit:look", { detail: { ...value(), at } }));

function caption(card) {
  return [
    card.score != null && make("span", { class: "ck-score" }, score(card.score)),
    make("span", { class: "ck-name" }, card.kind === "text" ? "text" : card.name),
  ];
}

function figure(card) {
  const ratio = card.width && card.height ? card.width / card.height : 1;
  const body =
    card.kind === "image"
      ? make("img", {
          src: picture(value().collection, "thumbnail", card.id),
          alt: card.name,
          loading: "lazy",
          decoding: "async",
        })
      : make("p", {}, card.text || card.id);
  const made = make(
    "figure",
    {
      tabindex: 0,
      role: "button",
      "aria-label": `${card.name}${card.score == null ? "" : `, score ${score(card.score)}`}`,
      style: `--ratio:${Math.min(2.5, Math.max(0.5, ratio)).toFixed(3)}`,
    },
    body,
    make("figcaption", {}, caption(card)),
  );
  made.dataset.id = card.id;
  made.addEventListener("click", () => open(place(card.id)));
  return made;
}

const place = (id) => value().cards.findIndex((card) => card.id === id);

function render() {
  const { cards = [], good = [], bad = [], advice = [], error } = value();
  asked = Math.min(asked, cards.length - 1);
  const grid = make("div", { class: "ck-grid" });
  const next = new Map();
  let divided = cards.every((card) => card.below); // where nothing stands out, nothing is set apart
  const all = divided;
  for (const card of cards) {
    if (card.below && !divided)
      grid.append(make("div", { class: "ck-divider" }, "from here on nothing stands out"));
    divided ||= card.below;
    const old = shown.get(card.id);
    const made = old || figure(card);
    if (old) made.querySelector("figcaption").replaceChildren(...caption(card).filter(Boolean));
    made.classList.toggle("ck-below", card.below && !all);
    made.classList.toggle("ck-good", good.includes(card.id));
    made.classList.toggle("ck-bad", bad.includes(card.id));
    next.set(card.id, made);
    grid.append(made);
  }
  shown = next;
  const lines = error ? [error] : advice;
  const told = lines.map((line) => make("p", {}, line));
  root().replaceChildren(
    told.length ? make("div", { class: error ? "ck-error" : "ck-empty", role: "status" }, told) : "",
    grid,
    end,
  );
  sight.unobserve(end); // observed anew, it tells at once whether it is in sight already
  sight.observe(end);
  root().dataset.link = value().link || ""; // what is shown now, for whoever waits for it
}

element.addEventListener("keydown", (event) => {
  const here = document.activeElement;
  if (!here || here.tagName !== "FIGURE" || event.ctrlKey || event.metaKey || event.altKey) return;
  const all = [...element.querySelectorAll("figure")];
  const at = all.indexOf(here);
  const below = (step) => {
    const { left, top } = here.getBoundingClientRect();
    const others = all.filter((one) => (one.getBoundingClientRect().top - top) * step > 20);
    const far = (one) => {
      const box = one.getBoundingClientRect();
      return Math.abs(box.top - top) * 4 + Math.abs(box.left - left);
    };
    return others.sort((a, b) => far(a) - far(b))[0];
  };
  const keys = {
    ArrowRight: () => all[at + 1]?.focus(),
    ArrowLeft: () => all[at - 1]?.focus(),
    ArrowDown: () => below(1)?.focus(),
    ArrowUp: () => below(-1)?.focus(),
    Enter: () => open(at),
    " ": () => open(at),
    g: () => tell("good", { id: here.dataset.id }),
    b: () => tell("bad", { id: here.dataset.id }),
    s: () => tell("similar", { id: here.dataset.id }),
  };
  if (keys[event.key]) {
    event.preventDefault();
    keys[event.key]();
  }
});

let before = null;
watch("value", () => {
  if (value().collection !== before) shown = new Map(); // equal ids there are other pictures
  before = value().collection;
  render();
});
before = value().collection;
render();
