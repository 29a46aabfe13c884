// The table of hosts: of thousands, only those in sight have rows.

import { full, make, moment, percent, plain, put, rate, short, span } from "./format.js";
import { SHOWN } from "./fleet.js";
import { address } from "./route.js";
import { Sparkline } from "./sparkline.js";

const RANK = { departed: 0, late: 1, silent: 2, up: 3, absent: 4, left: 5 };

// Rows that are kept ready on either side of those in sight.
const BEYOND = 8;

const WARM = 0.8;
const HOT = 0.95;
const NONE = "–";

/** How a column is sorted, by which value of a host; a heading's first click begins with the largest where `falls`. */
const COLUMNS = {
  state: { value: (host) => RANK[host.state] ?? 9 },
  name: { value: (host) => host.place },
  labels: { value: (host) => host.labelled.join(" ") || null },
  cpu: { value: (host) => host.cpu, falls: true },
  memory: { value: (host) => host.memory, falls: true },
  load: { value: (host) => host.load, falls: true },
  disk: { value: (host) => host.disk, falls: true },
  network: { value: (host) => host.network, falls: true },
  seen: { value: (host) => host.seen, falls: true },
  since: { value: (host) => host.since, falls: true },
};

/** What a person may sort by. */
export const SORTABLE = Object.keys(COLUMNS);

/** A row, which shows one host and later perhaps another. */
class Row {
  #labels = null;

  constructor() {
    this.element = make("tr");
    this.element.setAttribute("role", "row");
    this.cells = {};
    for (const column of SORTABLE) {
      const cell = this.element.appendChild(make("td", column));
      cell.setAttribute("role", "cell");
      this.cells[column] = cell;
    }
    this.state = this.cells.state.appendChild(make("span", "mark"));
    this.name = this.cells.name.appendChild(make("a"));
    this.kind = this.cells.name.appendChild(make("span", "quiet"));
    this.charts = {
      cpu: [new Sparkline(1), "cpu"],
      memory: [new Sparkline(1), "memory"],
      load: [new Sparkline(1), "load"],
      disk: [new Sparkline(0), "io"],
      network: [new Sparkline(0), "network"],
    };
    this.numbers = {};
    for (const [column, [chart]] of Object.entries(this.charts)) {
      this.cells[column].append(chart.element);
      this.numbers[column] = this.cells[column].appendChild(make("span", "number"));
    }
    this.io = this.cells.disk.appendChild(make("span", "quiet rates"));
    this.chips = this.cells.labels.appendChild(make("div", "chips"));
    this.receive = this.numbers.network.appendChild(make("span"));
    this.transmit = this.numbers.network.appendChild(make("span"));
  }

  draw(host, now) {
    this.element.className = host.present ? host.state : `${host.state} gone`;
    put(this.state, host.state);
    this.state.className = `mark ${host.state}`;
    this.state.title = [host.reason, planOf(host, now)].filter(Boolean).join("\n");
    put(this.name, host.host);
    this.name.href = address("hosts", host.host);
    put(this.kind, kindOf(host));
    this.#drawLabels(host);
    for (const [chart, name] of Object.values(this.charts)) chart.draw(host, name, now, SHOWN);
    this.#drawShare("cpu", host.cpu);
    this.#drawShare("memory", host.memory);
    this.#drawShare("disk", host.disk);
    this.cells.disk.title = host.mountpoint ? `${host.mountpoint} is the fullest` : "";
    put(this.io, host.present && host.io !== null ? rate(host.io) : "");
    const load = host.load === null ? NONE : host.load.toFixed(host.load < 9.95 ? 2 : 1);
    put(this.numbers.load, host.cpus && host.load !== null ? `${load} / ${host.cpus}` : load);
    this.numbers.load.classList.toggle("warm", host.cpus !== null && host.load > host.cpus);
    const flows = host.present && host.network !== null;
    put(this.receive, flows ? `↓ ${rate(host.receive)}` : NONE);
    put(this.transmit, flows ? `↑ ${rate(host.transmit)}` : "");
    put(this.cells.since, moment(host.since, now));
    this.cells.since.title = full(host.since);
    put(this.cells.seen, `${span(now - host.seen)} ago`);
    this.cells.seen.title = full(host.seen);
  }

  #drawShare(column, share) {
    put(this.numbers[column], share === null ? NONE : percent(share));
    const heat = share >= HOT ? "hot" : share >= WARM ? "warm" : "";
    this.cells[column].className = `${column} ${heat}`.trim();
  }

  /** Each label is a button: it makes the filter ask for it. */
  #drawLabels(host) {
    const bare = host.bare && host.known ? describe(host.known) : "";
    const drawn = JSON.stringify([host.labelled, bare]);
    if (drawn === this.#labels) return;
    this.#labels = drawn;
    const labels = host.labelled.map((text) => {
      const label = make("button", "label", text);
      label.title = `${text}: show only these`;
      label.value = text;
      return label;
    });
    this.chips.replaceChildren(...labels, ...(bare ? [make("span", "quiet", bare)] : []));
  }
}

