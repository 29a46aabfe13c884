// Series of the API for charts: fetched together, kept, and continued as time goes on.

const MOST_PATTERN = 1_000; // characters; the collector takes 1,024
const AGAIN = 2; // steps at the end of what is known that are asked for again: they were not over

/** The key under which the values of a metric are kept. */
const keyOf = (host, metric, agg) => `${agg} ${host} ${metric}`;

/**
 * Series of one range and step. Wanted are {metric, agg}; of each there are the values of every host and tag. Answers
 * to questions of a range that is not wanted any more are dropped by the signal.
 */
export class SeriesSet {
  #columns = new Map(); // by key: {host, metric, agg, unit, values}

  times = []; // s since the epoch, of every step

  constructor(collector, host, wanted, step) {
    Object.assign(this, { collector, host, wanted, step });
  }

  /** Fetches what is not there yet of [from, until]. */
  async load([from, until], signal) {
    const first = Math.floor(from / this.step) * this.step;
    const end = Math.ceil(until / this.step) * this.step;
    const known = this.times.length && first >= this.times[0] && first <= this.times.at(-1);
    const since = known ? Math.max(first, this.times.at(-1) - (AGAIN - 1) * this.step) : first;
    const answers = await Promise.all(
      questions(this.wanted).map(({ agg, metrics }) => {
        const given = { host: this.host, metric: metrics.join(","), agg, from: since, until: end, step: this.step };
        return this.collector.ask("api/v1/query", given, signal).then((answer) => ({ agg, answer }));
      }),
    );
    // the collector's own step is a longer one where finer samples are gone
    const step = Math.max(this.step, ...answers.map(({ answer }) => answer.step));
    if (step > this.step) {
      this.step = step;
      this.times = [];
      this.#columns.clear();
      return this.load([from, until], signal);
    }
    this.#move(first, end);
    for (const { agg, answer } of answers) {
      for (const series of answer.series) this.#take(agg, series, since);
    }
    return undefined;
  }

  /** The series of a metric, by any tags, that have values: [{host, metric, unit, values}]. */
  of(metric, agg) {
    return [...this.#columns.values()].filter(
      (column) =>
        column.agg === agg &&
        (column.metric === metric || column.metric.startsWith(`${metric};`)) &&
        column.values.some((value) => value !== null),
    );
  }

  /** The values of exactly this series, null where there are none. */
  get(host, metric, agg) {
    return this.#columns.get(keyOf(host, metric, agg))?.values ?? null;
  }

  /** All of them. */
  get all() {
    return [...this.#columns.values()];
  }

  /** Moves what is known to the steps from `first` to `end`. */
  #move(first, end) {
    const count = Math.max(1, Math.round((end - first) / this.step));
    const offset = this.times.length ? Math.round((first - this.times[0]) / this.step) : 0;
    this.times = Array.from({ length: count }, (_, place) => first + place * this.step);
    for (const column of this.#columns.values()) {
      column.values = this.times.map((_, place) => column.values[place + offset] ?? null);
    }
  }

  #take(agg, { host, metric, unit, times, values }, since) {
    const key = keyOf(host, metric, agg);
    if (!this.#columns.has(key)) {
      this.#columns.set(key, { host, metric, agg, unit, values: this.times.map(() => null) });
    }
    const column = this.#columns.get(key);
    const begin = Math.round((since - this.times[0]) / this.step);
    for (let place = Math.max(0, begin); place < this.times.length; place += 1) column.values[place] = null;
    for (const [number, time] of times.entries()) {
      const place = Math.round((time - this.times[0]) / this.step);
      if (place >= 0 && place < this.times.length) column.values[place] = values[number];
    }
  }
}

/** The tags of a metric. */
export function tagsOf(metric) {
  return Object.fromEntries(metric.split(";").slice(1).map((tag) => tag.split(/=(.*)/s)));
}

/** As few questions as can be: [{agg, metrics}]. */
function questions(wanted) {
  const found = [];
  const open = new Map(); // by aggregation
  for (const { metric, agg } of wanted) {
    let question = open.get(agg);
    if (!question || question.length + metric.length > MOST_PATTERN) {
      question = { agg, metrics: [], length: 0 };
      open.set(agg, question);
      found.push(question);
    }
    if (question.metrics.includes(metric)) continue;
    question.metrics.push(metric);
    question.length += metric.length + 1;
  }
  return found;
}
