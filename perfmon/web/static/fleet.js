// All hosts, as the stream tells of them: columns of facts and of figures.

/** What is shown as small charts. */
export const CHARTED = ["cpu", "memory", "load", "io", "network"];

/** s that a small chart shows. */
export const SHOWN = 600;

const HERE = new Set(["up", "late"]);
const names = new Intl.Collator("en", { numeric: true });

/** One host. Beside the columns it has `labelled` (its labels as text), `text` (what a search finds) and `history`. */
class Host {
  constructor(name) {
    this.host = name;
    this.labelled = [];
    this.forget();
    this.known = null; // of one that sends metrics of its own: {count, name, value}
  }

  /** Whether it is there. */
  get present() {
    return HERE.has(this.state);
  }

  /** Bytes per second in both directions. */
  get network() {
    return this.receive === null && this.transmit === null ? null : this.receive + this.transmit;
  }

  /** Whether nothing that has a column is known of it. */
  get bare() {
    return this.cpu === null && this.memory === null && this.load === null && this.disk === null;
  }

  /** Begins the history anew: nobody knows what it has missed. */
  forget() {
    const version = (this.history?.version ?? 0) + 1;
    this.history = { times: [], values: Object.fromEntries(CHARTED.map((name) => [name, []])), version };
    this.seeded = false; // whether what was stored before is in it, or has been asked for
  }

  describe() {
    this.labelled = Object.entries(this.labels).map(([name, value]) => `${name}=${value}`);
    this.text = [this.host, ...this.labelled].join("\n").toLowerCase();
  }

  /** Adds the newest figures to the history. */
  remember() {
    const { times, values } = this.history;
    if (this.time === null || this.time <= times.at(-1)) return;
    times.push(this.time);
    for (const name of CHARTED) values[name].push(this[name]);
    let old = 0;
    while (times[old] < this.time - SHOWN) old += 1;
    if (old > 10) for (const column of [times, ...Object.values(values)]) column.splice(0, old);
    this.history.version += 1;
  }

  /** Puts what was stored before in front of the history; `columns` are by name, at `times`. */
  seed(times, columns) {
    const { history } = this;
    const first = history.times[0] ?? Infinity;
    const count = times.findIndex((time) => time >= first);
    const end = count < 0 ? times.length : count;
    history.times.unshift(...times.slice(0, end));
    for (const name of CHARTED) history.values[name].unshift(...(columns[name] ?? times.map(() => null)).slice(0, end));
    history.version += 1;
  }
}

/** The hosts by name; `sorted` are all of them in that order. */
export class Fleet {
  #hosts = new Map();
  #sorted = null;

  get(name) {
    return this.#hosts.get(name);
  }

  get size() {
    return this.#hosts.size;
  }

  get sorted() {
    if (!this.#sorted) {
      this.#sorted = [...this.#hosts.values()].sort((one, other) => names.compare(one.host, other.host));
      this.#sorted.forEach((host, place) => (host.place = place));
    }
    return this.#sorted;
  }

  /** Takes in all hosts there are. */
  replace(columns) {
    const gone = new Set(this.#hosts.keys());
    for (const name of columns.host) gone.delete(name);
    for (const host of this.#hosts.values()) host.forget();
    this.merge({ facts: columns, figures: columns, gone });
  }

  /** Takes in what has changed, and the names of hosts that were removed. */
  merge({ facts, figures, gone }) {
    for (const host of this.#columns(facts)) host.describe();
    for (const host of this.#columns(figures)) host.remember();
    for (const name of gone) if (this.#hosts.delete(name)) this.#sorted = null;
  }

  *#columns(columns) {
    const kinds = Object.keys(columns);
    for (const [place, name] of columns.host.entries()) {
      let host = this.#hosts.get(name);
      if (!host) {
        host = new Host(name);
        this.#hosts.set(name, host);
        this.#sorted = null;
      }
      for (const kind of kinds) host[kind] = columns[kind][place];
      yield host;
    }
  }
}

/** Whether `text` matches the pattern: as the API's, with * ? [ab] and commas; empty matches all. */
export function matcher(pattern) {
  const parts = pattern.split(",").map((part) => part.trim()).filter(Boolean);
  if (!parts.length) return () => true;
  const expression = parts
    .map((part) =>
      part.replace(/\[!([^\]]*)\]|\[([^\]]*)\]|\*|\?|[.+^${}()|[\]\\]/g, (found, not, any) => {
        if (not !== undefined) return `[^${not}]`;
        if (any !== undefined) return `[${any}]`;
        return { "*": ".*", "?": "." }[found] ?? `\\${found}`;
      }),
    )
    .join("|");
  try {
    const wanted = new RegExp(`^(?:${expression})$`, "s");
    return (text) => wanted.test(text);
  } catch {
    return () => false;
  }
}
