const CHANGE_COLUMNS = [
  ["changed", "text"], ["to what, for what", "text"], ["points, with 95 % interval", ""],
  ["top-1", "wide"], ["p, Holm", "wide"], ["gained, lost", "wide"],
];

function writeExplanation(explanation) {
  const { changes, combined } = explanation;
  const rows = combined ? [...changes, together(combined)] : changes;
  byId("explanation").hidden = false;
  byId("explained").textContent = sentence(explanation.sentence);
  byId("unchanged").textContent = explanation.left_out.map(({ topic, why }) => `Not changed: ${topic} (${why}).`).join(" ");
  document.querySelector("#changes thead tr").append(...CHANGE_COLUMNS.map(([label, className]) => {
    const cell = make("th", label, className);
    cell.scope = "col";
    return cell;
  }));
  const axis = rounded([0, ...rows.flatMap(({ low, high }) => [low, high])]);
  document.querySelector("#changes tbody").append(...rows.map((change) => changeRow(change, axis)));
  document.querySelector("#changes tfoot").append(rowOfCells(["", "", axisOf(axis), "", "", ""]));
}

function rowOfCells(contents) {
  const row = make("tr");
  contents.forEach((content, place) => {
    const cell = make("td", undefined, CHANGE_COLUMNS[place][1]);
    cell.append(content);
    row.append(cell);
  });
  return row;
}

function together(combined) {
  const parts = combined.changes.map(({ topic, change }) => `${topic}: ${change}`);
  return { ...combined, adjusted_p: combined.p, topic: "together", change: parts.join("; "), helps: true };
}

function changeRow(change, axis) {
  const plot = make("div");
  plot.append(plotOf({ ...change, value: change.points }, axis, change.helps ? "good" : "open", true));
  plot.append(make("span", `${signed(change.points)} (${signed(change.low)} to ${signed(change.high)})`, "value"));
  const row = rowOfCells([
    change.topic, change.helps ? `${change.change} (helps)` : change.change, plot,
    change.top1.toFixed(2), number(change.adjusted_p, 1), `${count(change.gained)}, ${count(change.lost)}`,
  ]);
  row.className = change.helps ? "helps" : "";
  return row;
}
