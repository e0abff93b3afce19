"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const READINGS = ["accumulated", "isolated"];
const LABEL = { accumulated: "Accumulated", isolated: "Isolated" };
const byId = (id) => document.getElementById(id);
const charts = new Map();
const state = { sort: "depth", descending: false, open: null };

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function number(value, digits = 3) {
  const given = Number(value);
  if (Number.isNaN(given)) return "NaN";
  if (!Number.isFinite(given)) return given > 0 ? "∞" : "−∞";
  if (given === 0) return "0";
  const size = Math.abs(given);
  return size < 1e-3 || size >= 1e5 ? given.toExponential(digits - 1) : String(Number(given.toPrecision(digits)));
}

const percent = (share) => (share === 0 ? "0" : `${number(100 * share, 2)} %`);
const first = (tap) => tap.accumulated ?? tap.isolated;
const ratioOf = (tap, reading) => (tap[reading] ? Number(tap[reading].ratio) : NaN);
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// ---- Top of the page ------------------------------------------------------------------------

function writeHeader() {
  byId("title").textContent = `${data.source.file} and ${data.subject.file ?? data.subject.model}`;
  byId("badge").textContent = data.agrees ? "At parity" : "Not at parity";
  byId("badge").className = data.agrees ? "" : "bad";
  byId("summary").textContent = `${data.summary.charAt(0).toUpperCase()}${data.summary.slice(1)}.`;
  const logits = data.taps.find((tap) => tap.tap === "classifier") ?? data.taps[data.taps.length - 1];
  const facts = [
    [String(data.taps.length), "taps compared"],
    [String(data.inputs.count), data.inputs.count === 1 ? "image" : "images"],
    [`${number(data.needed.factor)}×`, "the noise would have been needed"],
    [number(first(logits).relative), `${logits.tap}: difference over scale`],
  ];
  for (const [value, text] of facts) {
    const item = make("li");
    item.append(make("b", value), make("span", text));
    byId("facts").append(item);
  }
}

// ---- Charts -----------------------------------------------------------------------------------

function draw(element, option) {
  charts.get(element)?.dispose();
  const chart = echarts.init(element, null, { renderer: "svg" });
  const text = { color: color("faint"), fontFamily: "inherit" };
  chart.setOption({ animation: false, textStyle: { fontFamily: "system-ui, sans-serif" }, legend: { textStyle: text }, ...option });
  charts.set(element, chart);
  return chart;
}

function axis(option) {
  const line = { lineStyle: { color: color("line") } };
  return {
    nameTextStyle: { color: color("faint") }, axisLabel: { color: color("faint"), hideOverlap: true, ...option.labels },
    axisLine: line, splitLine: line, axisTick: line, ...option,
  };
}

const short = (value) => (value === 0 ? "0" : value.toExponential(0));
const tooltip = (option) => ({
  backgroundColor: color("raised"), borderColor: color("line"), textStyle: { color: color("text") },
  confine: true, ...option,
});

function drawDepth() {
  const shown = READINGS.filter((reading) => data.taps.some((tap) => tap[reading]));
  // A log axis has no zero: exact agreement is drawn at the axis.
  const positive = data.taps.flatMap((tap) => shown.flatMap((r) => [Number(tap[r].relative), Number(tap[r].noise) / tap[r].scale]))
    .filter((value) => value > 0 && Number.isFinite(value));
  const low = 10 ** Math.floor(Math.log10(Math.min(...positive, 1e-8)));
  const high = 10 ** Math.ceil(Math.log10(Math.max(...positive, 1e-6)));
  const clipped = (value) => Math.min(Math.max(Number.isNaN(value) ? high : value, low), high);
  const band = data.taps.map((tap) => {
    const figures = first(tap);
    const limit = figures.scale > 0 ? (data.tolerance.factor * figures.noise) / figures.scale : low;
    return [tap.depth, clipped(limit)];
  });
  const series = [{
    name: `float32 noise × ${data.tolerance.factor}`, type: "line", data: band, showSymbol: false, silent: true,
    lineStyle: { width: 1, type: "dashed", color: color("band") }, itemStyle: { color: color("band") },
    areaStyle: { color: color("band"), opacity: 0.16, origin: "start" },
  }];
  for (const reading of shown) {
    series.push({
      name: LABEL[reading], type: "line", symbolSize: 6, lineStyle: { width: 1.5 }, color: color(reading),
      symbol: reading === "isolated" ? "diamond" : "circle",
      data: data.taps.map((tap) => ({
        value: [tap.depth, clipped(Number(tap[reading].relative))],
        itemStyle: tap[reading].agrees ? {} : { color: color("bad") },
        symbolSize: tap[reading].agrees ? 6 : 10,
      })),
    });
  }
  const chart = draw(byId("depth"), {
    grid: { left: 62, right: 16, top: 46, bottom: 44 }, series, legend: { top: 0, textStyle: { color: color("faint") } },
    tooltip: tooltip({ trigger: "axis", formatter: (points) => depthTip(data.taps[points[0].value[0]], shown) }),
    xAxis: axis({ type: "value", name: "tap", nameLocation: "middle", nameGap: 28, min: 0, max: Math.max(1, data.taps.length - 1), minInterval: 1 }),
    yAxis: axis({ type: "log", min: low, max: high, labels: { formatter: short } }),
  });
  chart.on("click", (point) => openTap(data.taps[point.value[0]].tap));
}

