const WHAT = { judge: "the judge", port: "the port" };
const called = (side) => WHAT[side] ?? side;
const percentOf = (share) => `${share.percent.toFixed(2)} %`;
const bounds = ({ low, high }) => `${low.toFixed(2)} to ${high.toFixed(2)}`;
const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
const count = (value) => value.toLocaleString("en");
const images = (value) => (value === 1 ? "1 image" : `${count(value)} images`);

function writeVerdict(badge, summary) {
  const { agreement, verdict } = evaluation;
  const same = agreement?.differing.every((image) => image.near_tie);
  // What earlier versions wrote does not say whether the two agree.
  const agrees = verdict.agrees !== undefined ? verdict.agrees : verdict.differs ? false : same || null;
  const differ = verdict.differs ? "Accuracy differs" : "Answers differ";
  badge.textContent = !agreement ? "Measured" : agrees ? "The port is the judge" : differ;
  badge.classList.toggle("bad", agrees === false);
  badge.classList.toggle("open", agrees === null);
  summary.textContent = sentence(verdict.sentence);
}

function factsOf({ top1, top5_sets: sets, difference }) {
  return [
    [`${count(top1.count)} of ${count(top1.of)}`, `answers are the same: ${percentOf(top1)} (${bounds(top1)})`],
    [`${count(sets.count)} of ${count(sets.of)}`, `sets of five are the same: ${percentOf(sets)}`],
    [signed(difference.points), `points, port less judge (${signed(difference.low)} to ${signed(difference.high)})`],
    [number(difference.p, 2), `McNemar's p; right alone: port ${count(difference.gained)}, judge ${count(difference.lost)}`],
  ];
}

function writeAccuracies() {
  for (const among of [1, 5]) {
    const rows = Object.entries(evaluation.sides).map(([name, side]) => {
      const share = side[`top${among}`];
      return { name, kind: name, value: share.percent, low: share.low, high: share.high, text: `${percentOf(share)} (${bounds(share)})` };
    });
    if (among === 1 && evaluation.stated !== null) {
      rows.push({ name: "stated", kind: "stated", value: evaluation.stated, text: `${evaluation.stated.toFixed(2)} %` });
    }
    const figure = make("figure");
    figure.append(make("figcaption", `Top-${among}, in percent`), intervalsOf(rows));
    byId("accuracies").append(figure);
  }
}

function intervalsOf(rows) {
  const box = make("div", undefined, "intervals");
  const axis = rounded(rows.flatMap((row) => [row.low ?? row.value, row.high ?? row.value]));
  for (const row of rows) box.append(make("span", row.name), plotOf(row, axis, row.kind), make("span", row.text, "value"));
  box.append(make("span"), axisOf(axis), make("span"));
  return box;
}

function writeDiffering() {
  if (!evaluation.agreement) return;
  const { top1, differing } = evaluation.agreement;
  const all = top1.of - top1.count;
  if (!all) return;
  byId("differing").hidden = false;
  byId("by-quantisation").hidden = !evaluation.agreement.quantisation;
  byId("differing-heading").textContent = `${images(all)} on which the two differ`;
  byId("images").append(...differing.map(cardOf));
  if (all > differing.length) byId("more-images").textContent = `The first ${differing.length} are shown; there are ${count(all - differing.length)} more.`;
}

function cardOf(image) {
  const card = make("li");
  const text = make("div");
  text.append(make("p", image.called, "called"));
  for (const side of ["judge", "port"]) text.append(answerOf(side, image[side]));
  if (image.near_tie) text.append(make("p", "a near tie", "tie"));
  if (image.by_quantisation) text.append(make("p", "by quantisation", "tie"));
  text.append(make("p", image.name, "name"));
  card.append(pictureOf(image), text);
  return card;
}

function pictureOf(image) {
  if (!image.thumbnail) return make("div", "no picture", "picture");
  const picture = make("img", undefined, "picture");
  picture.src = image.thumbnail;
  picture.alt = `${image.called}: ${image.name}`;
  return picture;
}

function answerOf(side, answer) {
  const line = make("p", `${side}: ${answer.called}`, "answer");
  const how = make("span", undefined, "how");
  how.append(make("b", answer.right ? "right" : "wrong", answer.right ? "good" : "bad"), `, by ${number(answer.margin)}`);
  line.append(how);
  return line;
}

function writeFailed() {
  const { examples, used, failed } = evaluation.data;
  const all = examples - used;
  if (!all) return;
  byId("failed").hidden = false;
  byId("failed-heading").textContent = `${images(all)} left out`;
  writePairs(byId("failures"), failed.map(({ name, reason }) => [name, reason]));
  if (all > failed.length) byId("more-failures").textContent = `And ${count(all - failed.length)} more.`;
}

function pipelinePairs() {
  const sides = Object.entries(evaluation.sides);
  const { preprocessing } = evaluation.convention;
  const same = sides.every(([, side]) => side.pipeline === sides[0][1].pipeline);
  const made = same ? [["Pixels", sides[0][1].pipeline]] : sides.map(([name, side]) => [`Pixels of ${called(name)}`, side.pipeline]);
  if (!same || sides[0][1].pipeline !== preprocessing) return [...made, ["its authors'", preprocessing]];
  return [["Pixels", `${preprocessing}; as its authors made them`]];
}

function writeRests() {
  const { data: found, made_from: from, convention } = evaluation;
  const pairs = [
    ["Images", `${found.path}: ${images(found.examples)}, ${found.kind}`],
    ["their SHA-256", `${from.data.sha256}, over names, labels and sizes`],
    ["Labels", found.label_order],
    ...found.notes.map((note) => ["Note", note]),
  ];
  if (from.source) pairs.push(["Source", `${from.source.file}, weights: ${from.source.weights}`], ["its SHA-256", from.source.sha256], ["Judge", from.source.judge]);
  if (from.checkpoint) {
    const { model, file, weights } = from.checkpoint;
    pairs.push(["Network", `${model}, ${file}${weights ? `, weights: ${weights}` : ""}`]);
  }
  if (from.checkpoint?.sha256) pairs.push(["its SHA-256", from.checkpoint.sha256]);
  pairs.push(...pipelinePairs(), ["Input", affineText(convention)], [certaintyText(convention), convention.evidence]);
  pairs.push(["Batch", `${images(from.batch)}, on ${from.device}`], ["Versions", versionsText(from.versions)]);
  writePairs(byId("rests-on"), pairs);
}

function writeEvaluation() {
  writeAccuracies();
  if (evaluation.agreement) writeFacts(byId("evaluation-facts"), factsOf(evaluation.agreement));
  if (evaluation.explanation) writeExplanation(evaluation.explanation);
  writeDiffering();
  writeFailed();
  writeRests();
}
