// The page: asks the collector every two seconds, one request at a time, and shows what it says.

import { make, moment, put, short, span, stamp } from "./format.js";
import { HostTable, METRICS } from "./hosts.js";
import { SHOWN, STEP } from "./sparkline.js";

const POLL = 2_000; // ms from one round of questions to the next
const SHARE = 10; // a round that took long is followed by a pause of so many times as long: a page is no load
const SLOWEST = 15_000; // ms, the longest pause
const PATIENCE = 12_000; // ms for an answer; the collector waits 10 s for the store, and then says so
const MOST_EVENTS = 100; // on show, and in one answer
const MOST_SEEDED = 300; // hosts; for more, sparklines begin empty: their history would be a large answer
const MOST_BARE = 20; // hosts asked about in one go: their names go into one pattern
const BARE_EVERY = 15_000; // ms

const at = (id) => document.getElementById(id);
const table = new HostTable(at("hosts"), at("search"), at("shown"), at("none"));

/** An answer of the collector other than 200. */
class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const state = {
  skew: 0, // ms that the collector's clock is ahead of this one
  answered: 0, // ms, when the collector last answered
  signedOut: false,
  seeded: false, // sparklines have their stored part
  lastEvent: "", // id of the newest event on show
  bareAsked: 0, // ms
  wake: () => {}, // ends the present pause
};

/** Now by the collector's clock, s since the epoch. */
const now = () => (Date.now() + state.skew) / 1000;

async function ask(path) {
  const headers = {};
  const token = sessionStorage.getItem("token");
  // a header holds bytes, a token may hold any character
  if (token) headers.Authorization = `Bearer ${String.fromCharCode(...new TextEncoder().encode(token))}`;
  const response = await fetch(path, { headers, signal: AbortSignal.timeout(PATIENCE) });
  if (response.ok) {
    const answer = await response.json();
    state.answered = Date.now();
    const skew = Date.parse(response.headers.get("Date")) - Date.now();
    state.skew = Math.abs(skew) > 3_000 ? skew : 0; // the header counts whole seconds
    return answer;
  }
  const answer = await response.json().catch(() => ({}));
  throw new Refusal(response.status, answer.error ?? `${response.status} ${response.statusText}`);
}

// ---- one round of questions

/** Asks and shows everything; tells whether all of it was answered. */
async function round() {
  let problem = "";
  let stale = [at("figures"), at("hosts")];
  try {
    const status = await ask("api/v1/status");
    showStatus(status);
    problem = storeProblem(status);
    stale = [at("hosts")];
    await askHosts();
    await askEvents();
    stale = [];
  } catch (error) {
    if (error instanceof Refusal && error.status === 401) {
      signOut();
      return false;
    }
    problem ||= error instanceof Refusal ? `The collector answered: ${error.message}` : noAnswer();
    state.seeded = false; // what is missed meanwhile comes from the store
  }
  for (const id of ["figures", "hosts"]) at(id).classList.toggle("stale", stale.includes(at(id)));
  showProblem(problem, !stale.length);
  return !stale.length;
}

async function askHosts() {
  const { hosts } = await ask(`api/v1/hosts?metric=${METRICS.join(",")}`);
  table.update(hosts, now());
  if (!state.seeded) {
    if (hosts.length <= MOST_SEEDED) {
      const { series } = await ask(`api/v1/query?metric=${METRICS[0]}&from=-${SHOWN}s&step=${STEP}`);
      table.seed(series);
    }
    state.seeded = true;
  }
  const bare = table.bare(MOST_BARE);
  if (bare.length && Date.now() - state.bareAsked > BARE_EVERY) {
    state.bareAsked = Date.now();
    table.know((await ask(`api/v1/hosts?host=${encodeURIComponent(bare.join(","))}`)).hosts);
    table.arrange();
  }
}

/** The first question asks for the newest of the last day; later ones for what has come since. */
async function askEvents() {
  const span = state.lastEvent ? `since=${state.lastEvent}` : "since=-1d&order=desc";
  const { events } = await ask(`api/v1/events?${span}&limit=${MOST_EVENTS}`);
  if (!state.lastEvent) events.reverse();
  for (const event of events) showEvent(event);
  state.lastEvent = events.at(-1)?.id ?? state.lastEvent;
}

