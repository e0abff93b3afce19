const CHANGE_COLUMNS = ["changed", "to what, for what", "top-1", "points", "95 % interval, in points", "p", "gained, lost"];

function writeExplanation(explanation) {
  const { changes, combined } = explanation;
  const rows = combined ? [...changes, together(combined)] : changes;
  byId("explanation").hidden = false;
  byId("explained").textContent = sentence(explanation.sentence);
  byId("unchanged").textContent = explanation.left_out.map(({ topic, why }) => `Not changed: ${topic} (${why}).`).join(" ");
  document.querySelector("#changes thead tr").append(...CHANGE_COLUMNS.map((label, place) => {
    const cell = make("th", label, place < 2 ? "text" : "");
    cell.scope = "col";
    return cell;
  }));
  const axis = rounded([0, ...rows.flatMap(({ low, high }) => [low, high])]);
  document.querySelector("#changes tbody").append(...rows.map((change) => changeRow(change, axis)));
  const foot = make("tr");
  const ticks = make("td");
  ticks.append(axisOf(axis));
  foot.append(...Array.from({ length: 4 }, () => make("td")), ticks, make("td"), make("td"));
  document.querySelector("#changes tfoot").append(foot);
}

function together(combined) {
  const parts = combined.changes.map(({ topic, change }) => `${topic}: ${change}`);
  return { ...combined, topic: "together", change: parts.join("; "), helps: true };
}

function changeRow(change, axis) {
  const row = make("tr", undefined, change.helps ? "helps" : "");
  const text = (value, className) => make("td", value, className);
  const plot = make("td");
  plot.append(plotOf({ ...change, value: change.points }, axis, change.helps ? "good" : "open", true));
  plot.append(make("span", `${signed(change.low)} to ${signed(change.high)}`, "value"));
  row.append(
    text(change.topic, "text"), text(change.helps ? `${change.change} (helps)` : change.change, "text"),
    text(change.top1.toFixed(2)), text(signed(change.points)), plot, text(number(change.p, 1)),
    text(`${count(change.gained)}, ${count(change.lost)}`),
  );
  return row;
}