function depthTip(tap, shown) {
  const lines = shown.map((reading) => {
    const figures = tap[reading];
    return `${LABEL[reading]}: ${number(figures.relative)} of scale, ${number(figures.ratio)}× noise`;
  });
  return [echarts.format.encodeHTML(tap.tap), ...lines].join("<br>");
}

function drawScatter(element, figures, reading) {
  const points = figures.details.scatter;
  const values = points.flat();
  const [low, high] = [Math.min(...values, 0), Math.max(...values, 0)];
  const span = { min: low, max: high, scale: true };
  draw(element, {
    grid: { left: 56, right: 18, top: 14, bottom: 42 },
    tooltip: tooltip({ formatter: (p) => `judge ${number(p.value[0], 6)}<br>port ${number(p.value[1], 6)}` }),
    xAxis: axis({ type: "value", name: "judge", nameLocation: "middle", nameGap: 26, labels: { formatter: (v) => number(v, 2) }, ...span }),
    yAxis: axis({ type: "value", name: "port", nameLocation: "middle", nameGap: 40, labels: { formatter: (v) => number(v, 2) }, ...span }),
    series: [
      { type: "line", data: [[low, low], [high, high]], showSymbol: false, silent: true, lineStyle: { color: color("band"), width: 1 } },
      { type: "scatter", data: points, symbolSize: 5, itemStyle: { color: color(reading), opacity: 0.65 } },
    ],
  });
}

function drawHistogram(element, figures, reading) {
  const counts = figures.details.histogram;
  const used = counts.reduce((bins, count, bin) => (count ? [...bins, bin] : bins), []);
  const [from, to] = [Math.max(1, Math.min(...used.filter((bin) => bin > 0), 20) - 1), Math.max(...used, 24) + 1];
  const bins = [0, ...Array.from({ length: Math.max(0, Math.min(to, counts.length - 1) - from + 1) }, (_, i) => from + i)];
  const edge = (bin) => (bin === 0 ? "equal" : number(10 ** (-12 + (bin - 1) / 4), 2));
  const total = counts.reduce((sum, count) => sum + count, 0);
  draw(element, {
    grid: { left: 56, right: 18, top: 14, bottom: 42 },
    tooltip: tooltip({ trigger: "axis", formatter: ([p]) => `${p.name === "equal" ? "equal" : `from ${p.name}`}: ${percent(p.value)}` }),
    xAxis: axis({ type: "category", data: bins.map(edge), name: "difference", nameLocation: "middle", nameGap: 26 }),
    yAxis: axis({ type: "value", labels: { formatter: (v) => `${Math.round(100 * v)} %` } }),
    series: [{ type: "bar", data: bins.map((bin) => counts[bin] / total), itemStyle: { color: color(reading) }, barCategoryGap: "10%" }],
  });
}

