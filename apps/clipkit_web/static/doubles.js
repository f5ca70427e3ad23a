// Groups of near-duplicates side by side: which to keep, which to hide.
const many = (count) => count.toLocaleString();
const megabytes = (count) => (count >= 1e6 ? `${(count / 1e6).toFixed(1)} MB` : `${Math.round((count || 0) / 1e3)} kB`);

function item(one, best, collection) {
  const facts = [one.width && `${one.width} × ${one.height}`, one.bytes && megabytes(one.bytes), one.date];
  return make("figure", { class: one.hidden ? "ck-gone" : "", title: one.file },
    make("img", { src: picture(collection, "thumbnail", one.id), alt: one.name, loading: "lazy" }),
    make("figcaption", {},
      make("span", { class: "ck-name" }, one.name),
      make("span", {}, facts.filter(Boolean).join(" · ")),
      make("span", {}, best ? "the best" : `score ${score(one.score)}`),
      make("button", { type: "button", "aria-pressed": String(one.hidden), onclick: () => tell(one.hidden ? "keep" : "hide", { id: one.id }) },
        one.hidden ? "hidden: keep" : "hide")));
}

function group(one, at, collection) {
  return make("section", { class: "ck-group", "aria-label": `group ${at + 1}` },
    make("div", { class: "ck-pair" }, one.items.map((each, place) => item(each, place === 0, collection))),
    make("div", { class: "ck-buttons" },
      one.more > 0 && make("span", {}, `and ${many(one.more)} more`),
      make("button", { type: "button", disabled: one.settled, onclick: () => tell("best", { group: at }) },
        one.settled ? "only the best is kept" : "keep the best, hide the others")));
}

function found(all) {
  if (!all.count)
    return make("p", { class: "ck-empty" }, `No duplicates of this sort among ${many(all.items)} pictures.`);
  const shown = all.groups.length < all.count ? `, the largest ${all.groups.length} below` : "";
  return make("div", {},
    make("p", { role: "status" },
      `${many(all.count)} groups among ${many(all.items)} pictures${shown}: ${many(all.others)} pictures, ${megabytes(all.bytes)}, ` +
      `could go; ${many(all.hidden)} hidden here. Hiding deletes nothing.`),
    all.unseen > 0 && make("p", {}, `${many(all.unseen)} pictures have no thumbnail: of these only exact copies are found.`),
    make("div", { class: "ck-buttons" },
      make("button", { type: "button", onclick: () => tell("best") }, "keep the best of every group"),
      make("button", { type: "button", disabled: !all.acts, onclick: () => tell("undo") }, "undo")),
    make("div", { class: "ck-groups" }, all.groups.map((one, at) => group(one, at, all.collection))));
}

function going({ progress: at, stopping }) {
  return make("div", { class: "ck-run" },
    make("progress", { "aria-label": "comparing", ...(at && at.total ? { value: at.done, max: at.total } : {}) }),
    make("p", { class: "ck-count" }, at ? `${many(at.done)} of ${many(at.total)} pictures looked at` : "reading what is stored…"),
    make("button", { type: "button", disabled: stopping, onclick: () => tell("stop") }, stopping ? "stopping…" : "stop"));
}

function render() {
  const all = props.value || {};
  root().replaceChildren(
    ...[
      all.refused && make("p", { class: "ck-wrong", role: "alert" }, all.refused),
      all.error && make("p", { class: "ck-wrong", role: "alert" }, all.error),
      all.busy && make("p", {}, `${all.busy}…`),
      all.running && going(all),
      all.groups && found(all),
    ].filter(Boolean));
}

watch("value", render);
render();
