// The question in the address bar: links can be shared, and the browser's buttons go back and forth.
const here = () => location.search.replace(/^\?/, "");
const kept = /^(__theme|token)=/;
const question = () => here().split("&").filter((pair) => pair && !kept.test(pair)).join("&");

watch("value", () => {
  const { link = "", replace } = props.value || {};
  if (link === question()) return;
  const others = here().split("&").filter((pair) => /^__theme=/.test(pair));
  const search = [link, ...others].filter(Boolean).join("&");
  history[replace ? "replaceState" : "pushState"]({}, "", location.pathname + (search ? `?${search}` : ""));
});

window.addEventListener("popstate", () => tell("go", { link: question() }));