function drawChannels(element, figures, reading) {
  const channels = figures.details.channels.map(Number);
  draw(element, {
    grid: { left: 62, right: 18, top: 14, bottom: 42 },
    tooltip: tooltip({ trigger: "axis", formatter: ([p]) => `channel ${p.dataIndex}: ${number(p.value)}` }),
    xAxis: axis({ type: "category", data: channels.map((_, i) => i), name: "channel", nameLocation: "middle", nameGap: 26 }),
    yAxis: axis({ type: "value", labels: { formatter: (v) => number(v, 2) } }),
    series: [{
      type: "bar", barCategoryGap: "5%", itemStyle: { color: color(reading) },
      data: channels.map((value) => (Number.isFinite(value) ? value : null)),
      markLine: { silent: true, symbol: "none", label: { show: false }, lineStyle: { color: color("band") },
                  data: [{ yAxis: data.tolerance.factor * figures.noise }] },
    }],
  });
}

function drawHeat(element, figures, reading) {
  const rows = figures.details.heat.map((row) => row.map(Number));
  const cells = rows.flatMap((row, y) => row.map((value, x) => [x, y, Number.isFinite(value) ? value : null]));
  const largest = Math.max(...cells.map((cell) => cell[2] ?? 0), Number.MIN_VALUE);
  const side = { type: "category", splitLine: { show: false } };
  draw(element, {
    grid: { left: 30, right: 84, top: 14, bottom: 30 },
    tooltip: tooltip({ formatter: (p) => `row ${p.value[1]}, column ${p.value[0]}: ${number(p.value[2])}` }),
    xAxis: axis({ ...side, data: (rows[0] ?? []).map((_, i) => i) }),
    yAxis: axis({ ...side, data: rows.map((_, i) => i), inverse: true }),
    visualMap: { min: 0, max: largest, calculable: false, right: 0, top: "middle", itemHeight: 120, itemWidth: 12,
                 text: [number(largest, 2), "0"], textStyle: { color: color("faint") }, inRange: { color: [color("raised"), color(reading)] } },
    series: [{ type: "heatmap", data: cells }],
  });
}

// ---- One tap ----------------------------------------------------------------------------------

const FIGURES = [
  ["max difference", (f) => number(f.max_abs)],
  ["mean", (f) => number(f.mean_abs)],
  ["over scale", (f) => number(f.relative)],
  ["noise", (f) => number(f.noise)],
  ["× noise", (f) => number(f.ratio)],
  ["beyond noise", (f) => percent(f.beyond)],
  ["signal to noise", (f) => `${number(f.snr_db)} dB`],
  ["cosine", (f) => number(f.cosine, 9)],
  ["ULP median", (f) => number(f.ulp_median)],
  ["ULP 99 %", (f) => number(f.ulp_p99)],
  ["ULP max", (f) => number(f.ulp_max)],
  ["worst", (f) => `image ${f.worst_input}, channel ${f.worst_channel}${f.worst_position.length ? `, at (${f.worst_position.join(", ")})` : ""}`],
  ["NaN or ∞ on both sides", (f) => (f.nonfinite ? String(f.nonfinite) : null)],
];

const PLOTS = [
  ["Judge against port", drawScatter, () => true],
  ["Sizes of the differences", drawHistogram, () => true],
  ["Largest difference of each channel", drawChannels, () => true],
  ["Difference over the worst channel's plane", drawHeat, (f) => f.details.heat.length > 0],
];

function openTap(name, focus = true) {
  const tap = data.taps.find((candidate) => candidate.tap === name);
  if (!tap) return;
  state.open = name;
  byId("tap").hidden = false;
  byId("tap-heading").textContent = tap.tap;
  byId("tap-names").textContent = `${tap.judge_name} · ${tap.shape.join(" × ")} · tap ${tap.depth + 1} of ${data.taps.length}`;
  byId("previous").disabled = tap.depth === 0;
  byId("next").disabled = tap.depth === data.taps.length - 1;
  for (const [element, chart] of charts) {
    if (element.closest("#readings")) {
      chart.dispose();
      charts.delete(element);
    }
  }
  byId("readings").replaceChildren();
  for (const reading of READINGS) if (tap[reading]) writeReading(tap[reading], reading);
  markCurrent();
  history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  if (focus) {
    byId("tap").scrollIntoView({ block: "start" });
    byId("tap-heading").focus({ preventScroll: true });
  }
}

