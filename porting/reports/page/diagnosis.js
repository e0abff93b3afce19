function diagnosisText() {
  const { diagnosis } = data;
  if (diagnosis.at_parity) return "Source and network are at parity: there is nothing to diagnose.";
  const count = diagnosis.causes.length;
  const start = count ? `${count} cause${count > 1 ? "s" : ""} proved` : "No cause is proved";
  return diagnosis.after ? `${start}. With all of them mended: ${diagnosis.after}.` : `${start}.`;
}

function writeDiagnosis() {
  const box = byId("causes");
  byId("diagnosis-headline").textContent = diagnosisText();
  data.diagnosis.causes.forEach((cause, place) => {
    const worst = [...cause.differences].sort((one, other) => Number(other.before) - Number(one.before))[0];
    const list = make("dl", undefined, "pairs");
    box.append(make("h3", `${place + 1}. ${cause.cause}: ${cause.variants.join(" or ")}`), list);
    writePairs(list, [
      ["Wrong", cause.sentence],
      ["Where", `${cause.places.join(", ")}${cause.of > 1 ? ` (${cause.places.length} of ${cause.of})` : ""}`],
      ...(worst ? [["Proof", `${worst.tap}: ${number(worst.before)} of its scale off; mended ${number(worst.after)}, where rounding accounts for ${number(worst.limit)}`]] : []),
      ["Why", cause.explanation],
      ["Remedy", cause.remedy],
    ]);
  });
  for (const piece of data.diagnosis.unexplained) {
    const list = make("dl", undefined, "pairs");
    box.append(make("h3", `Not explained: ${piece.tap}`), list);
    writePairs(list, [
      ["Off by", `${number(piece.before)} of its scale`],
      ...piece.remarks.map((remark) => ["Seen", remark]),
      ...piece.trials.map((trial) => ["Tried", `${trial.cause}, ${trial.variant}, at ${trial.place}: ${number(trial.difference.before)} becomes ${number(trial.difference.after)}`]),
    ]);
  }
}

function drawDiagnosis() {
  const rows = data.diagnosis.causes.flatMap((cause) => cause.differences);
  const element = byId("diagnosis-chart");
  element.hidden = rows.length === 0;
  if (!rows.length) return;
  // A log axis has no zero, and no infinity.
  const drawn = (value) => Math.min(Math.max(Number(value) || 0, 1e-9), 1e3);
  const points = (name, key, symbol, tone) => ({
    name, type: "scatter", symbol, symbolSize: 11, itemStyle: { color: color(tone) },
    data: rows.map((row, place) => [place, drawn(row[key])]),
  });
  draw(element, {
    grid: { left: 70, right: 20, top: 36, bottom: 60 },
    legend: { top: 0, textStyle: { color: color("faint") } },
    xAxis: axis({ type: "category", data: rows.map((row) => row.tap) }),
    yAxis: axis({ type: "log", name: "difference / scale", labels: { formatter: short } }),
    tooltip: tooltip({ renderMode: "richText" }),
    series: [points("as it is", "before", "diamond", "bad"), points("mended", "after", "circle", "good"), points("float32 noise allows", "limit", "rect", "band")],
  });
}
