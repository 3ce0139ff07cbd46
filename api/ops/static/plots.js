// Draws each .plot from the table that it names: the table is the plot's text, and its only source.
"use strict";

const HEIGHT = 240;
const plots = new WeakMap();

function read(table) {
  const rows = [...table.tBodies[0].rows];
  const column = (place) => rows.map((row) => {
    const value = row.cells[place].textContent.trim();
    return value === "" ? null : Number(value);
  });
  const names = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent);
  const times = rows.map((row) => Number(row.cells[0].dataset.at));
  return { names, data: [times, ...names.map((_, place) => column(place + 1))] };
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// Days where there are several, else the time of day.
function clock({ min, max }) {
  const part = max - min > 2 * 86400 ? [5, 10] : [11, 16];
  return (seconds) => new Date(seconds * 1000).toISOString().slice(...part);
}

// The legend's value of a series: at the pointer, or at its last point.
function legend(format) {
  return (plot, _, series, pointed) => {
    const value = plot.data[series].at(pointed ?? -1) ?? null;
    return value === null ? "" : format(value);
  };
}

function options(place, names) {
  const unit = place.dataset.unit;
  const axis = { stroke: colour("--pico-color"), grid: { stroke: colour("--plot-grid") } };
  const series = names.map((name, number) => ({
    label: name,
    stroke: colour(`--plot-${number + 1}`),
    width: name === "review" ? 0 : 2,
    spanGaps: true,
    dash: number === 0 ? [] : [number * 4, number * 2],
    points: { show: name === "review", size: 9, fill: colour(`--plot-${number + 1}`) },
    value: legend((value) => `${value}${unit}`),
  }));
  return {
    width: place.clientWidth,
    height: HEIGHT,
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    series: [{ label: "UTC", value: legend((at) => new Date(at * 1000).toISOString().slice(0, 16).replace("T", " ")) }, ...series],
    scales: { y: { range: (_, low, high) => (unit === "%" ? [0, 100] : [0, Math.max(high, 1) * 1.1]) } },
    axes: [{ ...axis, values: (plot, moments) => moments.map(clock(plot.scales.x)) }, { ...axis, values: (_, values) => values.map((value) => `${value}${unit}`) }],
  };
}

function draw(place) {
  const { names, data } = read(document.getElementById(place.dataset.table));
  plots.get(place)?.destroy();
  plots.set(place, new uPlot(options(place, names), data, place));
}

function renew(place) {
  if (plots.has(place)) plots.get(place).setData(read(document.getElementById(place.dataset.table)).data);
  else draw(place);
}

function fit(place) {
  plots.get(place)?.setSize({ width: place.clientWidth, height: HEIGHT });
}

const all = (act) => () => document.querySelectorAll(".plot").forEach((place) => act(place));

document.addEventListener("DOMContentLoaded", all(draw));
document.addEventListener("htmx:after:swap", all(renew));
window.addEventListener("resize", all(fit));
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all(draw));