function writeReading(figures, reading) {
  const box = byId("readings");
  box.append(make("h3", `${LABEL[reading]}: ${figures.agrees ? "agrees" : "DISAGREES"}`));
  const list = make("dl", undefined, "figures");
  for (const [label, show] of FIGURES) {
    const value = show(figures);
    if (value === null) continue;
    const pair = make("div");
    pair.append(make("dt", label), make("dd", value));
    list.append(pair);
  }
  const grid = make("div", undefined, "grid");
  box.append(list, grid);
  for (const [caption, plot, fits] of PLOTS) {
    if (!fits(figures)) continue;
    const figure = make("figure");
    const place = make("div", undefined, "chart");
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", `${caption}, ${LABEL[reading].toLowerCase()}`);
    figure.append(make("figcaption", caption), place);
    grid.append(figure);
    plot(place, figures, reading);
  }
}

function closeTap() {
  const name = state.open;
  state.open = null;
  byId("tap").hidden = true;
  history.replaceState(null, "", location.pathname);
  markCurrent();
  document.querySelector(`button[data-tap="${CSS.escape(name ?? "")}"]`)?.focus();
}

function step(by) {
  const at = data.taps.findIndex((tap) => tap.tap === state.open) + by;
  if (state.open !== null && data.taps[at]) openTap(data.taps[at].tap);
}

function markCurrent() {
  for (const row of document.querySelectorAll("#taps tbody tr")) row.classList.toggle("current", row.dataset.tap === state.open);
}

// ---- The table --------------------------------------------------------------------------------

const COLUMNS = [
  { key: "depth", label: "#", value: (t) => t.depth, show: (t) => t.depth + 1, wide: true },
  { key: "tap", label: "tap", value: (t) => t.tap, text: true },
  { key: "judge", label: "judge's name", value: (t) => t.judge_name, text: true, wide: true },
  { key: "max", label: "max diff", value: (t) => Number(first(t).max_abs), wide: true },
  { key: "relative", label: "of scale", value: (t) => Number(first(t).relative), wide: true },
  { key: "noise", label: "noise", value: (t) => Number(first(t).noise), wide: true },
  { key: "accumulated", label: "× noise", value: (t) => ratioOf(t, "accumulated"), reading: "accumulated" },
  { key: "isolated", label: "isolated", value: (t) => ratioOf(t, "isolated"), reading: "isolated" },
  { key: "snr", label: "dB", value: (t) => Number(first(t).snr_db), show: (t) => number(first(t).snr_db), wide: true },
  { key: "verdict", label: "verdict", value: (t) => (t.agrees ? 1 : 0), show: (t) => (t.agrees ? "agrees" : "disagrees"), verdict: true },
].filter((column) => !column.reading || data.taps.some((tap) => tap[column.reading]));

function writeTableHead() {
  for (const column of COLUMNS) {
    const cell = make("th", undefined, [column.text ? "text" : "", column.wide ? "wide" : ""].join(" ").trim());
    cell.scope = "col";
    cell.dataset.key = column.key;
    const button = make("button", column.label);
    button.type = "button";
    button.addEventListener("click", () => sortBy(column));
    cell.append(button);
    document.querySelector("#taps thead tr").append(cell);
  }
}

function sortBy(column) {
  const numeric = !column.text && column.key !== "depth" && column.key !== "verdict";
  // Figures are asked for worst first, names and places in their order.
  state.descending = state.sort === column.key ? !state.descending : numeric;
  state.sort = column.key;
  writeRows();
}

function visibleTaps() {
  const wanted = byId("filter").value.trim().toLowerCase();
  const column = COLUMNS.find((candidate) => candidate.key === state.sort);
  const sign = state.descending ? -1 : 1;
  const compare = (a, b) => {
    const [left, right] = [column.value(a), column.value(b)];
    const order = column.text ? left.localeCompare(right, "en", { numeric: true }) : (left > right) - (left < right);
    return sign * order || a.depth - b.depth;
  };
  return data.taps
    .filter((tap) => !byId("failing").checked || !tap.agrees)
    .filter((tap) => `${tap.tap} ${tap.judge_name}`.toLowerCase().includes(wanted))
    .sort(compare);
}

function writeRows() {
  for (const cell of document.querySelectorAll("#taps th")) {
    if (cell.dataset.key === state.sort) cell.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  }
  const taps = visibleTaps();
  document.querySelector("#taps tbody").replaceChildren(...taps.map(rowOf));
  byId("count").textContent = `${taps.length} of ${data.taps.length} taps`;
  markCurrent();
}

