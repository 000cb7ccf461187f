// Charts of series, by uPlot, which is fetched when one gets to where they are. charts.py says which there are.

const HEIGHT = 150;
const BANDS = 9; // of one chart; what is less than these is added up, or left out of lines
const COLOURS = ["#89dceb", "#a6e3a1", "#ffb454", "#cba6f7", "#ff9aae", "#94a6ff", "#f5e0a3", "#7fd8be", "#e2a07c", "#a9b1d0"];
const OF_OUTCOME = { ok: "#a6e3a1", compacted: "#89dceb", cancelled: "#a9b1d0", crashed: "#ff6b81" };
const DASH = [6, 4];
const SYNC = "hive";
// What is written below the axis of time: from how many seconds between two on; what; more at a new year, day.
const DAY = "\n{YYYY}-{MM}-{DD}";
const TIMES = [[86400, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1], [1, "{HH}:{mm}", DAY, null, DAY, null, null, null, 1]];
const ONE = { crashes: "crash" };
const NICE_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 18e5, 36e5, 72e5, 144e5, 216e5, 432e5, 864e5, 1728e5, 6048e5];
const LATER = { "1h": 3000, "4h": 3000 }; // milliseconds from one drawing to the next as things happen, of short windows;
const LATEST = 15000; // and of long ones

const place = document.querySelector("#charts-at");
const { agent } = place.dataset; // "" of the hive
const charts = JSON.parse(place.dataset.charts);
const whole = place.hasAttribute("data-whole"); // a page of charts
const plots = new Map(); // by title: what is drawn, and of what
let wanted = ""; // the window
let drawnAt = 0;
let due = null;
let seen = false;

// ---- figures in words

