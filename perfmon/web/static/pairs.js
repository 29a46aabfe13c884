// Who did how with whom, in a benchmark between hosts: a row for each who sends, a column for each who answers.

import { heading, make, ms, rate, short } from "./format.js";

const MOST_PEERS = 30; // with more the table has only the pairs that something is wrong with
const MOST_BAD = 200;

/** How one pair did, in a few words, and whether something is wrong with it. */
function told(figures) {
  for (const [name, what] of [["mismatches", "wrong"], ["unanswered", "unanswered"]]) {
    if (figures[name]) return { text: `${short(figures[name])} ${what}`, bad: true };
  }
  if (figures.problem) return { text: "unreached", bad: true };
  return { text: "p50" in figures ? ms(figures.p50) : rate(figures.rate), bad: false };
}

function cell(figures) {
  const { text, bad } = figures ? told(figures) : { text: "", bad: false };
  const made = make("td", bad ? "bad" : "", text);
  if (figures?.problem) made.title = figures.problem;
  return made;
}

function matrix(pairs, peers) {
  const table = make("table", "plain");
  const head = table.createTHead().insertRow();
  head.append(heading("From / to", "col"), ...peers.map((peer) => heading(peer, "col")));
  const body = table.createTBody();
  for (const [host, met] of pairs) {
    body.insertRow().append(heading(host, "row"), ...peers.map((peer) => cell(met[peer])));
  }
  return table;
}

function onlyBad(pairs) {
  const bad = pairs.flatMap(([host, met]) =>
    Object.entries(met).filter(([, figures]) => told(figures).bad).map(([peer, figures]) => [host, peer, figures]));
  const table = make("table", "plain");
  table.createTHead().insertRow().append(...["From", "To", "What", "Why"].map((text) => heading(text, "col")));
  const body = table.createTBody();
  for (const [host, peer, figures] of bad.slice(0, MOST_BAD)) {
    const row = body.insertRow();
    row.append(heading(host, "row"), make("td", "", peer), cell(figures), make("td", "", figures.problem ?? ""));
  }
  return table;
}

/** A table of the pairs of a run; nothing where its hosts met nobody. */
export function pairsTable(run) {
  const all = Object.entries(run.hosts).map(([host, at]) => [host, at.pairs]);
  const pairs = all.filter(([, met]) => Object.keys(met).length);
  if (!pairs.length) return null;
  const peers = [...new Set(pairs.flatMap(([, met]) => Object.keys(met)))];
  const order = Object.keys(run.hosts);
  peers.sort((one, other) => order.indexOf(one) - order.indexOf(other));
  return peers.length > MOST_PEERS ? onlyBad(pairs) : matrix(pairs, peers);
}
