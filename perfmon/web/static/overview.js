// The view of the whole fleet: figures on top, the table with its filters, and what happened last.

import { make, put, short, span } from "./format.js";
import { SHOWN } from "./fleet.js";
import { HostTable, SORTABLE } from "./hosts.js";
import { address, go } from "./route.js";
import { STEP } from "./sparkline.js";

const STATES = ["departed", "late", "silent", "up", "absent", "left"];
const MOST_BARE = 20; // hosts asked about in one go: their names go into one pattern
const MOST_SEEDED = 40;
const SEED_AFTER = 150; // ms in which nobody has scrolled on
const BARE_EVERY = 15_000; // ms

// Devices as the collector counts them: see `perfmon/core/fleet.py`.
const INNER = /^(lo\d*|veth.*|docker.*|br-.*|virbr.*|cni.*|flannel.*|cali.*|bond.*|.*\.\d+|dm-.*|md.*|zram.*)$/;

const GAUGES = {
  "perfmon.cpu.utilization": "cpu",
  "perfmon.memory.utilization": "memory",
  "system.cpu.load_average.1m": "load",
};
const RATES = { "system.disk.io": "io", "system.network.io": "network" };

export class Overview {
  #column = "state";
  #falls = false;
  #states = new Set(); // that the filter leaves; empty: all
  #buttons = {};
  #bareAsked = 0; // ms
  #seeding = 0;

