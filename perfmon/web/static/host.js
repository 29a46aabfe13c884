// The view of one host: what it is, and charts of what it sends.

import { Chart } from "./chart.js";
import { chartOf, chartsFor, linesOf, wantedOf } from "./charts.js";
import { eventItem } from "./events.js";
import { full, make, moment, put, span as lasting, stamp, tell, writer } from "./format.js";
import { kindOf, planOf } from "./hosts.js";
import { Range, RangePicker, span } from "./range.js";
import { address, go } from "./route.js";
import { SeriesSet } from "./series.js";

const SENDER_INTERVAL = 60; // s; how often a sender sends it does not say
const MOST_FOUND = 30; // metrics that a search shows
const MOST_EVENTS = 200;
const LEAST_PAUSE = 1_000; // ms between two looks: as many as the range has seconds, within these bounds
const MOST_PAUSE = 30_000;

export class HostView {
  #name = "";
  #route = null;
  #range = null;
  #known = null; // what the API says of the host
  #charts = new Map(); // by title
  #set = null;
  #events = [];
  #benchmarks = []; // that were run in the range
  #looking = new AbortController();
  #looked = 0; // ms
  #busy = false;
  #newest = null; // what tells the newest sample from the one before
  #due = false; // there are samples that are not drawn
  #listed = "";

