const READINGS = ["accumulated", "isolated", "dense"];
const LABEL = { accumulated: "Accumulated", isolated: "Isolated", dense: "Dense" };
const SYMBOL = { accumulated: "circle", isolated: "diamond", dense: "triangle" };
const charts = new Map();
const state = { sort: "depth", descending: false, open: null };
const first = (tap) => tap.accumulated ?? tap.isolated ?? tap.dense;
// Of the input that lies farthest beyond its noise, as the band is.
const off = (figures) => Number(figures.worst_abs) / (figures.scale || 1);
const ratioOf = (tap, reading) => (tap[reading] ? Number(tap[reading].ratio) : NaN);
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

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
  const positive = data.taps.flatMap((tap) => shown.filter((r) => tap[r]).flatMap((r) => [off(tap[r]), Number(tap[r].noise) / tap[r].scale]))
    .filter((value) => value > 0 && Number.isFinite(value));
  const low = 10 ** Math.floor(Math.log10(Math.min(...positive, 1e-8)));
  const high = 10 ** Math.ceil(Math.log10(Math.max(...positive, 1e-6)));
  const clipped = (value) => Math.min(Math.max(Number.isNaN(value) ? high : value, low), high);
  const limit = (figures) => (figures.scale > 0 ? (data.tolerance.factor * figures.noise) / figures.scale : low);
  const series = shown.map((reading, place) => ({
    name: `${LABEL[reading]}: noise × ${data.tolerance.factor}`, type: "line", showSymbol: false, silent: true,
    data: data.taps.filter((tap) => tap[reading]).map((tap) => [tap.depth + 1, clipped(limit(tap[reading]))]),
    lineStyle: { width: 1, type: "dashed", color: place ? color(reading) : color("band") },
    itemStyle: { color: place ? color(reading) : color("band") },
    ...(place ? {} : { areaStyle: { color: color("band"), opacity: 0.16, origin: "start" } }),
  }));
  for (const reading of shown) {
    series.push({
      name: LABEL[reading], type: "line", symbolSize: 6, lineStyle: { width: 1.5 }, color: color(reading),
      symbol: SYMBOL[reading],
      data: data.taps.filter((tap) => tap[reading]).map((tap) => ({
        value: [tap.depth + 1, clipped(off(tap[reading]))],
        itemStyle: tap[reading].agrees ? {} : { color: color("bad") },
        symbolSize: tap[reading].agrees ? 6 : 10,
      })),
    });
  }
  const chart = draw(byId("depth"), {
    grid: { left: 62, right: 16, top: byId("depth").clientWidth < 600 ? 70 : 46, bottom: 44 }, series, legend: { top: 0, textStyle: { color: color("faint") } },
    tooltip: tooltip({ trigger: "axis", formatter: (points) => depthTip(data.taps[points[0].value[0] - 1], shown) }),
    xAxis: axis({ type: "value", name: "tap", nameLocation: "middle", nameGap: 28, min: 1, max: Math.max(2, data.taps.length), minInterval: 1 }),
    yAxis: axis({ type: "log", min: low, max: high, labels: { formatter: short } }),
  });
  chart.on("click", (point) => openTap(data.taps[point.value[0] - 1].tap));
}

function depthTip(tap, shown) {
  const lines = shown.filter((reading) => tap[reading]).map((reading) => {
    const figures = tap[reading];
    return `${LABEL[reading]}: ${number(off(figures))} of scale, ${number(figures.ratio)}× noise`;
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
