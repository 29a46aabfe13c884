// A small drawing of a share (0 to 1) over the last minutes; where there are no samples, there is no line.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 84;
const HEIGHT = 24;

/** s that a sparkline shows. */
export const SHOWN = 600;

/** s between the points that it begins with. */
export const STEP = 10;

/** The drawing and its points. */
export class Sparkline {
  #points = []; // [time in s since the epoch, value], by time

  constructor() {
    this.element = document.createElementNS(SVG, "svg");
    this.element.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.element.setAttribute("class", "spark");
    this.element.setAttribute("aria-hidden", "true");
    this.area = this.element.appendChild(document.createElementNS(SVG, "path"));
    this.area.setAttribute("class", "area");
    this.line = this.element.appendChild(document.createElementNS(SVG, "path"));
    this.line.setAttribute("class", "line");
  }

  /** Adds a sample; one that is there already is left out. */
  add(time, value) {
    if (!(time <= this.#points.at(-1)?.[0])) this.#points.push([time, value]);
  }

  /** Puts stored points before those seen since. */
  seed(times, values) {
    const stored = times.map((time, at) => [time, values[at]]).filter(([, value]) => value !== null);
    const last = stored.at(-1)?.[0] ?? 0;
    this.#points = [...stored, ...this.#points.filter(([time]) => time >= last + STEP)];
  }

  /** Draws up to `now`; `interval` (s) is the time from one sample to the next. */
  draw(now, interval) {
    while (this.#points[0]?.[0] < now - SHOWN) this.#points.shift();
    this.element.classList.toggle("empty", !this.#points.length);
    const gap = 2.5 * Math.max(interval, STEP);
    let line = "";
    let area = "";
    let before = -Infinity;
    let left = 0;
    const close = () => (before > -Infinity ? `L${x(before, now)} ${HEIGHT}H${left}Z` : "");
    for (const [time, value] of this.#points) {
      const at = `${x(time, now)} ${y(value)}`;
      if (time - before > gap) {
        area += `${close()}M${at}`;
        line += `M${at}h.01`; // a single sample is a dot
        left = x(time, now);
      } else {
        area += `L${at}`;
        line += `L${at}`;
      }
      before = time;
    }
    this.area.setAttribute("d", area + close());
    this.line.setAttribute("d", line);
  }
}

function x(time, now) {
  return ((1 - (now - time) / SHOWN) * (WIDTH - 2)).toFixed(1);
}

function y(value) {
  return (HEIGHT - 1.5 - Math.min(1, Math.max(0, value)) * (HEIGHT - 3)).toFixed(1);
}
