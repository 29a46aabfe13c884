// The view of rightsizing: which machines to reclaim, shrink or grow, with the evidence for each.

import { Chart } from "./chart.js";
import { heading, make, moment, percent, plain, put, rate, short, span, tell, writer } from "./format.js";
import { Range } from "./range.js";
import { address, go } from "./route.js";
import { SeriesSet } from "./series.js";

const TOLD = new Set(["grow", "reclaim", "shrink"]); // what is to be done; the rest is shown on demand

// What is drawn as evidence: title, metric, aggregation and unit.
const CHARTS = [
  ["CPU", "perfmon.cpu.utilization", "avg", "1"],
  ["Memory", "perfmon.memory.utilization", "avg", "1"],
  ["Network", "system.network.io", "rate", "By"],
  ["Disk io", "system.disk.io", "rate", "By"],
];

// How figures of rules are written, by unit.
const FIGURES = {
  1: percent,
  s: span,
  By: bytes,
  "By/s": rate,
  "{core}": plain,
};

export class RightsizingView {
  #route = null;
  #report = null;
  #asked = "";
  #looking = new AbortController();
  #charts = new Map(); // by title

  constructor(element, collector) {
    this.element = element;
    this.collector = collector;
    const within = (selector) => element.querySelector(selector);
    this.form = within("form.ask");
    this.notes = within("form.notes");
    this.parts = {
      problem: within(".problem"),
      summary: within(".summary"),
      head: within(".hosts thead tr"),
      rows: within(".hosts tbody"),
      none: within(".none"),
      one: within(".one"),
      title: within(".one h3"),
      mark: within(".one .mark"),
      facts: within(".one .facts"),
      rules: within(".rules tbody"),
      charts: within(".one .charts"),
      recall: within(".recall"),
    };
    this.form.addEventListener("change", () => this.#settle());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#settle();
    });
    this.notes.addEventListener("submit", (event) => {
      event.preventDefault();
      const { note, days } = this.notes.elements;
      this.#note({ note: note.value.trim(), ...(days.value && { dismiss: `${days.value}d` }) });
    });
    this.parts.recall.addEventListener("click", () => this.#note({ dismiss: null }));
  }

  show(route) {
    this.#route = route;
    const { given } = route;
    for (const name of ["window", "profile", "threshold", "host"]) {
      const { [name]: field } = this.form.elements;
      if (given.get(name)) field.value = given.get(name);
    }
    this.form.elements.all.checked = given.get("all") === "1";
    this.#look();
  }

  hide() {
    this.#looking.abort();
  }

  tick() {
    // two weeks do not change within seconds; whoever wants them anew asks
  }

  /** What the form asks for goes into the address. */
  #settle() {
    const { window, profile, threshold, host, all } = this.form.elements;
    const given = { window: window.value, profile: profile.value, threshold: threshold.value, host: host.value.trim() };
    go(address("rightsizing", this.#route.name, { ...given, all: all.checked ? "1" : "" }), true);
  }

  async #look(anew = false) {
    this.#looking.abort();
    this.#looking = new AbortController();
    const { signal } = this.#looking;
    const { window, profile, threshold, host } = this.form.elements;
    const given = { window: window.value, profile: profile.value, threshold: threshold.value, host: host.value || "*" };
    const asked = JSON.stringify(given);
    try {
      if (anew || asked !== this.#asked) {
        put(this.parts.summary, "Looking …");
        this.#report = await this.collector.ask("api/v1/rightsizing", given, signal);
        this.#asked = asked;
      }
      this.#list();
      await this.#describe(signal);
      put(this.parts.problem, "");
    } catch (error) {
      if (signal.aborted) return;
      put(this.parts.summary, "");
      put(this.parts.problem, error.message);
    }
  }

