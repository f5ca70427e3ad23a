// A run of indexing: how far it is, and what became of it.
const many = (count) => count.toLocaleString();

function time(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

function going(run) {
  const { progress: at, rate, left } = run;
  const said = at
    ? [`${many(at.done)} of ${many(at.total)} files`, at.skipped && `${many(at.skipped)} skipped`,
       rate && `${rate >= 10 ? many(Math.round(rate)) : rate.toFixed(1)} a second`, left && `${time(left)} left`]
    : ["looking at the folder, loading the model…"];
  return make("div", { class: "ck-run" },
    make("p", {}, `${run.what}…`),
    make("progress", { "aria-label": run.what, ...(at && at.total ? { value: at.done, max: at.total } : {}) }),
    make("p", { class: "ck-count" }, said.filter(Boolean).join(" · ")),
    make("button", { type: "button", disabled: run.stopping, onclick: () => tell("stop") }, run.stopping ? "stopping…" : "stop"));
}

function failures(run) {
  if (!run.failed) return null;
  const more = run.failed - run.failures.length;
  return make("details", { open: run.failed <= 20 },
    make("summary", {}, `${many(run.failed)} could not be used; they are tried again once they change`),
    make("ul", { class: "ck-failures" },
      run.failures.map((one) => make("li", {}, make("code", {}, one.file), ` ${one.reason}`)),
      more > 0 && make("li", {}, `and ${many(more)} more: clipkit status --failures lists all`)));
}

function ended(run) {
  const counts = run.counts.filter((one) => one.count || ["added", "unchanged"].includes(one.what));
  const kept = run.counts.find((one) => one.what === "kept missing").count;
  return make("div", { class: "ck-run", role: "status" },
    make("p", {}, run.stopped
      ? "Stopped. What was done is stored; index the folder again to go on."
      : `Done in ${time(run.seconds)}: ${run.collection}`),
    make("ul", { class: "ck-counts" }, counts.map((one) => make("li", {}, make("b", {}, many(one.count)), ` ${one.what}`))),
    kept > 0 && make("p", {}, "Files that are gone are kept while they are so many: a disk may be missing. clipkit index FOLDER --prune drops them."),
    failures(run));
}

function render() {
  const run = props.value || {};
  root().replaceChildren(
    ...[
      run.refused && make("p", { class: "ck-wrong", role: "alert" }, run.refused),
      run.error && make("p", { class: "ck-wrong", role: "alert" }, run.error),
      run.running && going(run),
      run.counts && ended(run),
    ].filter(Boolean));
}

watch("value", render);
render();
