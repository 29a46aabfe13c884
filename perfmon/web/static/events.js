// The view of what happened: who came, who went, and why.

import { matcher } from "./fleet.js";
import { make, put, stamp } from "./format.js";
import { Range, RangePicker } from "./range.js";
import { address, go } from "./route.js";

const KINDS = ["departed", "late", "silent", "up", "absent", "left", "gap", "removed"];
const PAGE = 100;
const MOST_NAMES = 8;

/** An event as an item of a list; its hosts are links. */
export function eventItem({ kind, hosts, at, reason }, now) {
  const item = make("li");
  const text = make("span", "told");
  hosts.slice(0, MOST_NAMES).forEach((host, place) => {
    const link = make("a", "", host);
    link.href = address("hosts", host);
    text.append(place ? ", " : "", link);
  });
  const more = hosts.length > MOST_NAMES ? ` and ${hosts.length - MOST_NAMES} more` : "";
  text.append(`${more}${reason ? ` (${reason})` : ""}`);
  item.append(stamp(at, now), make("span", `mark ${kind}`, kind), text);
  return item;
}

/** Whether the event of this id came after that of the other. An id is two numbers. */
export function isLater(id, other) {
  const [[ms, count], [otherMs, otherCount]] = [id, other].map((text) => text.split("-").map(Number));
  return ms > otherMs || (ms === otherMs && count > otherCount);
}

export class EventsView {
  #route = null;
  #range = null;
  #kinds = new Set(); // empty: all
  #buttons = {};
  #oldest = "";
  #newest = "";
  #looking = new AbortController();

  constructor(element, collector) {
    this.element = element;
    this.collector = collector;
    const within = (selector) => element.querySelector(selector);
    this.list = within("ol");
    this.search = within("input");
    this.more = within(".more");
    this.none = within(".none");
    this.picker = new RangePicker(within(".ranges"), (given) => this.#settle(given, false));
    for (const kind of KINDS) {
      const button = within(".kinds").appendChild(make("button", `mark ${kind}`, kind));
      button.addEventListener("click", () => {
        if (!this.#kinds.delete(kind)) this.#kinds.add(kind);
        this.#settle({}, true);
      });
      this.#buttons[kind] = button;
    }
    this.search.addEventListener("input", () => this.#settle({}, true));
    this.more.addEventListener("click", () => this.#load(this.#oldest));
  }

  show({ given }) {
    this.#range = new Range(given, "1d");
    this.#kinds = new Set((given.get("kind") ?? "").split(",").filter((kind) => KINDS.includes(kind)));
    const host = given.get("host") ?? "";
    if (this.search.value.trim() !== host) this.search.value = host;
    for (const [kind, button] of Object.entries(this.#buttons)) {
      button.setAttribute("aria-pressed", `${this.#kinds.has(kind)}`);
    }
    this.picker.show(this.#range, this.collector.now);
    this.#load("");
  }

  hide() {
    this.#looking.abort();
  }

  /** Takes in what has just happened. */
  happened(events) {
    if (this.#range.fixed) return;
    const matches = matcher(this.search.value);
    for (const event of events) {
      const hosts = event.hosts.filter(matches);
      const wanted = hosts.length && (!this.#kinds.size || this.#kinds.has(event.kind));
      if (!wanted || !isLater(event.id, this.#newest || "0-0")) continue;
      this.#newest = event.id;
      this.list.prepend(eventItem({ ...event, hosts }, this.collector.now));
    }
    this.none.hidden = this.list.children.length > 0;
  }

  /** Shows the newest events, or those before one that is shown. */
  async #load(until) {
    this.#looking.abort();
    this.#looking = new AbortController();
    const { signal } = this.#looking;
    const [from, end] = this.#range.at(this.collector.now);
    const given = {
      since: from.toFixed(3),
      until: until || (this.#range.fixed ? end.toFixed(3) : ""),
      limit: PAGE,
      order: "desc",
      host: this.search.value.trim(),
      kind: [...this.#kinds].join(","),
    };
    try {
      const { events } = await this.collector.ask("api/v1/events", given, signal);
      if (!until) {
        this.list.replaceChildren();
        this.#newest = events[0]?.id ?? "";
      }
      this.#oldest = events.at(-1)?.id ?? "";
      this.list.append(...events.map((event) => eventItem(event, this.collector.now)));
      this.more.hidden = events.length < PAGE;
      this.none.hidden = this.list.children.length > 0;
      put(this.none, "Nothing happened that matches.");
    } catch (error) {
      if (signal.aborted) return;
      this.none.hidden = false;
      put(this.none, error.message);
    }
  }

  #settle(range, replace) {
    const kept = { ...this.#range.given, ...range };
    go(address("events", "", { ...kept, host: this.search.value.trim(), kind: [...this.#kinds].join(",") }), replace);
  }
}
