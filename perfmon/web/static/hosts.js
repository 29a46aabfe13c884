// The table of hosts: rows that are changed in place, sorted and filtered.

import { full, make, moment, percent, plain, put, short, span } from "./format.js";
import { Sparkline } from "./sparkline.js";

const RANK = { departed: 0, late: 1, silent: 2, up: 3, absent: 4, left: 5 };
const HERE = new Set(["up", "late"]);

// More rows than this nobody reads, and a browser takes long to lay out: the filter finds the others.
const MOST_ROWS = 500;

// Interfaces whose traffic another one carries too, or that does not leave the host.
const INNER = /^(lo\d*|veth.*|docker.*|br-.*|virbr.*|cni.*|flannel.*|cali.*)$/;

const WARM = 0.8;
const HOT = 0.95;
const NONE = "–";

const names = new Intl.Collator("en", { numeric: true });

/** How a column is sorted, by which value of a row; a heading's first click begins with the largest where `falls`. */
const COLUMNS = {
  state: { value: (row) => RANK[row.host.state] ?? 9 },
  name: { value: (row) => row.host.host },
  labels: { value: (row) => row.labels.join(" ") || undefined },
  cpu: { value: (row) => row.cpu, falls: true },
  memory: { value: (row) => row.memory, falls: true },
  load: { value: (row) => row.load, falls: true },
  disk: { value: (row) => row.disk?.share, falls: true },
  network: { value: (row) => row.rates && row.rates.receive + row.rates.transmit, falls: true },
  seen: { value: (row) => row.host.last_seen, falls: true },
  since: { value: (row) => row.host.since, falls: true },
};

/** One host: what is known of it, and its row. */
class Row {
  constructor() {
    this.element = make("tr");
    this.element.setAttribute("role", "row");
    this.cells = {};
    for (const column of Object.keys(COLUMNS)) {
      const cell = make("td", column);
      cell.setAttribute("role", "cell");
      this.element.append(cell);
      this.cells[column] = cell;
    }
    this.state = this.cells.state.appendChild(make("span", "mark"));
    this.name = this.cells.name.appendChild(make("strong"));
    this.kind = this.cells.name.appendChild(make("span", "quiet"));
    this.sparkline = new Sparkline();
    this.cells.cpu.append(this.sparkline.element);
    this.numbers = {};
    for (const column of ["cpu", "memory", "load", "disk"]) {
      this.numbers[column] = this.cells[column].appendChild(make("span", "number"));
    }
    this.bars = {};
    for (const column of ["memory", "disk"]) {
      this.bars[column] = this.cells[column].appendChild(make("span", "bar")).appendChild(make("span"));
    }
    this.receive = this.cells.network.appendChild(make("span"));
    this.transmit = this.cells.network.appendChild(make("span"));
    this.labels = [];
    this.counters = null; // of the network: {time, values}
    this.rates = null; // bytes per second
    this.known = null; // of a sender: {count, name, value}
  }

  /** Takes in what the collector says of the host. */
  take(host) {
    const value = (metric) => host.latest[metric]?.value;
    this.host = host;
    this.labels = Object.entries(host.labels).map(([name, text]) => `${name}=${text}`);
    this.text = [host.host, ...this.labels].join("\n").toLowerCase();
    this.cpu = value("perfmon.cpu.utilization");
    this.memory = value("perfmon.memory.utilization");
    this.load = value("system.cpu.load_average.1m");
    this.cpus = value("system.cpu.logical.count");
    this.disk = fullest(host.latest);
    this.#rate(host.latest);
    const sample = host.latest["perfmon.cpu.utilization"];
    if (sample) this.sparkline.add(sample.time, sample.value);
  }

