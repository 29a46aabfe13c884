// The view of benchmarks: what was run, how it goes, and what came of it, beside the metrics of that time.

import { Chart } from "./chart.js";
import { heading, make, moment, ms, put, rate, short, tell, writer } from "./format.js";
import { pairsTable } from "./pairs.js";
import { Range } from "./range.js";
import { address, go } from "./route.js";
import { SeriesSet } from "./series.js";

const FOLLOW = 1_000; // ms between two looks at what goes on
const LOOK = 10_000; // ms otherwise
const AROUND = 30; // s before and after a run that its charts show
const MOST_HOSTS = 20; // whose metrics are drawn
const OVER = new Set(["done", "partial", "failed", "cancelled"]);

// Figures of a host: heading, name, and how it is written.
const FIGURES = [
  ["A second", "rate", rate],
  ["Total", "bytes", (bytes) => `${short(bytes)}B`],
  ["Messages", "messages", short],
  ["Wrong", "mismatches", short],
  ["Unanswered", "unanswered", short],
  ["Unreached", "unreached", short],
  ["Tests", "tests", String],
  ["iops", "iops", (count) => short(Math.round(count))],
  ["p50", "p50", ms],
  ["p99", "p99", ms],
  ["Longest", "longest", ms],
  ["Files", "files", String],
  ["Threads", "threads", String],
];

// Whom hosts may meet, by kind of load: value, and what it is called. The first one is as usual.
const PAIRS = {
  echo: [["collector", "the collector"], ["ring", "the next host"], ["all", "every other host"]],
  iperf3: [["ring", "the next host"], ["all", "every other host"]],
};

// What is drawn of the hosts: title, metric, aggregation and unit.
const CHARTS = [
  ["CPU", "perfmon.cpu.utilization", "avg", "1"],
  ["Disk io", "system.disk.io", "rate", "By"],
  ["Network", "system.network.io", "rate", "By"],
];

export class BenchmarksView {
  #id = "";
  #other = ""; // the run that it is compared with
  #looked = 0; // ms
  #pause = FOLLOW;
  #looking = new AbortController();
  #charts = new Map(); // by title

