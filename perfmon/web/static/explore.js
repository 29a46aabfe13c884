// The view of any metric across many hosts. Its address holds all of it.

import { Chart } from "./chart.js";
import { make, put, writer } from "./format.js";
import { Range, RangePicker, span } from "./range.js";
import { address, go } from "./route.js";
import { SeriesSet } from "./series.js";

const MOST_LINES = 50; // more of them nobody tells apart
const MOST_ASKED = 10; // hosts whose metrics are suggested
const AGAIN = 10_000; // ms
const COLOURS = 10;
const FIELDS = ["host", "metric", "agg", "step", "combine"];
const STANDARD = { host: "*", metric: "perfmon.cpu.utilization", agg: "avg", step: "", combine: "" };

/** How several values of one moment become one. */
const COMBINE = {
  sum: (values) => values.reduce((sum, value) => sum + value, 0),
  avg: (values) => values.reduce((sum, value) => sum + value, 0) / values.length,
  min: (values) => Math.min(...values),
  max: (values) => Math.max(...values),
};

export class ExploreView {
  #range = null;
  #chart = null;
  #set = null;
  #shown = ""; // what the chart is of
  #alone = null; // name of the only line that is drawn
  #looked = 0;
  #looking = new AbortController();

  constructor(element, collector) {
    this.element = element;
    this.collector = collector;
    const within = (selector) => element.querySelector(selector);
    this.form = within("form");
    this.problem = within(".problem");
    this.summary = within(".summary");
    this.box = within(".charts");
    this.rows = within("tbody");
    this.picker = new RangePicker(within(".ranges"), (given) => this.#settle(given));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#settle({});
    });
    this.form.addEventListener("change", () => this.#settle({}));
    this.form.elements.metric.addEventListener("focus", () => this.#suggest());
    this.rows.addEventListener("click", ({ target }) => target.value && this.#single(target.value));
  }

  show({ given }) {
    this.#range = new Range(given);
    for (const name of FIELDS) this.form.elements[name].value = given.get(name) ?? STANDARD[name];
    this.#set = null;
    this.#alone = given.get("line");
    this.#look();
  }

  hide() {
    this.#looking.abort();
  }

  tick() {
    if (!this.#range.fixed && Date.now() - this.#looked >= Math.max(AGAIN, this.#range.step(0) * 500)) this.#look();
  }

  #asked() {
    return Object.fromEntries(FIELDS.map((name) => [name, this.form.elements[name].value.trim()]));
  }

  #settle(given) {
    const line = "line" in given ? given.line : "";
    go(address("explore", "", { ...this.#asked(), ...this.#range.given, ...given, line }));
  }

  /** Draws one line alone, or all again. */
  #single(name) {
    this.#settle({ line: name === this.#alone ? "" : name });
  }

  async #look() {
    this.#looking.abort();
    this.#looking = new AbortController();
    const { signal } = this.#looking;
    this.#looked = Date.now();
    const { host, metric, agg, step, combine } = this.#asked();
    const range = this.#range;
    const now = this.collector.now;
    this.picker.show(range, now);
    try {
      const seconds = step ? Number(step) : range.step(10);
      this.#set ??= new SeriesSet(this.collector, host || "*", [{ metric, agg }], seconds);
      await this.#set.load(range.at(now), signal);
      const { all } = this.#set;
      const write = writer(all[0]?.unit ?? "", agg);
      const each = () => all.map((one) => ({ name: nameOf(one, all), values: one.values }));
      const lines = (combine ? combined(all, combine) : each())
        .filter(({ values }) => values.some((value) => value !== null))
        .map((line) => ({ ...line, ...extentOf(line.values) }))
        .sort((one, other) => other.max - one.max);
      this.#draw(lines, metric, write, range.at(now));
      put(this.problem, "");
    } catch (error) {
      if (!signal.aborted) put(this.problem, error.message);
    }
  }

  #draw(lines, metric, write, range) {
    const shown = JSON.stringify(this.#asked());
    if (shown !== this.#shown) {
      this.#chart?.remove();
      const zoom = (from, until) => this.#settle(span(from, until));
      this.#chart = new Chart(metric, { write, zoom, group: "explore", height: 340 });
      this.box.append(this.#chart.element);
      this.#shown = shown;
    }
    this.#chart.write = write;
    const drawn = lines.filter(({ name }) => this.#alone === null || name === this.#alone).slice(0, MOST_LINES);
    this.#chart.draw(this.#set.times, drawn.map(({ name, values }) => ({ name, values })), range);
    const first = lines.length > MOST_LINES ? `, the ${MOST_LINES} with the largest values are drawn` : "";
    put(this.summary, `${lines.length} series${first}, a point every ${this.#set.step} s`);
    const { activeElement } = document;
    const focused = this.rows.contains(activeElement) ? activeElement.value : null;
    this.rows.replaceChildren(
      ...lines.slice(0, 10 * MOST_LINES).map((line) => {
        const row = make("tr");
        const colour = drawn.findIndex(({ name }) => name === line.name);
        const name = make("td");
        const button = make("button", colour < 0 ? "line" : `line colour-${colour % COLOURS}`, line.name);
        button.value = line.name;
        button.setAttribute("aria-pressed", `${line.name === this.#alone}`);
        name.append(button);
        row.append(name, ...["last", "min", "avg", "max"].map((field) => make("td", "value", write(line[field]))));
        return row;
      }),
    );
    if (focused !== null) [...this.rows.querySelectorAll("button")].find(({ value }) => value === focused)?.focus();
  }

  /** Names of metrics for the field, of the first hosts that match. */
  async #suggest() {
    const { host } = this.#asked();
    const list = this.element.querySelector("datalist");
    const ask = (given) => this.collector.ask("api/v1/hosts", given).catch(() => ({ hosts: [] }));
    const matching = (await ask({ host: host || "*", metric: "-" })).hosts.slice(0, MOST_ASKED);
    if (!matching.length) return;
    const { hosts } = await ask({ host: matching.map((one) => one.host).join(",") });
    const names = hosts.flatMap(({ latest }) => Object.keys(latest));
    const metrics = new Set(names.flatMap((name) => [name, name.split(";")[0]]));
    list.replaceChildren(
      ...[...metrics].sort().map((name) => {
        const option = make("option");
        option.value = name;
        return option;
      }),
    );
  }
}

/** What a series is called among others: by its host, and by its metric where there are several. */
function nameOf({ host, metric }, all) {
  return all.every((other) => other.metric === all[0].metric) ? host : `${host} ${metric}`;
}

/** One line for each metric, of all hosts together. */
function combined(all, how) {
  const groups = new Map();
  for (const { metric, values } of all) groups.set(metric, [...(groups.get(metric) ?? []), values]);
  return [...groups].map(([metric, columns]) => ({
    name: `${how} of ${columns.length}: ${metric}`,
    values: columns[0].map((_, place) => {
      const there = columns.map((column) => column[place]).filter((value) => value !== null);
      return there.length ? COMBINE[how](there) : null;
    }),
  }));
}

function extentOf(values) {
  const there = values.filter((value) => value !== null);
  return { last: there.at(-1), min: COMBINE.min(there), avg: COMBINE.avg(there), max: COMBINE.max(there) };
}
