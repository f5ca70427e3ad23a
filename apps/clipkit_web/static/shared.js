// Put before each script of ours: `element`, `props`, `trigger`, `watch` and `server` are Gradio's.
const root = () => element.querySelector(":scope div[class^=ck-]");

/** An element with attributes, listeners (on...) and children; text stays text. */
function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return made;
}

const tell = (action, more = {}) => trigger("input", { action, ...more });

const picture = (collection, what, id) =>
  `pictures/${encodeURIComponent(collection)}/${what}?id=${encodeURIComponent(id)}`;

const score = (value) => (value == null ? "" : value.toFixed(3));
