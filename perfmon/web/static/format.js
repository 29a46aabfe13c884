// Numbers and moments as people read them, and the small steps in the document that every part needs.

const LARGE = ["", "k", "M", "G", "T", "P"];
const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY_AND_TIME = new Intl.DateTimeFormat("en-GB", {
  day: "numeric", month: "short", hour: "2-digit", minute: "2-digit",
});
const FULL = new Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeStyle: "long" });

/** A new element. Its text is always text: whatever a host is called, it cannot become markup. */
export function make(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

/** A heading of a table's column, or of a row. */
export function heading(text, scope = "col") {
  const made = make("th", "", text);
  made.scope = scope;
  return made;
}

/** Shows facts, by name, as the items of a list; those without a text are left out. */
export function tell(list, facts) {
  list.replaceChildren(
    ...Object.entries(facts).filter(([, text]) => text).map(([name, text]) => {
      const item = make("div");
      item.append(make("dt", "", name), make("dd", "", text));
      return item;
    }),
  );
}

/** Shows `text`; a document that says so already is not touched. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A share of 1 as a percentage. */
export function percent(share) {
  const value = share * 100;
  return `${value && value < 9.95 ? value.toFixed(1) : Math.round(value)} %`;
}

/** A count with a decimal prefix: 1234567 is "1.2 M". */
export function short(count) {
  let power = 0;
  while (count >= 999.5 && power < LARGE.length - 1) {
    count /= 1000;
    power += 1;
  }
  const digits = count < 9.95 && count % 1 ? 1 : 0;
  return `${count.toFixed(digits)} ${LARGE[power]}`;
}

/** Seconds, as milliseconds. */
export function ms(seconds) {
  return `${(seconds * 1000).toPrecision(3)} ms`;
}

/** Bytes per second. */
export function rate(bytes) {
  return `${short(bytes)}B/s`;
}

/** How values of a unit (as in the API) are written; with the aggregation "rate" they are per second. */
export function writer(unit, agg = "avg") {
  const per = agg === "rate" ? "/s" : "";
  if (unit === "s" && per) return percent; // seconds in a second
  if (unit === "1") return per ? (value) => `${percent(value)}/s` : percent;
  if (unit === "By") return (value) => `${short(value)}B${per}`;
  if (unit === "Cel") return (value) => `${Number(value.toFixed(1))} °C${per}`;
  const name = /^[{]|^$/.test(unit) ? "" : ` ${unit}`;
  return (value) => `${plain(value)}${name}${per}`;
}

/** Any value of a metric, short. */
export function plain(value) {
  if (Math.abs(value) < 10_000) return `${Number(value.toPrecision(4))}`;
  return `${value < 0 ? "-" : ""}${short(Math.abs(value))}`.trim();
}

/** Seconds as "8 s", "5 min", "3 h 20 min", "2 d 4 h". */
export function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  const [large, small, from, to] = s < 86_400 ? [3600, 60, "h", "min"] : [86_400, 3600, "d", "h"];
  const rest = Math.floor((s % large) / small);
  return `${Math.floor(s / large)} ${from}${rest ? ` ${rest} ${to}` : ""}`;
}

/** The time of day, with the day where that is not today. Both are in s since the epoch. */
export function moment(time, now) {
  const date = new Date(time * 1000);
  const today = date.toDateString() === new Date(now * 1000).toDateString();
  return (today ? TIME : DAY_AND_TIME).format(date);
}

/** A <time> element for s since the epoch. */
export function stamp(time, now) {
  const made = make("time", "", moment(time, now));
  made.dateTime = new Date(time * 1000).toISOString();
  made.title = full(time);
  return made;
}

export function full(time) {
  return FULL.format(new Date(time * 1000));
}
