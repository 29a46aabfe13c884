// The page: one stream of what changes, and the view that its address names.

import { Collector } from "./collector.js";
import { eventItem, isLater, EventsView } from "./events.js";
import { Fleet } from "./fleet.js";
import { moment, put } from "./format.js";
import { Overview } from "./overview.js";
import { here } from "./route.js";

const MOST_EVENTS = 20; // beside the table

const at = (id) => document.getElementById(id);
const collector = new Collector();
const fleet = new Fleet();
const overview = new Overview(at("fleet"), collector, fleet);
const views = { fleet: overview, events: new EventsView(at("events"), collector) };

// These draw charts, and bring the library for them along.
const LATER = {
  hosts: async () => new (await import("./host.js")).HostView(at("host"), collector, fleet),
  explore: async () => new (await import("./explore.js")).ExploreView(at("explore"), collector),
  rightsizing: async () => new (await import("./rightsizing.js")).RightsizingView(at("rightsizing"), collector),
  benchmarks: async () => new (await import("./benchmarks.js")).BenchmarksView(at("benchmarks"), collector),
};

let current = null;
let lastEvent = ""; // id of the newest one on show

// ---- the stream

collector.addEventListener("token", ({ detail }) => signOut(detail));
collector.addEventListener("silent", ({ detail }) => {
  overview.stale(true);
  showProblem(detail ? `The collector answered: ${detail}` : noAnswer(), false);
});

collector.listen("api/v1/live", {
  fleet(told) {
    fleet.replace(told);
    changed();
  },
  hosts(told) {
    fleet.merge(told);
    changed();
  },
  past({ events }) {
    at("recent").replaceChildren();
    lastEvent = "";
    showEvents(events);
  },
  events({ events }) {
    showEvents(events);
    current?.happened?.(events);
  },
  status(status) {
    put(at("version"), status.version);
    overview.showStatus(status);
    showProblem(storeProblem(status), true);
    const { departed } = status.hosts;
    document.title = departed ? `(${departed} departed) perfmon` : "perfmon";
    at("main").hidden = false;
    at("sign-in").hidden = true;
    current ?? turn();
  },
});

function changed() {
  current?.changed?.();
}

// ---- the view

/** Shows what the address names. */
async function turn() {
  const route = here();
  const name = route.view in views || route.view in LATER ? route.view : "fleet";
  const view = (views[name] ??= await LATER[name]());
  if (here().view !== route.view) return; // it was quicker than the charts
  if (view !== current) {
    current?.hide?.();
    for (const section of at("main").children) section.hidden = section !== view.element;
    for (const link of document.querySelectorAll("nav a")) {
      if (link.dataset.view === name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    current = view;
  }
  view.show(route);
}

addEventListener("hashchange", () => current && turn());
setInterval(() => document.hidden || current?.tick?.(collector.now), 1_000);

// ---- what is shown beside it

function storeProblem({ store, ingest }) {
  if (store.problem) {
    return `The store takes nothing: ${store.problem.replace(/\.$/, "")}. What agents send waits until it does.`;
  }
  return ingest.paused ? "The store is behind: senders are paused until it has caught up." : "";
}

function noAnswer() {
  const since = collector.heard ? ` since ${moment(collector.heard / 1000, Date.now() / 1000)}` : "";
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
  const list = at("recent");
  for (const event of events) {
    if (lastEvent && !isLater(event.id, lastEvent)) continue;
    lastEvent = event.id;
    list.prepend(eventItem(event, collector.now));
  }
  while (list.children.length > MOST_EVENTS) list.lastChild.remove();
}

// ---- the token

function signOut(refused) {
  showProblem("", true);
  put(at("pulse"), "");
  put(at("sign-in-why"), refused ? "The collector does not know this token." : "This collector asks for a token.");
  at("main").hidden = true;
  at("sign-in").hidden = false;
  at("token").focus();
}

at("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  collector.signIn(at("token").value.trim());
  at("token").value = "";
});