function rowOf(tap) {
  const row = make("tr", undefined, tap.agrees ? "" : "bad");
  row.dataset.tap = tap.tap;
  for (const column of COLUMNS) {
    const classes = [column.text && "text", column.wide && "wide", column.verdict && "verdict"].filter(Boolean).join(" ");
    const cell = make("td", undefined, classes);
    if (column.key === "tap") {
      const button = make("button", tap.tap);
      button.type = "button";
      button.dataset.tap = tap.tap;
      button.addEventListener("click", () => openTap(tap.tap));
      cell.append(button);
    } else {
      const value = column.value(tap);
      cell.textContent = column.show ? column.show(tap) : column.text ? value : number(value);
    }
    row.append(cell);
  }
  return row;
}

// ---- Below --------------------------------------------------------------------------------------

function planText(plan) {
  const left = Object.entries(plan.left_out).map(([reason, count]) => `${count} tensors left out: ${reason}`);
  return [`by ${plan.naming}, ${plan.weight_set} weights, ${plan.filled} keys filled`, ...left, ...plan.notes].join("; ");
}

function writeBelow() {
  const { inputs } = data;
  const skipped = inputs.skipped.map((skip) => `${skip.file} (${skip.reason})`).join("; ");
  const { convention } = inputs;
  const affine = `minus (${convention.mean.map((v) => number(v, 6)).join(", ")}), over (${convention.std.map((v) => number(v, 6)).join(", ")})`;
  byId("inputs").textContent = `${inputs.count} compared: ${inputs.what}. ${convention.size} × ${convention.size}, RGB 0..255, ${affine}.${skipped ? ` Skipped: ${skipped}.` : ""}`;
  inputs.thumbnails.forEach((source, place) => {
    const image = make("img");
    image.src = source;
    image.alt = `Input ${place}`;
    image.title = `Input ${place}`;
    byId("thumbnails").append(image);
  });
  if (data.unmatched.length) byId("unmatched").textContent = `Without a counterpart: ${data.unmatched.join(", ")}.`;
  const fixed = data.tolerance.atol > 0 || data.tolerance.rtol > 0;
  const tolerance = fixed ? `absolute ${data.tolerance.atol}, relative ${data.tolerance.rtol}` : `${data.tolerance.factor} times the measured float32 noise`;
  const pairs = [
    ["Source", `${data.source.file}, ${data.source.format}, weights: ${data.source.weight_set}`],
    ["its SHA-256", data.source.sha256],
    ["Network", data.subject.file ? `${data.subject.model}, ${data.subject.file}` : data.subject.model],
    ...(data.subject.sha256 ? [["its SHA-256", data.subject.sha256]] : []),
    ...data.subject.notes.map((note) => ["Note", note]),
    ...(data.plan ? [["Plan", planText(data.plan)]] : []),
    ["Judge", `${data.judge.name} ${data.judge.version}`],
    ["Tolerance", tolerance],
    ["Needed", `${number(data.needed.factor)} times the noise, or ${number(data.needed.atol)} absolute, or ${number(data.needed.rtol)} of scale`],
    ["Versions", Object.entries(data.versions).map(([name, version]) => `${name} ${version}`).join(", ")],
  ];
  if (data.quantised) {
    const last = data.quantised.taps[data.quantised.taps.length - 1];
    const off = last.steps === null ? `${number(last.relative)} of its scale` : `${number(last.steps)} quantisation steps`;
    pairs.push(["Quantised run", `${data.quantised.judge} ${data.quantised.version}: ${last.tap} within ${off}; not judged`]);
  }
  for (const [label, value] of pairs) byId("provenance").append(make("dt", label), make("dd", value));
}

function drawAll() {
  drawDepth();
  if (state.open !== null) openTap(state.open, false);
}

writeHeader();
writeTableHead();
writeRows();
writeBelow();
drawDepth();
byId("filter").addEventListener("input", writeRows);
byId("failing").addEventListener("change", writeRows);
byId("close").addEventListener("click", closeTap);
byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && state.open !== null) closeTap(); });
window.addEventListener("resize", () => charts.forEach((chart) => chart.resize()));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
const asked = decodeURIComponent(location.hash.slice(1)) || (data.agrees ? "" : data.culprit ?? "");
if (asked) openTap(asked, false);
