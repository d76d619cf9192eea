// The curves of a pipeline's page. Their words stand above them; without this script only the pictures are missing.
"use strict";

(() => {
  const EVERY_MS = 5000;
  const HEIGHT = 110;
  const plots = new Map();

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const clock = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 16);
  const short = (value) => (value >= 1e6 ? `${value / 1e6} M` : value >= 1e4 ? `${value / 1e3} k` : String(value));

  const series = (label, name, extra = {}) => ({
    label, stroke: colour(name), width: 1.5, points: { show: false }, spanGaps: false, ...extra,
  });

  const KINDS = {
    freshness: {
      data: (told) => [told.at, told.freshness, told.at.map(() => told.objective)],
      series: () => [series("age", "--accent", { fill: colour("--accent-wash") }), series("objective", "--late", { dash: [4, 4], width: 1 })],
    },
    rate: {
      data: (told) => [told.at, told.rate],
      series: () => [series("rows a second", "--accent", { fill: colour("--accent-wash") })],
    },
    waiting: {
      data: (told) => [told.at, told.outbox, told.stream],
      series: () => [series("outbox", "--accent"), series("stream", "--busy", { dash: [6, 3] })],
    },
    minutes: {
      data: (told) => (told.minutes ? [told.minutes.at, told.minutes.rows] : [[], []]),
      series: () => [series("rows", "--accent", { fill: colour("--accent-bar"), paths: uPlot.paths.bars({ size: [0.7, 40] }) })],
    },
  };

  const axis = (extra) => ({
    stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false },
    font: "11px system-ui, sans-serif", ...extra,
  });

  const options = (kind, width) => ({
    width, height: HEIGHT, legend: { show: false }, cursor: { show: false }, padding: [6, 18, 0, 0],
    scales: { x: { time: true }, y: { range: (_, least, most) => [0, most > 0 ? most * 1.08 : 1] } },
    axes: [
      axis({ size: 22, values: (_, ticks) => ticks.map(clock), space: 70 }),
      axis({ size: 46, values: (_, ticks) => ticks.map(short), space: 28 }),
    ],
    series: [{}, ...KINDS[kind].series()],
  });

  const draw = (place, told) => {
    const kind = place.dataset.chart;
    const data = KINDS[kind].data(told);
    const known = plots.get(place.id);
    if (known && known.root.isConnected && place.contains(known.root)) {
      known.setData(data);
      return;
    }
    known?.destroy();
    place.replaceChildren();
    plots.set(place.id, new uPlot(options(kind, place.clientWidth || 400), data, place));
  };

  let last = null;
  const drawAll = () => {
    if (last) document.querySelectorAll("[data-chart]").forEach((place) => draw(place, last));
  };

  const renew = async () => {
    const place = document.querySelector("[data-chart]");
    if (!place || document.hidden) return;
    try {
      const answer = await fetch(place.dataset.series, { cache: "no-store" });
      if (answer.ok) last = await answer.json();
    } catch {
      return; // the page itself says that the server cannot be reached
    }
    drawAll();
  };

  document.addEventListener("DOMContentLoaded", () => {
    renew();
    window.setInterval(renew, EVERY_MS);
  });

  const again = () => {
    plots.forEach((plot) => plot.destroy());
    plots.clear();
    drawAll();
  };
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  let waiting = 0;
  window.addEventListener("resize", () => {
    window.clearTimeout(waiting);
    waiting = window.setTimeout(again, 150);
  });
})();