  /** Rates of the network, from the counters of this sample and of the one before. */
  #rate(latest) {
    const sums = { receive: 0, transmit: 0 };
    const counters = { time: 0, values: {} };
    for (const [metric, { time, value }] of Object.entries(latest)) {
      const tags = tagsOf(metric, "system.network.io");
      if (!tags || INNER.test(tags.device)) continue;
      counters.time = Math.max(counters.time, time);
      counters.values[metric] = value;
      const before = this.counters?.values[metric];
      // one that fell began anew at 0
      if (before !== undefined) sums[tags.direction] += value >= before ? value - before : value;
    }
    if (this.counters && counters.time > this.counters.time) {
      const seconds = counters.time - this.counters.time;
      this.rates = { receive: sums.receive / seconds, transmit: sums.transmit / seconds };
    }
    if (!HERE.has(this.host.state)) this.rates = null;
    if (counters.time) this.counters = counters;
  }

  /** Whether nothing that the table has a column for is known: it sends metrics of its own. */
  get bare() {
    return this.cpu === undefined && this.memory === undefined && this.load === undefined && !this.disk;
  }

  draw(now) {
    const { host } = this;
    this.element.className = HERE.has(host.state) ? host.state : `${host.state} gone`;
    put(this.state, host.state);
    this.state.className = `mark ${host.state}`;
    this.state.title = [host.reason, planOf(host, now)].filter(Boolean).join("\n");
    put(this.name, host.host);
    put(this.kind, kindOf(host));
    this.#drawLabels();
    this.sparkline.draw(now, host.interval);
    this.#drawShare("cpu", this.cpu);
    this.#drawShare("memory", this.memory);
    this.#drawShare("disk", this.disk?.share);
    this.cells.disk.title = this.disk?.mountpoint ?? "";
    const load = this.load === undefined ? NONE : this.load.toFixed(this.load < 9.95 ? 2 : 1);
    put(this.numbers.load, this.cpus && this.load !== undefined ? `${load} / ${this.cpus}` : load);
    this.numbers.load.classList.toggle("warm", this.load > this.cpus);
    put(this.receive, this.rates ? `↓ ${short(this.rates.receive)}B/s` : NONE);
    put(this.transmit, this.rates ? `↑ ${short(this.rates.transmit)}B/s` : "");
    put(this.cells.since, moment(host.since, now));
    this.cells.since.title = full(host.since);
    this.cells.seen.title = [full(host.last_seen), ...clockOf(host)].join("\n");
    this.tick(now);
  }

  /** What changes with time alone. */
  tick(now) {
    put(this.cells.seen, `${span(now - this.host.last_seen)} ago`);
  }

  #drawShare(column, share) {
    const cell = this.numbers[column];
    put(cell, share === undefined ? NONE : percent(share));
    const heat = share >= HOT ? "hot" : share >= WARM ? "warm" : "";
    this.cells[column].className = `${column} ${heat}`.trim();
    const bar = this.bars[column];
    if (bar) {
      bar.parentElement.hidden = share === undefined;
      bar.style.width = `${Math.min(1, share ?? 0) * 100}%`;
    }
  }

  #drawLabels() {
    const texts = [...this.labels];
    if (this.bare && this.known) {
      const { count, name, value } = this.known;
      texts.push(`${count} ${count === 1 ? "metric" : "metrics"}, ${name} = ${plain(value)}`);
    }
    const cell = this.cells.labels;
    if (texts.join("\n") === this.drawn) return;
    this.drawn = texts.join("\n");
    const kind = (place) => (place < this.labels.length ? "label" : "quiet");
    cell.replaceChildren(...texts.map((text, place) => make("span", kind(place), text)));
    for (const label of cell.children) label.title = label.textContent; // a long one is cut
  }
}

/** The tags of `metric`, null where its name is not `name`. */
function tagsOf(metric, name) {
  const [own, ...tags] = metric.split(";");
  return own === name ? Object.fromEntries(tags.map((tag) => tag.split(/=(.*)/s))) : null;
}

function fullest(latest) {
  let found;
  for (const [metric, { value }] of Object.entries(latest)) {
    const tags = tagsOf(metric, "system.filesystem.utilization");
    if (tags && !(found?.share >= value)) found = { share: value, mountpoint: tags.mountpoint };
  }
  return found;
}

function kindOf(host) {
  if (host.kind === "sender") return "Graphite or HTTP";
  const { system, cpus, memory } = host.platform;
  const parts = [system, cpus && `${cpus} CPU`, memory && `${short(Number(memory))}B`, host.stopped && "sampling stopped"];
  return parts.filter(Boolean).join(" · ");
}

/** Until when the host may be absent, in words; empty where nothing is planned. */
function planOf(host, now) {
  if (!host.absence) return "";
  const { until, reason } = host.absence;
  return `may be absent until ${moment(until, now)}${reason ? `: ${reason}` : ""}`;
}

