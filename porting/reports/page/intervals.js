function svg(tag, attributes, className) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (className) element.setAttribute("class", className);
  return element;
}

// A span of round numbers that holds all values, with four to eight steps.
function rounded(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const rough = (high - low || 1) / 5;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = size * [1, 2, 5, 10].find((times) => times * size >= rough);
  const [from, to] = [Math.floor(low / step), Math.ceil(high / step)];
  const ticks = Array.from({ length: to - from + 1 }, (_, i) => Number(((from + i) * step).toPrecision(12)));
  const [left, right] = [ticks[0], ticks[ticks.length - 1]];
  // A margin at both sides leaves room for half a dot and half a number.
  return { ticks, place: (value) => `${4 + (92 * (value - left)) / (right - left || 1)}%` };
}

// Widths are in percent, so that a plot fits its column without being drawn again.
function plotOf({ value, low, high }, axis, className, zero = false) {
  const plot = svg("svg", { height: 22, "aria-hidden": "true" }, "interval");
  for (const tick of axis.ticks) {
    const x = axis.place(tick);
    plot.append(svg("line", { x1: x, x2: x, y1: 0, y2: 22 }, zero && tick === 0 ? "zero" : "tick"));
  }
  if (low !== undefined) {
    const [x1, x2] = [axis.place(low), axis.place(high)];
    plot.append(svg("line", { x1, x2, y1: 11, y2: 11 }, `range ${className}`));
    for (const x of [x1, x2]) plot.append(svg("line", { x1: x, x2: x, y1: 7, y2: 15 }, `range ${className}`));
  }
  plot.append(svg("circle", { cx: axis.place(value), cy: 11, r: 5 }, className));
  return plot;
}

function axisOf(axis) {
  const plot = svg("svg", { height: 18, "aria-hidden": "true" }, "interval");
  axis.ticks.forEach((tick, number) => {
    // On a narrow screen every second number is left out.
    const text = svg("text", { x: axis.place(tick), y: 13, "text-anchor": "middle" }, number % 2 ? "odd" : "");
    text.textContent = String(tick).replace("-", "−");
    plot.append(text);
  });
  return plot;
}
