// The range of time that a view shows: so long up to now, or from a moment to another.

import { make } from "./format.js";

const LENGTHS = { m: 60, h: 3600, d: 86_400 };
const RANGES = ["15m", "1h", "6h", "1d", "7d", "30d", "90d", "400d"];
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400, 172_800];
const POINTS = 300; // about so many are drawn
const LEAST = 10; // s; nothing shorter is worth to be looked at

/** A range as the address of a view holds it: {range: "1h"}, or {from, until} in s since the epoch. */
export class Range {
  constructor(given, standard = "1h") {
    const [from, until] = ["from", "until"].map((name) => Number(given.get(name) ?? NaN));
    this.fixed = from < until;
    this.name = RANGES.includes(given.get("range")) ? given.get("range") : standard;
    this.length = this.fixed ? until - from : Number(this.name.slice(0, -1)) * LENGTHS[this.name.at(-1)];
    this.until = this.fixed ? until : null;
  }

  /** [from, until] in s since the epoch. */
  at(now) {
    const until = this.until ?? now;
    return [until - this.length, until];
  }

  /** s from one point to the next, none shorter than `interval`. */
  step(interval) {
    const wanted = Math.max(this.length / POINTS, interval);
    return STEPS.find((step) => step >= wanted) ?? STEPS.at(-1);
  }

  /** What the address holds. */
  get given() {
    return this.fixed ? span(this.until - this.length, this.until) : { range: this.name, from: "", until: "" };
  }
}

/** What the address holds of a span of time that was chosen. */
export function span(from, until) {
  const middle = (from + until) / 2;
  const half = Math.max(until - from, LEAST) / 2;
  return { range: "", from: (middle - half).toFixed(0), until: (middle + half).toFixed(0) };
}

/** Buttons for all that; calls `choose` with what the address is to hold. */
export class RangePicker {
  #range;
  #now = 0;
  #buttons = {};

  constructor(element, choose) {
    const lengths = element.appendChild(make("span", "choice"));
    for (const name of RANGES) {
      const button = lengths.appendChild(make("button", "", name));
      button.addEventListener("click", () => choose({ range: name, from: "", until: "" }));
      this.#buttons[name] = button;
    }
    const moves = element.appendChild(make("span", "choice"));
    const add = (text, title, from, until) => {
      const button = moves.appendChild(make("button", "", text));
      button.title = title;
      button.setAttribute("aria-label", title);
      button.addEventListener("click", () => {
        const [begin, end] = this.#range.at(this.#now);
        const { length } = this.#range;
        choose(span(begin + from * length, Math.min(end + until * length, this.#now)));
      });
    };
    add("‹", "Earlier", -0.5, -0.5);
    add("›", "Later", 0.5, 0.5);
    add("+", "Shorter range", 0.25, -0.25);
    add("−", "Longer range", -0.5, 0.5);
  }

  show(range, now) {
    this.#range = range;
    this.#now = now;
    for (const [name, button] of Object.entries(this.#buttons)) {
      button.setAttribute("aria-pressed", `${!range.fixed && name === range.name}`);
    }
  }
}
