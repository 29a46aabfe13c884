// Where the page stands: the part of its address behind the #, which holds the whole view.

/** {view, name, given}: `#/hosts/web1?range=1h` is the view "hosts" of "web1", given a range. */
export function here() {
  const [path, query = ""] = location.hash.slice(1).split(/\?(.*)/s);
  const [, view = "", name = ""] = path.split("/");
  return { view: view || "fleet", name: decoded(name), given: new URLSearchParams(query) };
}

/** The address of a view. What is null or empty among `given` is left out; of a list each is given. */
export function address(view, name = "", given = {}) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(given)) {
    for (const one of [value].flat()) if (one !== null && one !== "" && one !== undefined) query.append(key, one);
  }
  const path = `#/${view === "fleet" ? "" : view}${name && `/${encodeURIComponent(name)}`}`;
  return query.size ? `${path}?${query}` : path;
}

/** Goes there; with `replace` the way back leads past where the page stands now. */
export function go(to, replace = false) {
  if (to === location.hash) return;
  if (!replace) location.hash = to;
  else {
    history.replaceState(null, "", to);
    dispatchEvent(new HashChangeEvent("hashchange"));
  }
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