  #list() {
    const { hosts, counts, saving, currency, from, until } = this.#report;
    const { checked } = this.form.elements.all;
    const shown = hosts.filter(({ verdict, dismissed }) => checked || (dismissed === null && TOLD.has(verdict)));
    const told = Object.entries(counts).filter(([, count]) => count).map(([verdict, count]) => `${count} ${verdict}`);
    const money = saving === null ? "" : `; ${amount(saving, currency)} a month to save`;
    const times = [from, until].map((time) => moment(time, this.collector.now)).join(" to ");
    put(this.parts.summary, `${times}: ${told.join(", ") || "no hosts"}${money}`);
    this.parts.none.hidden = shown.length > 0;
    const headings = ["Host", "Verdict", "Cores", "Memory", ...(currency === null ? [] : ["A month"]), "Sure", "Because"];
    this.parts.head.replaceChildren(...headings.map((text) => heading(text)));
    const { activeElement } = document;
    const focused = this.parts.rows.contains(activeElement) ? activeElement.textContent : null;
    this.parts.rows.replaceChildren(
      ...shown.map((one) => {
        const row = make("tr");
        const name = make("td");
        const link = name.appendChild(make("a", "", one.host));
        link.href = address("rightsizing", one.host, Object.fromEntries(this.#route.given));
        if (one.host === this.#route.name) link.setAttribute("aria-current", "true");
        const verdict = make("td");
        verdict.append(make("span", `mark ${one.verdict}`, one.verdict));
        if (one.dismissed !== null) verdict.append(make("span", "quiet", " dismissed"));
        const sizes = [change(one, "cores", plain), change(one, "memory", bytes)];
        const price = currency === null ? [] : [one.saving === null ? "" : amount(one.saving, currency)];
        const because = one.rules.map((rule) => rule.name).join(", ") + (one.note ? ` (${one.note})` : "");
        row.append(name, verdict, ...[...sizes, ...price, one.confidence, because].map((text) => make("td", "", text)));
        return row;
      }),
    );
    if (focused) [...this.parts.rows.querySelectorAll("a")].find(({ textContent }) => textContent === focused)?.focus();
  }

  /** The evidence for one host. */
  async #describe(signal) {
    const one = this.#report.hosts.find(({ host }) => host === this.#route.name);
    this.parts.one.hidden = !one;
    if (!one) return;
    put(this.parts.title, one.host);
    put(this.parts.mark, one.verdict);
    this.parts.mark.className = `mark ${one.verdict}`;
    const { back_test: test, now } = { ...one, now: this.collector.now };
    const facts = {
      Size: [change(one, "cores", (count) => `${plain(count)} cores`), change(one, "memory", bytes)].filter(Boolean).join(", "),
      Known: `${span(one.known)}, ${percent(one.coverage)} of the time`,
      Confidence: one.confidence,
      "P95 of the CPU": one.figures.cpu_p95 === undefined ? "" : percent(one.figures.cpu_p95),
      "Peak of the memory": one.figures.memory_peak === undefined ? "" : percent(one.figures.memory_peak),
      "With that size": test && `${plain(test.cpu_tight)} of ${plain(test.minutes)} minutes over 80 %, ${plain(test.cpu_full)} over 100 %`,
      "Enough data": one.eligible && moment(one.eligible, now),
      "Left out": one.left_out ? `${span(one.left_out)} of benchmarks` : "",
      Dismissed: one.dismissed && `until ${moment(one.dismissed, now)}`,
    };
    tell(this.parts.facts, facts);
    this.parts.rules.replaceChildren(
      ...one.rules.map(({ name, figure, limit, unit, text }) => {
        const row = make("tr");
        const write = FIGURES[unit] ?? plain;
        row.append(heading(name, "row"), ...[write(figure), write(limit), text].map((cell) => make("td", "", cell)));
        return row;
      }),
    );
    this.notes.elements.note.value = one.note;
    this.parts.recall.hidden = one.dismissed === null;
    await this.#draw(one, signal);
  }

  async #draw({ host, start, stop }, signal) {
    const given = new URLSearchParams({ from: start, until: stop });
    const range = new Range(given);
    const wanted = CHARTS.map(([, metric, agg]) => ({ metric, agg }));
    const set = new SeriesSet(this.collector, host, wanted, range.step(15));
    await set.load(range.at(0), signal);
    for (const [title, metric, agg, unit] of CHARTS) {
      let chart = this.#charts.get(title);
      if (!chart) {
        const zoom = (from, until) => go(address("hosts", this.#route.name, { from, until }));
        chart = new Chart(title, { write: writer(unit, agg), zoom, group: "rightsizing" });
        this.#charts.set(title, chart);
        this.parts.charts.append(chart.element);
      }
      const lines = set.of(metric, agg).map((one) => ({ name: one.metric.split(";").slice(1).join(" ") || title, values: one.values }));
      chart.draw(set.times, lines, range.at(0));
    }
  }

  async #note(body) {
    await this.collector
      .order(`api/v1/hosts/${encodeURIComponent(this.#route.name)}/rightsizing`, body)
      .then(() => {
        this.notes.elements.days.value = "";
        return this.#look(true);
      })
      .catch((error) => put(this.parts.problem, error.message));
  }
}

/** A size as it is, and as it should be. */
function change({ now, suggested }, what, write) {
  if (now[what] === null) return "";
  if (suggested[what] === null || suggested[what] === now[what]) return write(now[what]);
  return `${write(now[what])} → ${write(suggested[what])}`;
}

function bytes(count) {
  return `${short(count)}B`;
}

function amount(money, currency) {
  return `${money > 0 ? "+" : ""}${money.toFixed(2)} ${currency}`.trim();
}