const exact = new Intl.NumberFormat("en", { maximumFractionDigits: 6 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

function inWords(value, unit) {
  if (value === null || value === undefined) return "none";
  if (unit === "ms") return value < 1000 ? `${exact.format(value)} ms` : `${exact.format(value / 1000)} s`;
  return `${exact.format(value)} ${value === 1 ? ONE[unit] ?? unit.replace(/s$/, "") : unit}`;
}

function onAxis(value, unit) {
  if (unit !== "ms") return short.format(value);
  const sizes = [["d", 86400000], ["h", 3600000], ["min", 60000], ["s", 1000], ["ms", 1]];
  const [name, size] = sizes.find(([, each]) => value >= each) || sizes.at(-1);
  return `${short.format(value / size)} ${name}`;
}

function spanOf(seconds) {
  const [name, size] = [["days", 86400], ["hours", 3600], ["minutes", 60], ["seconds", 1]].find(([, each]) => seconds >= each);
  return seconds === size ? `${name === "hours" ? "an" : "a"} ${name.slice(0, -1)}` : `${exact.format(seconds / size)} ${name}`;
}

// As below the axis: Sweden writes it the ISO way.
const clock = (seconds) => new Date(seconds * 1000).toLocaleString("sv").slice(0, 16);

// ---- from what the hive answers to what is drawn

const named = (key) => key.slice(key.indexOf(".") + 1);
const matches = (key, wanted) => (wanted.endsWith(".*") ? key.startsWith(wanted.slice(0, -1)) : key === wanted);

// A value for each step: null where there was nothing. What stays as it was until it changes is known in between.
function onGrid(series, field, grid, step) {
  const index = (at) => Math.round((at / 1000 - grid[0]) / step);
  const values = new Array(grid.length).fill(null);
  series.at.forEach((at, n) => { values[index(at)] = series[field][n]; });
  if (series.kind !== "last" || series.key === "approvals_oldest_ms") return values;
  let known = series.before;
  const newest = new Map(series.at.map((at, n) => [index(at), series.value[n]]));
  return values.map((value, n) => {
    const before = known;
    known = newest.get(n) ?? known;
    return value ?? before;
  });
}

// An agent calls its tools what it likes.
const harmless = (label) => label.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\u00b7").slice(0, 60);

function line(label, values, unit, more = {}) {
  return { label: harmless(label), values, unit, ...more };
}

// The lines of one series that has a chart of its own.
function alone(series, grid, step, name) {
  const get = (field) => onGrid(series, field, grid, step);
  const { kind, unit } = series;
  if (series.key === "approvals_oldest_ms") return [line("oldest", get("max"), unit, { bars: true })];
  if (kind === "spread") return [line("median", get("value"), unit), line("95 %", get("high"), unit, { dash: DASH })];
  if (kind === "mean") return [line("mean", get("value"), unit), line("most", get("max"), unit, { dash: DASH })];
  if (kind === "last") return [line("newest", get("value"), unit, { stepped: true }), line("most", get("max"), unit, { stepped: true, dash: DASH })];
  return [line(name, get("value"), unit, { bars: true })];
}

const sum = (values) => values.reduce((total, value) => total + (value ?? 0), 0);

// Those of several: sums stand on one another, all else lies side by side.
function together(found, grid, step, label) {
  const of = ({ key }) => (key === "inbox_depth" ? "max" : "value"); // most inboxes are soon empty again
  const all = found.map((series) => line(label(series), onGrid(series, of(series), grid, step), series.unit, { kind: series.kind }));
  all.sort((a, b) => sum(b.values) - sum(a.values));
  const [kept, rest] = [all.slice(0, BANDS), all.slice(BANDS)];
  if (kept[0].kind !== "sum") return kept.map((each) => ({ ...each, stepped: each.kind === "last" }));
  if (rest.length) {
    const values = grid.map((_, n) => (rest.some((each) => each.values[n] !== null) ? sum(rest.map((each) => each.values[n])) : null));
    kept.push(line("others", values, kept[0].unit));
  }
  return kept.map((each) => ({ ...each, bars: true }));
}

function linesOf(chart, answer) {
  const { grid, step } = answer;
  const found = answer.series
    .filter((each) => (chart.agents ? each.agent : each.agent === agent) && chart.keys.some((key) => matches(each.key, key)))
    .filter((each) => each.at.length || (each.before !== null && each.kind === "last"));
  if (!found.length) return [];
  let lines;
  if (chart.agents) lines = together(found, grid, step, (each) => each.agent);
  else if (chart.keys.length > 1 || chart.keys[0].endsWith(".*")) lines = together(found, grid, step, (each) => named(each.key).replaceAll("_", " "));
  else lines = alone(found[0], grid, step, found[0].unit);
  if (chart.a_minute) lines = lines.map((each) => ({ ...each, label: "turns", unit: "a minute", values: each.values.map((value) => value && value * 60 / step) }));
  lines.forEach((each, n) => { each.colour = (chart.keys[0] === "outcome.*" && OF_OUTCOME[each.label]) || COLOURS[n % COLOURS.length]; });
  if (lines[1]?.dash) lines[1].colour = COLOURS[2];
  return stacked(lines) ? heaped(lines) : lines.map((each) => ({ ...each, drawn: each.values }));
}

// ---- drawing

const stacked = (lines) => lines[0].bars;

// Bars stand on one another: each is drawn as high as all up to it, and the highest first.
function heaped(lines) {
  let under = null;
  const drawn = lines.map((each) => {
    under = each.values.map((value, n) => (value === null ? under?.[n] ?? null : value + (under?.[n] ?? 0)));
    return { ...each, drawn: under.with(-1, undefined) }; // null there would make all bars as thin as the last step
  });
  return drawn.reverse();
}

function options(chart, lines, width) {
  const { bars, stepped } = uPlot.paths;
  const unit = lines[0].unit;
  const series = lines.map((each) => ({
    label: each.label,
    stroke: each.colour,
    width: each.bars ? 0 : 1.5,
    dash: each.dash,
    fill: each.bars ? each.colour : undefined,
    paths: each.bars ? bars({ size: [0.85, 40], align: 1 }) : each.stepped ? stepped({ align: 1 }) : undefined,
    points: each.bars || each.stepped ? { show: false } : { show: true, size: 4, fill: each.colour },
    value: (_plot, _value, index, n) => (n === null ? "" : inWords(plots.get(chart.title).lines[index - 1].values[n], each.unit)),
  }));
  const axis = { stroke: "#a9b1d0", grid: { stroke: "#363a55", width: 1 }, ticks: { stroke: "#363a55", width: 1 }, font: "12px system-ui" };
  return {
    width,
    height: HEIGHT,
    cursor: { sync: { key: SYNC }, y: false, drag: { x: false, y: false }, points: { size: 7 } },
    scales: { x: { range: () => plots.get(chart.title).window }, y: { range: (_, low, high) => [0, high || 1] } },
    axes: [{ ...axis, values: TIMES }, { ...axis, size: 62, space: 24, incrs: unit === "ms" ? NICE_MS : undefined, values: (_, ticks) => ticks.map((tick) => onAxis(tick, unit)) }],
    series: [{ label: "at", value: (plot, _value, _index, n) => (n === null ? "" : clock(plot.data[0][n])) }, ...series],
  };
}

function draw(chart, lines, answer, width) {
  const known = plots.get(chart.title);
  const data = [answer.grid, ...lines.map((each) => each.drawn)];
  const window = [answer.grid[0], answer.grid.at(-1)];
  const names = (of) => of.map((each) => each.label).join("\n");
  const same = known.plot && names(known.lines) === names(lines);
  const { figure } = known;
  const about = { figure, chart, lines, window, grid: answer.grid, plot: known.plot };
  plots.set(chart.title, about);
  describe(about, answer);
  if (same) return about.plot.setData(data);
  known.plot?.destroy();
  about.plot = new uPlot(options(chart, lines, width), data, figure.querySelector(".plot"));
}

function made(name, about = {}, text = "") {
  const node = Object.assign(document.createElement(name), { textContent: text });
  for (const [key, value] of Object.entries(about)) node.setAttribute(key, value);
  return node;
}

function frame(chart, order) {
  const figure = made("figure");
  figure.style.order = order; // one that had nothing to show may come later
  const title = made("h3", {}, chart.title);
  title.append(" ", made("span", { class: "small calm" }));
  const values = made("details", { class: "values" });
  values.append(made("summary", {}, `Values: ${chart.title}`), made("div", { tabindex: "0", class: "scrolls" }));
  values.addEventListener("toggle", () => tabulate(plots.get(chart.title)));
  figure.append(title, made("div", { class: "plot", role: "img" }), values);
  place.querySelector(".charts").append(figure);
  return figure;
}

function describe(about, answer) {
  const { figure, chart, lines } = about;
  const units = [...new Set(lines.map((each) => each.unit))].join(", ");
  figure.querySelector("h3 span").textContent = units + (stacked(lines) && !chart.a_minute && units !== "ms" ? ` in ${spanOf(answer.step)}` : "");
  const said = lines.map(({ label, values, unit }) => {
    const there = values.filter((value) => value !== null);
    return `${label}: ${inWords(Math.min(...there), unit)} to ${inWords(Math.max(...there), unit)}`;
  });
  figure.querySelector(".plot").setAttribute("aria-label", `${chart.title}. ${said.join("; ")}. The values are below.`);
  tabulate(about);
}

function tabulate({ figure, chart, lines, grid }) {
  const details = figure.querySelector("details");
  if (!details.open) return;
  const table = made("table");
  table.append(made("caption", { class: "away" }, chart.title), row("th", ["at", ...lines.map((each) => each.label)]));
  for (let n = grid.length - 1; n >= 0; n -= 1) {
    if (lines.every((each) => each.values[n] === null)) continue;
    table.append(row("td", [clock(grid[n]), ...lines.map((each) => inWords(each.values[n], each.unit))]));
  }
  details.querySelector("div").replaceChildren(table);
}

function row(kind, texts) {
  const cells = made("tr");
  cells.append(...texts.map((text) => made(kind, kind === "th" ? { scope: "col" } : {}, text)));
  return cells;
}

// ---- asking

// A page of charts ends with what it begins to draw.
async function given() {
  if (document.readyState === "loading") await new Promise((done) => { document.addEventListener("DOMContentLoaded", done); });
  const found = document.querySelector("#charts-found");
  found?.remove();
  return found && JSON.parse(found.textContent);
}

async function asked() {
  const had = whole && await given();
  if (had) return had;
  const answer = await fetch(`/api/charts?${new URLSearchParams({ agent, window: wanted })}`, { headers: { Accept: "application/json" } });
  const about = await answer.json();
  if (!answer.ok) throw new Error(about.message);
  return about;
}

function gridOf({ since, until, step }) {
  const grid = [];
  const end = Date.parse(until) / 1000;
  for (let at = Date.parse(since) / 1000; at < end; at += step) grid.push(at);
  return [...grid, end]; // up to which the last step reaches
}

function drawAll(found) {
  const answer = { ...found, grid: gridOf(found) };
  const drawn = charts.map((chart) => [chart, linesOf(chart, answer)]);
  for (const [n, [chart, lines]] of drawn.entries()) {
    if (!lines.length) drop(chart);
    else if (!plots.has(chart.title)) plots.set(chart.title, { figure: frame(chart, n) });
  }
  const width = place.querySelector(".plot")?.clientWidth; // of all: asked for once, as each answer lays out the page
  for (const [chart, lines] of drawn) if (lines.length) draw(chart, lines, answer, width);
  tell(drawn.some(([, lines]) => lines.length) ? "" : "Nothing happened in this time.");
}

function drop(chart) {
  const known = plots.get(chart.title);
  known?.plot?.destroy();
  known?.figure.remove();
  plots.delete(chart.title);
}

function tell(text) {
  const said = place.querySelector(".charts-said");
  said.textContent = text;
  said.hidden = !text;
}

async function look(ready = []) {
  clearTimeout(due);
  due = null;
  const asking = wanted;
  try {
    const [found] = await Promise.all([asked(), ...ready]);
    if (asking === wanted) drawAll(found);
  } catch (wrong) {
    tell(`The charts cannot be drawn: ${wrong.message}`);
  }
  await new Promise(requestAnimationFrame);
  await new Promise((done) => { setTimeout(done); }); // the frame with them has been made
  drawnAt = Date.now();
  Object.assign(place.dataset, { shown: asking, drawn: Math.round(performance.now()) }); // for tests, and the bench
}

// What happens is drawn, too, but not each single thing.
function later() {
  if (due || !seen || document.hidden) return;
  due = setTimeout(look, Math.max(0, drawnAt + (LATER[wanted] ?? LATEST) - Date.now()));
}

// ---- begin

function choose(link) {
  for (const each of place.querySelectorAll("[data-window]")) each.toggleAttribute("aria-current", each === link);
  link.setAttribute("aria-current", "true");
  wanted = link.dataset.window;
}

function load(path) {
  return new Promise((done, failed) => {
    const part = path.includes(".css") ? made("link", { rel: "stylesheet", href: path }) : made("script", { src: path });
    part.addEventListener("load", done);
    part.addEventListener("error", () => failed(new Error(`${path} cannot be loaded`)));
    document.head.append(part);
  });
}

async function begin() {
  seen = true;
  await look(place.dataset.parts.trim().split(" ").map(load));
  new ResizeObserver(() => {
    const width = place.querySelector(".plot")?.clientWidth;
    for (const { plot } of plots.values()) if (plot.width !== width) plot.setSize({ width, height: HEIGHT });
  }).observe(place);
}

place.plots = plots; // for tests
choose(place.querySelector("[aria-current]"));
place.addEventListener("click", (event) => {
  const link = event.target.closest("[data-window]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  choose(link);
  if (whole) {
    history.replaceState(null, "", link.href);
    again().catch(() => lost()); // page.js's: the table is of the same window
  }
  if (seen) look();
});
document.addEventListener("hive", later);
document.addEventListener("visibilitychange", later);
const near = new IntersectionObserver(([entry]) => {
  if (!entry.isIntersecting) return;
  near.disconnect();
  begin();
}, { rootMargin: "200px" });
if (whole) begin();
else near.observe(place);