  constructor(element, collector, fleet) {
    this.element = element;
    this.collector = collector;
    this.fleet = fleet;
    const within = (selector) => element.querySelector(selector);
    this.parts = {
      title: within("h2"),
      state: within(".title .mark"),
      kind: within(".kind"),
      facts: within(".facts"),
      labels: within(".labels"),
      problem: within(".problem"),
      charts: within(".charts"),
      search: within("input[type=search]"),
      found: within(".found"),
      events: within("ol"),
      sampling: within(".sampling"),
      export: within(".export"),
    };
    this.picker = new RangePicker(within(".ranges"), (given) => this.#choose(given));
    this.parts.search.addEventListener("input", () => this.#find());
    this.parts.found.addEventListener("click", ({ target }) => target.value && this.#toggle(target.value));
    this.parts.sampling.addEventListener("click", () => this.#sample());
    this.parts.export.addEventListener("click", () => this.#export());
  }

  show(route) {
    const other = route.name !== this.#name;
    this.#route = route;
    this.#name = route.name;
    this.#range = new Range(route.given);
    this.#looking.abort();
    this.#looking = new AbortController();
    this.#busy = false;
    this.#set = null;
    if (other) this.#clear();
    this.#look();
    this.changed();
  }

  hide() {
    this.#looking.abort();
  }

  /** Something is known of the hosts that was not known before. */
  changed() {
    const host = this.fleet.get(this.#name);
    if (!host) return;
    put(this.parts.state, host.state);
    this.parts.state.className = `mark ${host.state}`;
    put(this.parts.kind, kindOf(host));
    this.parts.sampling.hidden = host.kind !== "agent";
    put(this.parts.sampling, host.stopped ? "Start sampling" : "Stop sampling");
    this.parts.sampling.value = host.stopped ? "start" : "stop";
    const newest = host.time ?? host.seen;
    this.#due ||= newest !== this.#newest;
    this.#newest = newest;
    this.tick();
  }

  tick() {
    const passed = Date.now() - this.#looked;
    const pause = Math.min(MOST_PAUSE, Math.max(LEAST_PAUSE, this.#range.length));
    if (passed >= MOST_PAUSE || (this.#due && !this.#range.fixed && passed >= pause)) this.#look();
  }

  #clear() {
    for (const chart of this.#charts.values()) chart.remove();
    this.#charts.clear();
    this.#known = null;
    this.#events = [];
    put(this.parts.title, this.#name);
    put(this.parts.state, "");
    put(this.parts.kind, "");
    this.parts.facts.replaceChildren();
    this.parts.labels.replaceChildren();
    this.parts.events.replaceChildren();
    this.parts.search.value = "";
    this.#find();
  }

  /** Asks for what the view shows, and draws it. */
  async #look() {
    if (this.#busy) return;
    this.#busy = true;
    this.#due = false;
    this.#looked = Date.now();
    const { signal } = this.#looking;
    try {
      const range = this.#range;
      const [from, until] = range.at(this.collector.now);
      this.picker.show(range, this.collector.now);
      const path = `api/v1/hosts/${encodeURIComponent(this.#name)}`;
      const given = { host: this.#name, since: from, until, limit: MOST_EVENTS, order: "desc" };
      const [known, { events }, { benchmarks }] = await Promise.all([
        this.collector.ask(path, {}, signal),
        this.collector.ask("api/v1/events", given, signal),
        this.collector.ask("api/v1/benchmarks", { host: this.#name }, signal),
      ]);
      this.#known = known;
      this.#events = events;
      this.#benchmarks = benchmarks.filter(({ start, seconds }) => start < until && start + seconds > from);
      this.#describe();
      await this.#draw([from, until], signal);
      put(this.parts.problem, "");
    } catch (error) {
      if (!signal.aborted) put(this.parts.problem, error.message);
    } finally {
      if (!signal.aborted) this.#busy = false;
    }
  }

  async #draw([from, until], signal) {
    const definitions = this.#definitions();
    const interval = this.#known.interval || SENDER_INTERVAL;
    const step = this.#range.step(interval);
    const banded = step > interval;
    const wanted = definitions.flatMap((definition) => wantedOf(definition, banded));
    const same = this.#set?.step === step && JSON.stringify(this.#set.wanted) === JSON.stringify(wanted);
    if (!same) this.#set = new SeriesSet(this.collector, this.#name, wanted, step);
    const set = this.#set;
    await set.load([from, until], signal);
    const shown = new Set();
    let place = this.parts.charts.firstChild;
    for (const definition of definitions) {
      const lines = linesOf(definition, set);
      if (!lines.length && !definition.own) continue;
      shown.add(definition.title);
      const chart = this.#chartOf(definition);
      if (chart.element === place) place = place.nextSibling;
      else this.parts.charts.insertBefore(chart.element, place);
      chart.draw(set.times, lines, [from, until], [...this.#events, ...this.#spans()]);
    }
    for (const [title, chart] of this.#charts) {
      if (shown.has(title)) continue;
      chart.remove();
      this.#charts.delete(title);
    }
  }

  /** Beginning and end of each benchmark. */
  #spans() {
    const moments = this.#benchmarks.flatMap(({ start, seconds }) => [start, start + seconds]);
    return moments.map((at) => ({ at, kind: "accent" }));
  }

  /** The charts that the host has, and those that were asked for. */
  #definitions() {
    const metrics = Object.keys(this.#known.latest);
    const usual = chartsFor(metrics);
    const titles = new Set(usual.map(({ title }) => title));
    const more = this.#route.given.getAll("metric").filter((metric) => !titles.has(metric));
    return [...more.map(chartOf), ...usual];
  }

  #chartOf(definition) {
    const there = this.#charts.get(definition.title);
    if (there) return there;
    const [metric] = definition.metrics;
    const sample = Object.entries(this.#known.latest).find(([name]) => name.split(";")[0] === metric.split(";")[0]);
    const chart = new Chart(definition.title, {
      about: definition.about,
      stacked: definition.stacked,
      ceiling: definition.ceiling,
      write: writer(sample?.[1].unit ?? "", definition.agg),
      group: "host",
      zoom: (from, until) => this.#choose(span(from, until)),
    });
    this.#charts.set(definition.title, chart);
    return chart;
  }

  #describe() {
    const { now } = this.collector;
    const host = this.#known;
    const { clock } = host;
    const ms = clock && Math.abs(clock.offset * 1000).toPrecision(3);
    const offset = clock && `${ms} ms ${clock.offset < 0 ? "behind" : "ahead"}`;
    const facts = {
      "Last seen": `${lasting(now - host.last_seen)} ago`,
      [`${host.state} since`]: `${moment(host.since, now)}${host.reason ? ` (${host.reason})` : ""}`,
      "First seen": moment(host.first_seen, now),
      Platform: [host.platform.system, host.platform.release, host.platform.machine].filter(Boolean).join(" "),
      Agent: host.agent && `perfmon ${host.agent}, every ${host.interval} s${host.stopped ? ", stopped" : ""}`,
      Clock: offset && `${offset}, ± ${((clock.round_trip / 2) * 1000).toPrecision(1)} ms`,
      Planned: planOf(host, now),
    };
    tell(this.parts.facts, facts);
    this.parts.facts.title = full(host.last_seen);
    const labels = Object.entries(host.labels).map(([name, value]) => `${name}=${value}`);
    this.parts.labels.replaceChildren(
      ...labels.map((text) => {
        const link = make("a", "label", text);
        link.href = address("fleet", "", { search: text });
        return link;
      }),
    );
    this.parts.events.replaceChildren(
      ...this.#benchmarks.map((run) => benchmarkItem(run, now)),
      ...this.#events.map((event) => eventItem(event, now)),
    );
    this.#find();
  }

  // ---- what a person does

  /** Shows another range; zooming in can be undone with the browser's way back. */
  #choose(given) {
    go(address("hosts", this.#name, { ...this.#range.given, ...given, metric: this.#route.given.getAll("metric") }));
  }

  /** Lists the metrics that the search finds. */
  #find() {
    const words = this.parts.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const latest = Object.entries(this.#known?.latest ?? {});
    const chosen = new Set(this.#route?.given.getAll("metric"));
    const found = words.length
      ? latest.filter(([metric]) => words.every((word) => metric.toLowerCase().includes(word))).slice(0, MOST_FOUND)
      : latest.filter(([metric]) => chosen.has(metric));
    const listed = JSON.stringify(found.map(([metric]) => [metric, chosen.has(metric)]));
    if (listed !== this.#listed) {
      this.#listed = listed;
      this.parts.found.replaceChildren(...found.map(([metric]) => choice(metric, chosen.has(metric))));
    }
    for (const [place, [, { value, unit }]] of found.entries()) {
      put(this.parts.found.children[place].lastChild, writer(unit)(value));
    }
  }

  /** Shows a chart of a metric, or takes it away. */
  #toggle(metric) {
    const chosen = new Set(this.#route.given.getAll("metric"));
    if (!chosen.delete(metric)) chosen.add(metric);
    go(address("hosts", this.#name, { ...this.#range.given, metric: [...chosen] }), true);
  }

  async #sample() {
    this.parts.sampling.disabled = true;
    const what = this.parts.sampling.value;
    await this.collector
      .order(`api/v1/hosts/${encodeURIComponent(this.#name)}/${what}`)
      .then(() => put(this.parts.problem, ""))
      .catch((error) => put(this.parts.problem, `The host could not be told to ${what}: ${error.message}`));
    this.parts.sampling.disabled = false;
  }

  /** Saves the samples of the range as a file. */
  async #export() {
    const [from, until] = this.#range.at(this.collector.now);
    const given = { from: from.toFixed(0), until: until.toFixed(0), format: "csv" };
    await this.collector
      .save(`api/v1/hosts/${encodeURIComponent(this.#name)}/export`, given, `${this.#name}.csv`)
      .catch((error) => put(this.parts.problem, `The samples could not be saved: ${error.message}`));
  }
}

/** A benchmark among the events. */
function benchmarkItem({ id, kind, start, state }, now) {
  const item = make("li");
  const text = make("span", "told");
  const link = make("a", "", `${kind} ${id}`);
  link.href = address("benchmarks", id);
  text.append("benchmark ", link);
  item.append(stamp(start, now), make("span", `mark ${state}`, state), text);
  return item;
}

/** A metric that can be chosen, and room for its value. */
function choice(metric, chosen) {
  const item = make("li");
  const button = make("button", "", metric);
  button.value = metric;
  button.setAttribute("aria-pressed", `${chosen}`);
  item.append(button, make("span", "quiet"));
  return item;
}
