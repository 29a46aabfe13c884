// A small chart of the last minutes; where there are no samples, there is no line.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 60;
const HEIGHT = 24;

/** s between the points that it begins with: two pixels. */
export const STEP = 20;

/** The drawing of one column of a host's history. */
export class Sparkline {
  #drawn = "";

  /** `ceiling` is the value at the upper edge, at least: 1 for a share. */
  constructor(ceiling) {
    this.ceiling = ceiling;
    this.element = document.createElementNS(SVG, "svg");
    this.element.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.element.setAttribute("class", "spark");
    this.element.setAttribute("aria-hidden", "true");
    this.area = this.element.appendChild(document.createElementNS(SVG, "path"));
    this.area.setAttribute("class", "area");
    this.line = this.element.appendChild(document.createElementNS(SVG, "path"));
    this.line.setAttribute("class", "line");
  }

  /** Draws `name` of `host` over the last `shown` s up to `now`. */
  draw(host, name, now, shown) {
    const { times, values, version } = host.history;
    const state = `${host.host} ${version} ${Math.floor(now / STEP)}`;
    if (state === this.#drawn) return;
    this.#drawn = state;
    const column = values[name];
    const from = now - shown;
    const top = column.reduce((top, value, place) => (times[place] >= from ? Math.max(top, value) : top), this.ceiling);
    const x = (time) => (((time - from) / shown) * (WIDTH - 2)).toFixed(1);
    const y = (value) => (HEIGHT - 1.5 - (Math.max(0, value) / (top || 1)) * (HEIGHT - 3)).toFixed(1);
    const gap = 2.5 * Math.max(host.interval, STEP);
    let line = "";
    let area = "";
    let before = -Infinity;
    let left = 0;
    const close = () => (before > -Infinity ? `L${x(before)} ${HEIGHT}H${left}Z` : "");
    for (const [place, time] of times.entries()) {
      const value = column[place];
      if (value === null || time < from) continue;
      const at = `${x(time)} ${y(value)}`;
      if (time - before > gap) {
        area += `${close()}M${at}`;
        line += `M${at}h.01`; // a single sample is a dot
        left = x(time);
      } else {
        area += `L${at}`;
        line += `L${at}`;
      }
      before = time;
    }
    this.element.classList.toggle("empty", !line);
    this.area.setAttribute("d", area + close());
    this.line.setAttribute("d", line);
  }
}
