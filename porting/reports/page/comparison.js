function writeHeader() {
  byId("title").textContent = `${data.source.file} and ${data.subject.file ?? data.subject.model}`;
  byId("badge").textContent = data.agrees ? "At parity" : "Not at parity";
  byId("badge").classList.toggle("bad", !data.agrees);
  byId("summary").textContent = sentence(data.summary);
  const logits = data.taps.find((tap) => tap.tap === "classifier") ?? data.taps[data.taps.length - 1];
  writeFacts(byId("facts"), [
    [String(data.taps.length), "taps compared"],
    [String(data.inputs.count), data.inputs.count === 1 ? "image" : "images"],
    [`${number(data.needed.factor)}×`, `the noise needed, of ${data.tolerance.factor}× allowed`],
    [number(first(logits).relative), `${logits.tap}: difference over scale`],
    ...(data.coverage ? [[exercised(data.coverage), "of the weights exercised"]] : []),
  ]);
}

// Rounded down: 100 % is every one.
const exercised = (coverage) => `${Math.floor((1e4 * coverage.exercised) / coverage.weights) / 100} %`;

function coverageText(coverage) {
  const counts = [`${coverage.exercised} of ${coverage.weights} exercised, ${coverage.on_images} of them by images`];
  if (coverage.equal_to_the_source) counts.push(`${coverage.equal_to_the_source} more equal what the source stores`);
  return [...counts, ...coverage.unproved.map((key) => `${key.weights} of ${key.key} not proved: ${key.reason}`)].join("; ");
}

function planText(plan) {
  const left = Object.entries(plan.left_out).map(([reason, count]) => `${count} tensors left out: ${reason}`);
  return [`by ${plan.naming}, ${plan.weight_set} weights, ${plan.filled} keys filled`, ...left, ...plan.notes].join("; ");
}

function writeBelow() {
  const { inputs } = data;
  const skipped = inputs.skipped.map((skip) => `${skip.file} (${skip.reason})`).join("; ");
  byId("inputs").textContent = `${inputs.count} compared: ${inputs.what}. ${affineText(inputs.convention)}.${inputs.count > inputs.thumbnails.length ? ` Below the first ${inputs.thumbnails.length}.` : ""}${skipped ? ` Skipped: ${skipped}.` : ""}`;
  inputs.thumbnails.forEach((source, place) => {
    const image = make("img");
    image.src = source;
    image.alt = `Input ${place}`;
    image.title = `Input ${place}`;
    byId("thumbnails").append(image);
  });
  if (data.unmatched.length) byId("unmatched").textContent = `Without a counterpart: ${data.unmatched.join(", ")}.`;
  const fixed = data.tolerance.atol !== null || data.tolerance.rtol !== null;
  const tolerance = fixed ? `absolute ${data.tolerance.atol ?? 0}, relative ${data.tolerance.rtol ?? 0}` : `${data.tolerance.factor} times the measured float32 noise`;
  byId("left-out").textContent = data.not_comparable.map((tap) => `Left out: ${tap.tap} (${tap.reason}).`).join(" ");
  const pairs = [
    ["Source", `${data.source.file}, ${data.source.format}, weights: ${data.source.weight_set}`],
    ["its SHA-256", data.source.sha256],
    ["Network", data.subject.file ? `${data.subject.model}, ${data.subject.file}` : data.subject.model],
    ...(data.subject.sha256 ? [["its SHA-256", data.subject.sha256]] : []),
    ...data.subject.notes.map((note) => ["Note", note]),
    ...(data.plan ? [["Plan", planText(data.plan)]] : []),
    ["Judge", `${data.judge.name} ${data.judge.version}`],
    ...(data.coverage ? [["Weights", coverageText(data.coverage)]] : []),
    ["Input", affineText(inputs.convention)],
    [certaintyText(inputs.convention), inputs.convention.evidence],
    ...(data.pixels ? [["From pixels", data.pixels.summary]] : []),
    ...(data.rests_on ? [["Rests on", data.rests_on.summary]] : []),
    ["Tolerance", tolerance],
    ["Needed", `${number(data.needed.factor)} times the noise, or ${number(data.needed.atol)} absolute, or ${number(data.needed.rtol)} relative to each value`],
    ["Versions", versionsText(data.versions)],
  ];
  if (data.quantised) {
    const last = data.quantised.taps[data.quantised.taps.length - 1];
    const off = last.steps === null ? `${number(last.relative)} of its scale` : `${number(last.steps)} quantisation steps`;
    pairs.push(["Quantised run", `${data.quantised.judge} ${data.quantised.version}: ${last.tap} within ${off}; not judged`]);
  }
  writePairs(byId("provenance"), pairs);
}

function drawAll() {
  if (data.diagnosis) drawDiagnosis();
  drawDepth();
  if (state.open !== null) openTap(state.open, false);
}

writeHeader();
writeTableHead();
writeRows();
writeBelow();
if (data.diagnosis) writeDiagnosis();
if (data.weights) writeWeights(data.weights);
if (data.diagnosis) drawDiagnosis();
drawDepth();
if (evaluation) {
  const sides = Object.entries(evaluation.sides);
  const top1 = sides.map(([, side]) => percentOf(side.top1)).join(" / ");
  writeFacts(byId("facts"), [[top1, `top-1 of ${sides.map(([name]) => name).join(" and ")}, on ${images(evaluation.data.used)}`]]);
  writeEvaluation();
  writeVerdict(byId("evaluation-badge"), byId("evaluation-summary"));
  byId("evaluation-verdict").hidden = false;
}
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