  constructor(element, collector, fleet) {
    this.element = element;
    this.collector = collector;
    this.fleet = fleet;
    const within = (selector) => element.querySelector(selector);
    this.search = within("#search");
    this.shown = within("#shown");
    this.none = within("#none");
    this.table = new HostTable(within("#hosts"), (column) => this.#sortBy(column));
    this.search.addEventListener("input", () => this.#settle());
    within("#hosts tbody").addEventListener("click", ({ target }) => target.value && this.#ask(target.value));
    for (const state of STATES) {
      const button = make("button", `mark ${state}`);
      button.addEventListener("click", () => this.#toggle(state));
      this.#buttons[state] = within("#hosts-states").appendChild(button);
    }
  }

  show({ given }) {
    const wanted = given.get("search") ?? "";
    if (this.search.value.trim() !== wanted) this.search.value = wanted; // not while a space is being typed
    this.#states = new Set((given.get("state") ?? "").split(",").filter((state) => STATES.includes(state)));
    const column = given.get("sort");
    this.#column = SORTABLE.includes(column) ? column : "state";
    this.#falls = given.has("falls");
    this.changed();
  }

  /** Something is known of the hosts that was not known before. */
  changed() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = this.fleet.sorted.filter(
      (host) =>
        (!this.#states.size || this.#states.has(host.state)) && words.every((word) => host.text.includes(word)),
    );
    this.table.show(found, this.#column, this.#falls, this.collector.now);
    const all = this.fleet.size;
    put(this.shown, found.length < all ? `${found.length} of ${all}` : "");
    this.none.hidden = found.length > 0;
    const nothing = "No host yet. The first one appears when an agent connects.";
    put(this.none, all ? "No host matches the filter." : nothing);
    clearTimeout(this.#seeding);
    this.#seeding = setTimeout(() => this.#seed(), SEED_AFTER);
  }

  tick(now) {
    this.table.tick(now);
    this.#seed();
    this.#askBare();
  }

  showStatus({ hosts, samples, store, agents, ingest, uptime }) {
    const within = (selector) => this.element.querySelector(selector);
    put(within("#hosts-total"), `${Object.values(hosts).reduce((sum, count) => sum + count, 0)}`);
    for (const [state, button] of Object.entries(this.#buttons)) {
      put(button, `${hosts[state] ?? 0} ${state}`);
      button.hidden = !hosts[state] && !this.#states.has(state);
      button.setAttribute("aria-pressed", `${this.#states.has(state)}`);
    }
    put(within("#received"), `${short(Math.round(samples.received_per_second))}/s`);
    const rejected = samples.rejected ? `, ${short(samples.rejected)} rejected` : "";
    put(within("#stored"), `${short(Math.round(samples.stored_per_second))}/s stored${rejected}`);
    const reasons = Object.entries(samples.rejected_by_reason);
    within("#stored").title = reasons.map(([why, count]) => `${why}: ${count}`).join("\n");
    put(within("#store"), store.problem ? "failing" : ingest.paused ? "behind" : "ok");
    within("#store").className = store.problem ? "bad" : ingest.paused ? "warm" : "good";
    const facts = store.server ? `${store.server} ${store.version}, ${short(store.memory_bytes)}B` : store.address;
    put(within("#store-facts"), facts);
    within("#store-facts").title = store.address;
    put(within("#uptime"), span(uptime));
    put(within("#agents"), `${agents.connected} ${agents.connected === 1 ? "agent" : "agents"} connected`);
    this.stale(false, Boolean(store.problem));
  }

  /** What is shown is not live: all of it, or the hosts. */
  stale(all, hosts = all) {
    this.element.querySelector("#figures").classList.toggle("stale", all);
    this.element.querySelector("#hosts").classList.toggle("stale", hosts);
  }

  #sortBy(column) {
    this.#falls = column === this.#column ? !this.#falls : HostTable.falls(column);
    this.#column = column;
    this.#settle();
  }

  #toggle(state) {
    if (!this.#states.delete(state)) this.#states.add(state);
    for (const [name, button] of Object.entries(this.#buttons)) {
      button.setAttribute("aria-pressed", `${this.#states.has(name)}`);
    }
    this.#settle();
  }

  /** Adds a word to the filter. */
  #ask(word) {
    const words = this.search.value.split(/\s+/).filter(Boolean);
    if (!words.includes(word)) this.search.value = [...words, word].join(" ");
    this.#settle();
  }

  /** The address holds what was chosen. */
  #settle() {
    const sorted = this.#column === "state" && !this.#falls;
    go(
      address("fleet", "", {
        search: this.search.value.trim(),
        state: [...this.#states].join(","),
        sort: sorted ? "" : this.#column,
        falls: this.#falls ? "1" : "",
      }),
      true,
    );
  }

  /** The stored part of the small charts in sight. Without it they are shorter, and that is all. */
  async #seed() {
    const wanted = this.table.inSight.filter((host) => !host.seeded && !host.bare).slice(0, MOST_SEEDED);
    const asked = [];
    for (let length = 0; wanted.length && length + wanted[0].host.length < 1_000; ) {
      asked.push(wanted.shift());
      length += asked.at(-1).host.length + 1;
    }
    if (!asked.length) return;
    for (const host of asked) host.seeded = true;
    const given = { host: asked.map(({ host }) => host).join(","), from: `-${SHOWN}s`, step: STEP };
    const answers = await Promise.all([
      this.collector.ask("api/v1/query", { ...given, metric: Object.keys(GAUGES).join(",") }),
      this.collector.ask("api/v1/query", { ...given, metric: Object.keys(RATES).join(","), agg: "rate" }),
    ]).catch(() => []);
    for (const [name, { times, columns }] of columnsOf(answers.flatMap(({ series }) => series))) {
      this.fleet.get(name)?.seed(times, columns);
    }
    this.table.tick(this.collector.now);
  }

  /** What hosts in sight send of which the table's own columns say nothing. */
  async #askBare() {
    const bare = this.table.inSight.filter((host) => host.bare).slice(0, MOST_BARE);
    if (!bare.length || Date.now() - this.#bareAsked < BARE_EVERY) return;
    this.#bareAsked = Date.now();
    const given = { host: bare.map(({ host }) => host).join(",") };
    const { hosts } = await this.collector.ask("api/v1/hosts", given).catch(() => ({ hosts: [] }));
    for (const { host, latest } of hosts) {
      const known = this.fleet.get(host);
      const entries = Object.entries(latest);
      if (!known || !entries.length) continue;
      const [name, { value }] = entries.reduce((best, one) => (one[1].time > best[1].time ? one : best));
      known.known = { count: entries.length, name, value };
    }
    this.table.tick(this.collector.now);
  }
}

/** Series as the columns of each host's history: by host {times, columns}, without the steps that have nothing. */
function columnsOf(series) {
  const found = new Map();
  for (const { host, metric, times, values } of series) {
    const [name, ...tags] = metric.split(";");
    const device = tags.find((tag) => tag.startsWith("device="))?.slice("device=".length);
    const column = GAUGES[name] ?? RATES[name];
    if (!column || (device !== undefined && INNER.test(device))) continue;
    if (!found.has(host)) found.set(host, { times, columns: {} });
    const { columns } = found.get(host);
    columns[column] = columns[column]
      ? columns[column].map((sum, place) => (sum === null ? values[place] : sum + (values[place] ?? 0)))
      : values;
  }
  for (const one of found.values()) {
    const columns = Object.entries(one.columns);
    const there = one.times.map((_, place) => columns.some(([, values]) => values[place] !== null));
    const kept = (values) => values.filter((_, place) => there[place]);
    one.times = kept(one.times);
    one.columns = Object.fromEntries(columns.map(([name, values]) => [name, kept(values)]));
  }
  return found;
}