  constructor(element, collector) {
    this.element = element;
    this.collector = collector;
    const within = (selector) => element.querySelector(selector);
    this.form = within("form");
    this.problem = within(".problem");
    this.runs = within(".runs tbody");
    this.none = within(".none");
    this.one = within(".one");
    this.parts = {
      title: within(".one h3"),
      state: within(".one .mark"),
      facts: within(".one .facts"),
      head: within(".one thead tr"),
      hosts: within(".one tbody"),
      pairs: within(".one .pairs"),
      charts: within(".one .charts"),
      cancel: within(".cancel"),
      compare: within("select[name=compare]"),
    };
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#begin();
    });
    const { kind, pairs } = this.form.elements;
    const offer = () => {
      const offered = PAIRS[kind.value] ?? [];
      pairs.closest("label").hidden = !offered.length;
      pairs.replaceChildren(...offered.map(([value, text]) => new Option(text, value)));
    };
    kind.addEventListener("change", offer);
    offer();
    this.parts.cancel.addEventListener("click", () => this.#cancel());
    this.parts.compare.addEventListener("change", () => {
      go(address("benchmarks", this.#id, { with: this.parts.compare.value }), true);
    });
  }

  show({ name, given }) {
    if (name !== this.#id) this.#clear();
    this.#id = name;
    this.#other = given.get("with") ?? "";
    this.#look();
  }

  hide() {
    this.#looking.abort();
  }

  tick() {
    if (Date.now() - this.#looked >= this.#pause) this.#look();
  }

  #clear() {
    for (const chart of this.#charts.values()) chart.remove();
    this.#charts.clear();
    this.parts.hosts.replaceChildren();
    this.one.hidden = true;
  }

  async #look() {
    this.#looking.abort();
    this.#looking = new AbortController();
    const { signal } = this.#looking;
    this.#looked = Date.now();
    try {
      const { benchmarks } = await this.collector.ask("api/v1/benchmarks", {}, signal);
      this.#list(benchmarks);
      this.#pause = benchmarks.some(({ state }) => !OVER.has(state)) ? FOLLOW : LOOK;
      if (this.#id) {
        const ask = (id) => this.collector.ask(`api/v1/benchmarks/${encodeURIComponent(id)}`, {}, signal);
        const [run, other] = await Promise.all([ask(this.#id), this.#other ? ask(this.#other) : null]);
        this.#offer(run, benchmarks);
        this.#describe(run, other);
        await this.#draw(run, signal);
      }
      put(this.problem, "");
    } catch (error) {
      if (!signal.aborted) put(this.problem, error.message);
    }
  }

  #list(benchmarks) {
    this.none.hidden = benchmarks.length > 0;
    const { activeElement } = document;
    const focused = this.runs.contains(activeElement) ? activeElement.textContent : null;
    this.runs.replaceChildren(
      ...benchmarks.map((run) => {
        const row = make("tr");
        const link = make("a", "", run.id);
        link.href = address("benchmarks", run.id);
        if (run.id === this.#id) link.setAttribute("aria-current", "true");
        const first = make("td");
        first.append(link);
        const counts = Object.entries(run.counts).map(([state, count]) => `${count} ${state}`);
        const start = run.start === null ? "" : moment(run.start, this.collector.now);
        const cells = [run.kind, start, `${run.seconds} s`, counts.join(", ")];
        row.append(first, marked(run.state), ...cells.map((text) => make("td", "", text)));
        return row;
      }),
    );
    if (focused) [...this.runs.querySelectorAll("a")].find(({ textContent }) => textContent === focused)?.focus();
  }

  /** Runs of the same kind, to compare with. */
  #offer({ id, kind }, benchmarks) {
    const others = benchmarks.filter((run) => run.kind === kind && run.id !== id).map((run) => run.id);
    const offered = JSON.stringify(others);
    if (this.parts.compare.dataset.offered === offered) return;
    this.parts.compare.dataset.offered = offered;
    this.parts.compare.replaceChildren(
      ...["", ...others].map((value) => {
        const option = make("option", "", value || "nothing");
        option.value = value;
        return option;
      }),
    );
    this.parts.compare.value = this.#other;
  }

  #describe(run, other) {
    this.one.hidden = false;
    put(this.parts.title, `${run.kind} ${run.id}`);
    put(this.parts.state, run.state);
    this.parts.state.className = `mark ${run.state}`;
    this.parts.cancel.hidden = OVER.has(run.state);
    const { totals } = run;
    const given = Object.entries(run.parameters).filter(([, value]) => value !== "" && value !== false);
    const facts = {
      Parameters: given.map(([name, value]) => `${name} ${value}`).join(", ") || "as usual",
      Start: run.start === null ? "when its hosts are free" : moment(run.start, this.collector.now),
      "Began within": run.skew === null ? "" : ms(run.skew),
      "All together": totals && rate(totals.sum),
      Each: totals && `${rate(totals.mean)} ± ${rate(totals.deviation)}`,
      "Least and most": totals && `${rate(totals.min)} to ${rate(totals.max)}`,
      Cancelled: run.cancelled,
    };
    tell(this.parts.facts, facts);
    const hosts = Object.entries(run.hosts);
    const figures = FIGURES.filter(([, name]) => hosts.some(([, at]) => name in at.figures));
    const compared = other ? [`Rate in ${other.id}`, "Ratio"] : [];
    const headings = ["Host", "State", "Done", ...figures.map(([heading]) => heading), ...compared, "Remark"];
    this.parts.head.replaceChildren(...headings.map((text) => heading(text)));
    this.parts.hosts.replaceChildren(
      ...hosts.map(([host, at]) => {
        const row = make("tr");
        const name = make("td");
        const link = make("a", "", host);
        link.href = address("hosts", host, span(run));
        name.append(link);
        const done = make("td");
        const bar = done.appendChild(make("progress"));
        bar.value = at.share;
        bar.setAttribute("aria-label", `${host}: done`);
        const cells = figures.map(([, figure, write]) => (figure in at.figures ? write(at.figures[figure]) : ""));
        const before = other?.hosts[host]?.figures.rate;
        if (other) cells.push(before ? rate(before) : "", before ? (at.figures.rate / before).toFixed(2) : "");
        row.append(name, marked(at.state), done, ...[...cells, at.reason].map((text) => make("td", "", text)));
        return row;
      }),
    );
    const pairs = pairsTable(run);
    this.parts.pairs.hidden = !pairs;
    this.parts.pairs.replaceChildren(...(pairs ? [pairs] : []));
  }

  /** The metrics of its hosts in its time, if that has come. */
  async #draw(run, signal) {
    if (run.start === null) return;
    const hosts = Object.keys(run.hosts).slice(0, MOST_HOSTS);
    const range = new Range(new URLSearchParams(span(run)));
    const wanted = CHARTS.map(([, metric, agg]) => ({ metric, agg }));
    const set = new SeriesSet(this.collector, hosts.join(","), wanted, range.step(1));
    await set.load(range.at(0), signal);
    for (const [title, metric, agg, unit] of CHARTS) {
      const sums = new Map();
      for (const { host, values } of set.of(metric, agg)) {
        const before = sums.get(host) ?? values.map(() => null);
        sums.set(host, before.map((sum, place) => (sum === null ? values[place] : sum + (values[place] ?? 0))));
      }
      let chart = this.#charts.get(title);
      if (!chart) {
        const zoom = (from, until) => go(address("explore", "", { host: hosts.join(","), metric, agg, from, until }));
        chart = new Chart(title, { write: writer(unit, agg), zoom, group: "benchmark" });
        this.#charts.set(title, chart);
        this.parts.charts.append(chart.element);
      }
      const lines = [...sums].map(([name, values]) => ({ name, values }));
      const marks = [run.start, run.start + run.seconds].map((at) => ({ at, kind: "accent" }));
      chart.draw(set.times, lines, range.at(0), marks);
    }
  }

  // ---- what a person does

  async #begin() {
    const { kind, pairs, hosts, seconds, queue } = this.form.elements;
    const parameters = { seconds: Number(seconds.value), ...(pairs.value && { pairs: pairs.value }) };
    const busy = queue.checked ? "queue" : "refuse";
    const body = { kind: kind.value, hosts: hosts.value.trim(), parameters, busy };
    await this.collector
      .order("api/v1/benchmarks", body)
      .then(({ id }) => go(address("benchmarks", id)))
      .catch((error) => put(this.problem, error.message));
  }

  async #cancel() {
    await this.collector
      .order(`api/v1/benchmarks/${encodeURIComponent(this.#id)}`, {}, "DELETE")
      .then(() => this.#look())
      .catch((error) => put(this.problem, error.message));
  }
}

/** The time of a run, and some around it; of one that has none yet, nothing. */
function span({ start, seconds }) {
  return start === null ? {} : { from: Math.floor(start - AROUND), until: Math.ceil(start + seconds + AROUND) };
}

/** A cell with a state. */
function marked(state) {
  const cell = make("td");
  cell.append(make("span", `mark ${state}`, state));
  return cell;
}
