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
  ["worst", (f) => `input ${f.worst_input}, channel ${f.worst_channel}${f.worst_position.length ? `, at (${f.worst_position.join(", ")})` : ""}`],
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
  if (tap.mistaken) byId("readings").append(make("p", `This tap ${tap.mistaken}.`));
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
