// Which charts a host has: those of the agent's metrics that it sends, or its own metrics.

import { tagsOf } from "./series.js";

const MOST_OWN = 12; // charts of a host that sends none of the agent's metrics

/**
 * Charts in their order; `about` says what they show. `metrics` are without tags, `label` says what a series is called
 * by its tags and its name, `leaves` which ones are left out; `ceiling` is the value at the upper edge, `band` whether
 * the extremes of each step are drawn.
 */
const CHARTS = [
  {
    title: "CPU",
    about: "share of all CPUs' time that was neither idle nor waiting",
    metrics: ["perfmon.cpu.utilization"],
    label: () => "busy",
    ceiling: 1,
    band: true,
  },
  {
    title: "CPU by state",
    about: "what that time went to",
    metrics: ["system.cpu.utilization"],
    label: ({ state }) => state,
    leaves: ({ state }) => state === "idle",
    stacked: true,
    ceiling: 1,
  },
  {
    title: "Load",
    about: "tasks that ran or waited to run, over 1, 5 and 15 minutes",
    metrics: ["system.cpu.load_average.1m", "system.cpu.load_average.5m", "system.cpu.load_average.15m"],
    label: (_, name) => lastPart(name),
    band: true,
  },
  {
    title: "Pressure",
    about: "share of time in which some tasks, or all, waited for it",
    metrics: ["perfmon.pressure.utilization"],
    label: ({ resource, kind }) => `${resource} ${kind}`,
  },
  {
    title: "Memory",
    about: "share that programs could not get any more",
    metrics: ["perfmon.memory.utilization"],
    label: () => "used",
    ceiling: 1,
    band: true,
  },
  {
    title: "Memory by state",
    about: "caches give way when programs need room",
    metrics: ["system.memory.usage"],
    label: ({ state }) => state,
    leaves: ({ state }) => state === "free",
    stacked: true,
  },
  {
    title: "Swap",
    about: "memory on disk",
    metrics: ["system.paging.usage"],
    label: ({ state }) => state,
    stacked: true,
  },
  {
    title: "Filesystems",
    about: "share that is used, as df shows it",
    metrics: ["system.filesystem.utilization"],
    label: ({ mountpoint }) => mountpoint,
    ceiling: 1,
    band: true,
  },
  {
    title: "Disk io",
    about: "bytes read and written",
    metrics: ["system.disk.io"],
    label: ({ device, direction }) => `${device} ${direction}`,
    agg: "rate",
  },
  {
    title: "Disk busy",
    about: "share of time in which the disk had work",
    metrics: ["system.disk.io_time"],
    label: ({ device }) => device,
    agg: "rate",
    ceiling: 1,
  },
  {
    title: "Network",
    about: "bytes received and sent",
    metrics: ["system.network.io"],
    label: ({ device, direction }) => `${device} ${direction}`,
    agg: "rate",
  },
  {
    title: "Network errors and drops",
    about: "packets that did not get through",
    metrics: ["system.network.errors", "system.network.dropped"],
    label: ({ device, direction }, name) => `${device} ${direction} ${lastPart(name)}`,
    agg: "rate",
  },
  {
    title: "Temperatures",
    about: "what the sensors say",
    metrics: ["perfmon.sensors.temperature"],
    label: ({ chip, sensor }) => [chip, sensor].filter(Boolean).join(" "),
  },
  {
    title: "Fans",
    about: "how fast they turn",
    metrics: ["perfmon.sensors.fan.speed"],
    label: ({ chip, sensor }) => [chip, sensor].filter(Boolean).join(" "),
  },
];

function lastPart(name) {
  return name.slice(name.lastIndexOf(".") + 1);
}

/** A chart of one metric, with all its tags. */
export function chartOf(metric) {
  const label = (tags) => Object.values(tags).join(" ") || metric;
  return { title: metric, metrics: [metric], label, band: true, own: true };
}

/** The charts of a host that sends these metrics. */
export function chartsFor(metrics) {
  const names = new Set(metrics.map((metric) => metric.split(";")[0]));
  const found = CHARTS.filter((chart) => chart.metrics.some((metric) => names.has(metric)));
  return found.length ? found : [...names].sort().slice(0, MOST_OWN).map(chartOf);
}

/** What is asked of a chart: {metric, agg}; with `banded` the extremes, too. */
export function wantedOf(chart, banded) {
  const aggs = [chart.agg ?? "avg", ...(banded && chart.band ? ["min", "max"] : [])];
  return chart.metrics.flatMap((metric) => aggs.map((agg) => ({ metric, agg })));
}

const MOST_BANDS = 4; // more of them hide each other

/** The lines of a chart out of a `SeriesSet`. */
export function linesOf(chart, set) {
  const series = chart.metrics.flatMap((metric) => set.of(metric, chart.agg ?? "avg"));
  const shown = series.filter(({ metric }) => !chart.leaves?.(tagsOf(metric)));
  const banded = shown.length <= MOST_BANDS;
  return shown.map(({ host, metric, values }) => ({
    name: chart.label(tagsOf(metric), metric.split(";")[0]) ?? metric,
    values,
    low: banded ? set.get(host, metric, "min") : null,
    high: banded ? set.get(host, metric, "max") : null,
  }));
}