function describe({ count, name, value }) {
  return `${count} ${count === 1 ? "metric" : "metrics"}, ${name} = ${plain(value)}`;
}

/** What a host is, in a few words. */
export function kindOf(host) {
  if (host.kind === "sender") return "Graphite or HTTP";
  const { system, cpus, memory_size: memory } = host;
  const parts = [system, cpus && `${cpus} CPU`, memory && `${short(memory)}B`, host.stopped && "sampling stopped"];
  return parts.filter(Boolean).join(" · ");
}

/** Until when the host may be absent, in words; empty where nothing is planned. */
export function planOf(host, now) {
  if (!host.absence) return "";
  const { until, reason } = host.absence;
  return `may be absent until ${moment(until, now)}${reason ? `: ${reason}` : ""}`;
}

/** The table with its headings. Calls `sort` with a column when its heading is pressed. */
export class HostTable {
  #hosts = []; // in the order in which they are shown
  #rows = new Map(); // of those in sight and a few beyond, by host
  #sight = [0, 0]; // places of the first host in sight, and of the first behind
  #now = 0;
  #due = false;
  #changed = false; // whether more than what is in sight has changed

  constructor(table, sort) {
    this.table = table;
    this.body = table.tBodies[0];
    this.above = this.body.appendChild(space());
    this.below = this.body.appendChild(space());
    this.headings = [...table.querySelectorAll("th")];
    for (const heading of this.headings) {
      heading.querySelector("button").addEventListener("click", () => sort(heading.dataset.column));
    }
    for (const kind of ["scroll", "resize"]) addEventListener(kind, () => this.#soon(), { passive: true });
  }

  /** The hosts in sight. */
  get inSight() {
    return this.#hosts.slice(...this.#sight);
  }

  /** Whether a column begins with its largest value when it is chosen. */
  static falls(column) {
    return Boolean(COLUMNS[column].falls);
  }

  /** Shows `hosts`, which it sorts, as of `now`. */
  show(hosts, column, falls, now) {
    const { value } = COLUMNS[column];
    const keyed = hosts.map((host) => [value(host) ?? null, host]);
    keyed.sort(([a, one], [b, other]) => {
      if (a === null || b === null) return (a === null) - (b === null) || one.place - other.place; // unknown ones last
      const order = a < b ? -1 : a > b ? 1 : 0;
      return (falls ? -order : order) || one.place - other.place;
    });
    this.#hosts = keyed.map(([, host]) => host);
    this.#now = now;
    for (const heading of this.headings) {
      const sorted = heading.dataset.column === column;
      heading.setAttribute("aria-sort", sorted ? (falls ? "descending" : "ascending") : "none");
    }
    this.table.setAttribute("aria-rowcount", `${hosts.length + 1}`);
    this.#changed = true;
    this.#soon();
  }

  /** What changes with time alone. */
  tick(now) {
    this.#now = now;
    this.#changed = true;
    this.#soon();
  }

  #soon() {
    if (this.#due || !this.body.offsetParent) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.#draw();
    });
  }

  /** Draws the rows in sight, moving only those that stand in another place; a free one serves for the next host. */
  #draw() {
    const style = getComputedStyle(this.body);
    const columns = style.display === "grid" ? style.gridTemplateColumns.split(" ").length : 1;
    const height = parseFloat(style.getPropertyValue("--row-height"));
    const top = this.body.getBoundingClientRect().top;
    const lines = Math.ceil(this.#hosts.length / columns);
    const [begin, end] = [Math.max(0, Math.floor(-top / height)), Math.max(0, Math.ceil((innerHeight - top) / height))];
    this.#sight = [begin * columns, end * columns];
    const first = Math.min(lines, Math.max(0, begin - BEYOND));
    const last = Math.max(first, Math.min(lines, end + BEYOND));
    const wanted = this.#hosts.slice(first * columns, last * columns);
    const kept = new Set(wanted);
    const free = [];
    for (const [host, row] of this.#rows) {
      if (kept.has(host)) continue;
      this.#rows.delete(host);
      free.push(row);
    }
    let place = this.above.nextSibling;
    for (const [number, host] of wanted.entries()) {
      let row = this.#rows.get(host);
      if (!row || this.#changed) {
        row ??= free.pop() ?? new Row();
        this.#rows.set(host, row);
        row.draw(host, this.#now);
      }
      row.element.setAttribute("aria-rowindex", `${first * columns + number + 2}`);
      if (row.element === place) place = place.nextSibling;
      else this.body.insertBefore(row.element, place);
    }
    this.#changed = false;
    for (const row of free) row.element.remove();
    this.above.style.height = `${first * height}px`;
    this.below.style.height = `${(lines - last) * height}px`;
    for (const space of [this.above, this.below]) space.hidden = space.style.height === "0px";
  }
}

/** Stands for the rows that are out of sight. */
function space() {
  const row = make("tr", "space");
  row.setAttribute("aria-hidden", "true");
  row.append(make("td"));
  return row;
}
