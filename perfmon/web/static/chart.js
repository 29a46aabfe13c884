// A chart: uPlot, dressed in the page's colours, with bands, stacks, gaps, marks for events, and a zoom by dragging.

import uPlot from "./uPlot.esm.js";
import { make, put } from "./format.js";

const HEIGHT = 190;
const MOST_NAMED = 12; // lines that the legend names; of more, the one that the pointer is on
const COLOURS = 10; // --series-0 to --series-9 in page.css

/**
 * One chart of a view. `zoom` is called with the first and the last moment (s) that were chosen by dragging, `group`
 * names those whose crosshairs move together.
 */
export class Chart {
  #plot = null;
  #shape = "";
  #data = [];
  #lines = [];

  constructor(title, { about = "", stacked = false, ceiling = null, write, zoom, group, height = HEIGHT }) {
    Object.assign(this, { title, about, stacked, ceiling, write, zoom, group, height, marks: [] });
    this.element = make("figure", "chart");
    this.element.chart = this;
    this.caption = this.element.appendChild(make("figcaption"));
    this.caption.append(make("span", "", title), " ", make("span", "quiet about", about));
    this.box = this.element.appendChild(make("div", "plot"));
    this.empty = this.element.appendChild(make("p", "quiet empty", "Nothing in this range."));
    this.empty.hidden = true;
    this.resizing = new ResizeObserver(() => this.#fit());
    this.resizing.observe(this.box);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.recolour = () => this.#rebuild();
    this.scheme.addEventListener("change", this.recolour);
  }

  /** What is drawn, for who looks from outside: each line's name and values, at `times`. */
  get drawn() {
    return { times: this.#data[0] ?? [], lines: this.#lines };
  }

  /**
   * Draws `lines`, each {name, values, low, high}, at `times` (s) from `from` to `until`; low and high, the extremes of
   * each step, need not be there.
   */
  draw(times, lines, [from, until], marks = []) {
    this.marks = marks;
    this.#lines = lines;
    this.range = [from, until];
    this.empty.hidden = lines.length > 0;
    this.box.hidden = !lines.length;
    if (!lines.length) return;
    const banded = lines.flatMap((line) => (line.low ? [line] : []));
    this.#data = [
      times,
      ...(this.stacked ? stacked(lines) : lines.map((line) => joined(line.values))),
      ...banded.flatMap((line) => [joined(line.low), joined(line.high)]),
    ];
    const shape = JSON.stringify([lines.map((line) => [line.name, Boolean(line.low)])]);
    if (this.#plot && shape === this.#shape) {
      this.#plot.setData(this.#data, false);
      this.#plot.setScale("x", { min: from, max: until });
      this.#plot.redraw();
      this.#describe();
    } else {
      this.#shape = shape;
      this.#rebuild();
    }
  }

  remove() {
    this.resizing.disconnect();
    this.scheme.removeEventListener("change", this.recolour);
    this.#plot?.destroy();
    this.element.remove();
  }

  #fit() {
    const width = this.box.clientWidth;
    if (this.#plot && width && width !== this.#plot.width) this.#plot.setSize({ width, height: this.height });
  }

  #rebuild() {
    this.#plot?.destroy();
    this.#plot = null;
    if (!this.#data.length || !this.box.clientWidth) return;
    const style = getComputedStyle(this.element);
    const colour = (name) => style.getPropertyValue(name).trim();
    const lines = this.#lines;
    const banded = lines.flatMap((line, place) => (line.low ? [place] : []));
    const series = lines.map((line, place) => this.#seriesOf(line, colour(`--series-${place % COLOURS}`)));
    const extremes = banded.flatMap(() => [hidden(), hidden()]);
    const axis = {
      stroke: colour("--quiet"),
      font: `12px ${style.fontFamily}`,
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { stroke: colour("--line"), width: 1 },
    };
    this.#plot = new uPlot(
      {
        width: this.box.clientWidth,
        height: this.height,
        series: [{ value: (_, time) => (time === null ? "" : moment(time)) }, ...series, ...extremes],
        bands: this.stacked
          ? lines.slice(1).map((_, place) => ({ series: [place + 2, place + 1] }))
          : banded.map((place, number) => ({
              series: [lines.length + 2 * number + 2, lines.length + 2 * number + 1],
              fill: `${colour(`--series-${place % COLOURS}`)}38`,
            })),
        scales: { x: { time: true, range: () => this.range }, y: { range: (_, low, high) => this.#extent(low, high) } },
        axes: [
          { ...axis, size: 30, values: (_, splits, __, ___, step) => splits.map((time) => tick(time, step)) },
          { ...axis, size: 72, values: (_, splits) => splits.map((value) => this.write(value)) },
        ],
        cursor: {
          sync: { key: this.group },
          drag: { x: true, y: false, setScale: false },
          points: { size: 6 },
          focus: { prox: 24 },
        },
        focus: { alpha: 0.35 },
        legend: { show: lines.length <= MOST_NAMED },
        hooks: {
          setSeries: [(_, place, { focus }) => focus !== undefined && this.#note(place)],
          draw: [(plot) => this.#drawMarks(plot, colour)],
          setSelect: [(plot) => this.#selected(plot)],
        },
      },
      this.#data,
      this.box,
    );
    // a table that only a pointer fills says nothing to who has none
    this.box.querySelector(".u-legend")?.setAttribute("aria-hidden", "true");
    this.#describe();
  }

  #seriesOf(line, stroke) {
    return {
      label: line.name,
      stroke,
      width: 1.5,
      fill: this.stacked ? `${stroke}a0` : undefined,
      points: { size: 4 },
      value: (_, __, ___, place) => written(place === null ? lastOf(line) : line.values[place], this.write),
    };
  }

  /** In words, for who cannot see it. */
  #describe() {
    const last = this.#lines.map((line) => `${line.name} ${written(lastOf(line), this.write)}`);
    this.box.setAttribute("role", "img");
    this.box.setAttribute("aria-label", `${this.title}. Last: ${last.slice(0, 10).join(", ")}.`);
  }

  /** From 0 on, and up to the ceiling where there is one. */
  #extent(low, high) {
    const top = Math.max(high ?? 0, this.ceiling ?? 0);
    const bottom = Math.min(low ?? 0, 0);
    return [bottom, top > bottom ? (this.ceiling && top <= this.ceiling ? this.ceiling : top * 1.05) : bottom + 1];
  }

  #selected(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    this.zoom(plot.posToVal(left, "x"), plot.posToVal(left + width, "x"));
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  }

  /** A line where something happened to the host. */
  #drawMarks(plot, colour) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
    for (const { at, kind } of this.marks) {
      if (at < this.range[0] || at > this.range[1]) continue;
      const x = Math.round(plot.valToPos(at, "x", true)) + 0.5;
      ctx.strokeStyle = colour(`--${kind}`) || colour("--quiet");
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  /** Names the line that the pointer is on, in place of what the chart is about. */
  #note(place) {
    put(this.caption.lastChild, (place !== null && this.#lines[place - 1]?.name) || this.about);
  }
}

const SECONDS = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const MINUTES = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

function moment(time) {
  const date = new Date(time * 1000);
  return `${DAY.format(date)}, ${SECONDS.format(date)}`;
}

/** A mark on the axis of time; at midnight it is the day. `step` (s) is the distance to the next. */
function tick(time, step) {
  const date = new Date(time * 1000);
  const midnight = date.getHours() === 0 && date.getMinutes() === 0 && date.getSeconds() === 0;
  if (step >= 86_400 || midnight) return DAY.format(date);
  return (step < 60 ? SECONDS : MINUTES).format(date);
}

function lastOf({ values }) {
  return values.findLast((value) => value !== null);
}

function written(value, write) {
  return value === null || value === undefined ? "–" : write(value);
}

function hidden() {
  return { show: true, stroke: "transparent", width: 0, points: { show: false }, class: "extreme", value: () => "" };
}

/**
 * A line with its gaps: null is one, undefined is only between two samples. As between two of these there usually are
 * `usual` steps, twice as many without a sample are no gap yet: sampling has a jitter.
 */
export function joined(values) {
  const there = [...values.keys()].filter((place) => values[place] !== null);
  const distances = there.slice(1).map((place, number) => place - there[number]).sort((one, other) => one - other);
  const longest = 2.5 * (distances[distances.length >> 1] ?? 1);
  const line = [...values];
  for (let number = 1; number < there.length; number += 1) {
    if (there[number] - there[number - 1] > longest) continue;
    for (let place = there[number - 1] + 1; place < there[number]; place += 1) line[place] = undefined;
  }
  return line;
}

/** Each line on top of those before; where all have nothing is a gap. */
function stacked(lines) {
  const sums = lines[0].values.map(() => 0);
  const there = lines[0].values.map((_, place) => lines.some(({ values }) => values[place] !== null));
  return lines.map(({ values }) =>
    joined(values.map((value, place) => (there[place] ? (sums[place] += value ?? 0) : null))),
  );
}