/** What is known of the host's clock, as lines. */
function clockOf(host) {
  if (!host.clock) {
    return [];
  }
  const { offset, round_trip: roundTrip } = host.clock;
  const ahead = `${Math.abs(offset).toPrecision(3)} s ${offset < 0 ? "behind" : "ahead"}`;
  return [`clock ${ahead}, to ± ${(roundTrip / 2).toPrecision(1)} s`];
}

/** The table with its headings and its filter. */
export class HostTable {
  #rows = new Map();
  #column = "state";
  #falls = false;

  constructor(table, search, summary, none) {
    this.body = table.tBodies[0];
    this.headings = [...table.querySelectorAll("th")];
    this.search = search;
    this.summary = summary;
    this.none = none;
    this.shown = [];
    for (const heading of this.headings) {
      heading.querySelector("button").addEventListener("click", () => this.#sortBy(heading.dataset.column));
    }
    search.addEventListener("input", () => this.arrange());
    this.#markSorted();
  }

  /** Takes in the collector's list: all hosts there are. */
  update(hosts, now) {
    const gone = new Set(this.#rows.keys());
    for (const { host } of hosts) gone.delete(host);
    this.merge(hosts, gone, now);
  }

  /** Takes in the hosts that have changed, and the names of those that were removed. */
  merge(hosts, gone, now) {
    for (const host of hosts) {
      if (!this.#rows.has(host.host)) this.#rows.set(host.host, new Row());
      this.#rows.get(host.host).take(host);
    }
    for (const name of gone) this.#rows.delete(name);
    this.arrange(now);
  }

  /** Begins the sparklines with what the collector has stored. */
  seed(series) {
    for (const { host, times, values } of series) this.#rows.get(host)?.sparkline.seed(times, values);
    this.arrange();
  }

  /** Names of the first hosts on show of which the table's own metrics say nothing. */
  bare(most) {
    return this.shown.filter((row) => row.bare).slice(0, most).map((row) => row.host.host);
  }

  /** Takes in all metrics of some hosts, to say how many there are and which is the newest. */
  know(hosts) {
    for (const { host, latest } of hosts) {
      const row = this.#rows.get(host);
      const entries = Object.entries(latest);
      if (!row || !entries.length) continue;
      const [name, { value }] = entries.reduce((best, one) => (one[1].time > best[1].time ? one : best));
      row.known = { count: entries.length, name, value };
    }
  }

  tick(now) {
    for (const row of this.shown) row.tick(now);
  }

  /** Brings the rows on show into order, moving only those that stand in another place. */
  arrange(now = this.now) {
    this.now = now;
    const wanted = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [...this.#rows.values()].filter((row) => wanted.every((word) => row.text.includes(word)));
    found.sort((one, other) => this.#compare(one, other));
    const before = new Set(this.shown);
    this.shown = found.slice(0, MOST_ROWS);
    let place = this.body.firstChild;
    for (const row of this.shown) {
      before.delete(row);
      row.draw(now);
      if (row.element === place) place = place.nextSibling;
      else this.body.insertBefore(row.element, place);
    }
    for (const row of before) row.element.remove();
    this.#say(found.length);
  }

  #say(found) {
    const all = this.#rows.size;
    const shown = this.shown.length;
    put(this.summary, shown < found ? `first ${shown} of ${found}` : found < all ? `${found} of ${all}` : "");
    this.none.hidden = found > 0;
    put(this.none, all ? "No host matches the filter." : "No host yet. The first one appears when an agent connects.");
  }

  #compare(one, other) {
    const { value } = COLUMNS[this.#column];
    const [a, b] = [value(one) ?? null, value(other) ?? null];
    const byName = names.compare(one.host.host, other.host.host);
    if (a === null || b === null) return (a === null) - (b === null) || byName; // unknown ones come last
    const order = typeof a === "string" ? names.compare(a, b) : a - b;
    return (this.#falls ? -order : order) || byName;
  }

  #sortBy(column) {
    this.#falls = column === this.#column ? !this.#falls : Boolean(COLUMNS[column].falls);
    this.#column = column;
    this.#markSorted();
    this.arrange();
  }

  #markSorted() {
    for (const heading of this.headings) {
      const sorted = heading.dataset.column === this.#column;
      heading.setAttribute("aria-sort", sorted ? (this.#falls ? "descending" : "ascending") : "none");
    }
  }
}
