// The page: one stream of what changes, and what it shows.

import { make, moment, put, short, span, stamp } from "./format.js";
import { HostTable } from "./hosts.js";
import { SHOWN, STEP } from "./sparkline.js";

const SILENCE = 12_000; // ms; the collector says something every two seconds, and waits 10 s for its store
const FIRST_PAUSE = 500; // ms before the stream is asked for again; doubled up to the longest
const LONGEST_PAUSE = 8_000;
const MOST_EVENTS = 100; // on show
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
  heard: 0, // ms, when the collector last said something
  signedOut: false,
  lastEvent: "", // id of the newest event on show
  bareAsked: 0, // ms
  stop: () => {}, // ends the stream
  wake: () => {}, // ends the present pause
};

/** Now by the collector's clock, s since the epoch. */
const now = () => (Date.now() + state.skew) / 1000;

async function open(path, signal) {
  const headers = {};
  const token = sessionStorage.getItem("token");
  // a header holds bytes, a token may hold any character
  if (token) headers.Authorization = `Bearer ${String.fromCharCode(...new TextEncoder().encode(token))}`;
  const response = await fetch(path, { headers, signal });
  if (!response.ok) {
    const answer = await response.json().catch(() => ({}));
    throw new Refusal(response.status, answer.error ?? `${response.status} ${response.statusText}`);
  }
  state.heard = Date.now();
  const skew = Date.parse(response.headers.get("Date")) - Date.now();
  state.skew = Math.abs(skew) > 3_000 ? skew : 0; // the header counts whole seconds
  return response;
}

async function ask(path) {
  return (await open(path, AbortSignal.timeout(SILENCE))).json();
}

// ---- the stream

/** Takes in what the collector says, until the stream ends. */
async function listen() {
  const ending = new AbortController();
  state.stop = () => ending.abort();
  let silence = setTimeout(state.stop, SILENCE);
  try {
    const { body } = await open("api/v1/live", ending.signal);
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(silence);
      silence = setTimeout(state.stop, SILENCE);
      state.heard = Date.now();
      const messages = (rest + value).split("\n\n");
      rest = messages.pop();
      for (const message of messages) take(message);
    }
  } finally {
    clearTimeout(silence);
  }
}

/** One server-sent event: its name in the first line, JSON in the second. */
function take(message) {
  const [, kind, data] = /^event: (.*)\ndata: (.*)$/.exec(message) ?? [];
  if (kind) TAKES[kind]?.(JSON.parse(data));
}

const TAKES = {
  fleet({ hosts }) {
    table.update(hosts, now());
    if (hosts.length <= MOST_SEEDED) seed();
    askBare();
  },
  hosts({ hosts, gone }) {
    table.merge(hosts, gone, now());
    askBare();
  },
  past({ events }) {
    at("events").replaceChildren();
    state.lastEvent = "";
    showEvents(events);
  },
  events({ events }) {
    showEvents(events);
  },
  status(status) {
    showStatus(status);
    showProblem(storeProblem(status), true);
    at("figures").classList.remove("stale");
    at("hosts").classList.toggle("stale", Boolean(status.store.problem));
  },
};

/** The stored part of the sparklines. Without it they are shorter, and that is all. */
async function seed() {
  const { series } = await ask(`api/v1/query?metric=perfmon.cpu.utilization&from=-${SHOWN}s&step=${STEP}`).catch(
    () => ({ series: [] }),
  );
  table.seed(series);
}

/** What hosts send of which the table's own columns say nothing. */
async function askBare() {
  const bare = table.bare(MOST_BARE);
  if (!bare.length || Date.now() - state.bareAsked < BARE_EVERY) return;
  state.bareAsked = Date.now();
  const { hosts } = await ask(`api/v1/hosts?host=${encodeURIComponent(bare.join(","))}`).catch(() => ({ hosts: [] }));
  table.know(hosts);
  table.arrange();
}

/** Listens until that ends; tells whether anything was heard. */
async function turn() {
  const began = state.heard;
  let problem = "";
  try {
    await listen();
  } catch (error) {
    if (error instanceof Refusal && error.status === 401) {
      signOut();
      return false;
    }
    problem = error instanceof Refusal ? `The collector answered: ${error.message}` : "";
  }
  if (!document.hidden) {
    for (const id of ["figures", "hosts"]) at(id).classList.add("stale");
    showProblem(problem || noAnswer(), false);
  }
  return state.heard > began && !problem;
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
  const since = state.heard ? ` since ${moment(state.heard / 1000, Date.now() / 1000)}` : "";
  return `No answer from the collector${since}. This page keeps trying.`;
}

/** Shows the banner, or takes it away. The same words are not put again, lest a screen reader repeat them. */
function showProblem(problem, live) {
  put(at("banner"), problem);
  at("banner").hidden = !problem;
  put(at("pulse"), live ? "live" : "not live");
  at("pulse").className = live ? "good" : "bad";
}

/** Shows events that are newer than those on show: some may come twice. */
function showEvents(events) {
  for (const event of events) {
    if (state.lastEvent && !isLater(event.id, state.lastEvent)) continue;
    state.lastEvent = event.id;
    showEvent(event);
  }
}

/** Whether the event of this id came after that of the other. An id is two numbers. */
function isLater(id, other) {
  const [[ms, count], [otherMs, otherCount]] = [id, other].map((text) => text.split("-").map(Number));
  return ms > otherMs || (ms === otherMs && count > otherCount);
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
  if (document.hidden) state.stop();
  else state.wake();
});
addEventListener("online", () => state.wake());
setInterval(() => document.hidden || table.tick(now()), 1_000);

let wait = FIRST_PAUSE;
for (;;) {
  while (document.hidden || state.signedOut) await pause(Infinity);
  wait = (await turn()) ? FIRST_PAUSE : Math.min(2 * wait, LONGEST_PAUSE);
  if (!document.hidden && !state.signedOut) await pause(wait);
}