// ---- what is shown

function showStatus(status) {
  const { hosts, samples, store, agents } = status;
  put(at("version"), status.version);
  put(at("hosts-total"), `${Object.values(hosts).reduce((sum, count) => sum + count, 0)}`);
  const states = ["departed", "late", "silent", "up", "absent", "left"].filter((name) => hosts[name]);
  at("hosts-states").replaceChildren(...states.map((name) => make("span", `mark ${name}`, `${hosts[name]} ${name}`)));
  put(at("received"), `${short(Math.round(samples.received_per_second))}/s`);
  const rejected = samples.rejected ? `, ${short(samples.rejected)} rejected` : "";
  put(at("stored"), `${short(Math.round(samples.stored_per_second))}/s stored${rejected}`);
  at("stored").title = Object.entries(samples.rejected_by_reason).map(([why, count]) => `${why}: ${count}`).join("\n");
  put(at("store"), store.problem ? "failing" : status.ingest.paused ? "behind" : "ok");
  at("store").className = store.problem ? "bad" : status.ingest.paused ? "warm" : "good";
  const facts = store.server ? `${store.server} ${store.version}, ${short(store.memory_bytes)}B` : store.address;
  put(at("store-facts"), facts);
  at("store-facts").title = store.address;
  put(at("uptime"), span(status.uptime));
  put(at("agents"), `${agents.connected} ${agents.connected === 1 ? "agent" : "agents"} connected`);
  document.title = hosts.departed ? `(${hosts.departed} departed) perfmon` : "perfmon";
  at("main").hidden = false;
  at("sign-in").hidden = true;
}

function storeProblem({ store, ingest }) {
  if (store.problem) {
    return `The store takes nothing: ${store.problem.replace(/\.$/, "")}. What agents send waits until it does.`;
  }
  return ingest.paused ? "The store is behind: senders are paused until it has caught up." : "";
}

function noAnswer() {
  const since = state.answered ? ` since ${moment(state.answered / 1000, Date.now() / 1000)}` : "";
  return `No answer from the collector${since}. This page keeps trying.`;
}

/** Shows the banner, or takes it away. The same words are not put again, lest a screen reader repeat them. */
function showProblem(problem, live) {
  put(at("banner"), problem);
  at("banner").hidden = !problem;
  put(at("pulse"), live ? "live" : "not live");
  at("pulse").className = live ? "good" : "bad";
}

function showEvent({ kind, hosts, at: time, reason }) {
  const shown = hosts.slice(0, 8).join(", ");
  const more = hosts.length > 8 ? ` and ${hosts.length - 8} more` : "";
  const item = make("li");
  const text = make("span");
  text.append(make("strong", "", shown), `${more}${reason ? ` (${reason})` : ""}`);
  item.append(stamp(time, now()), make("span", `mark ${kind}`, kind), text);
  const list = at("events");
  list.prepend(item);
  while (list.children.length > MOST_EVENTS) list.lastChild.remove();
}

// ---- the token

function signOut() {
  const refused = sessionStorage.getItem("token") !== null;
  sessionStorage.removeItem("token");
  state.signedOut = true;
  showProblem("", true);
  put(at("pulse"), "");
  const why = refused ? "The collector does not know this token." : "This collector asks for a token.";
  put(at("sign-in-why"), why);
  at("main").hidden = true;
  at("sign-in").hidden = false;
  at("token").focus();
}

at("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", at("token").value.trim());
  at("token").value = "";
  state.signedOut = false;
  state.wake();
});

// ---- time

function pause(ms) {
  return new Promise((resolve) => {
    const timer = ms === Infinity ? 0 : setTimeout(resolve, ms);
    state.wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) state.seeded = false;
  else state.wake();
});
addEventListener("online", () => state.wake());
setInterval(() => document.hidden || table.tick(now()), 1_000);

for (;;) {
  while (document.hidden || state.signedOut) await pause(Infinity);
  const began = performance.now();
  const live = await round();
  const took = performance.now() - began;
  await pause(live ? Math.min(Math.max(POLL, SHARE * took), SLOWEST) : POLL);
}
