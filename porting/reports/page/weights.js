const OPEN_AT_ONCE = 20;

const WEIGHT_COLUMNS = [
  { label: "key", text: true, show: (w) => w.key },
  { label: "is", text: true, show: (w) => w.text },
  { label: "the source's tensor", text: true, wide: true, show: (w) => w.source ?? "" },
  { label: "distance", wide: true, show: (w) => (w.distance === null ? "" : number(w.distance)) },
  { label: "farthest at", wide: true, show: (w) => (w.farthest ? `[${w.farthest.place.join(", ")}]` : "") },
  { label: "port", wide: true, show: (w) => (w.farthest ? number(w.farthest.port, 4) : "") },
  { label: "source", wide: true, show: (w) => (w.farthest ? number(w.farthest.source, 4) : "") },
];

function writeWeights(weights) {
  byId("weights").hidden = false;
  byId("weights-headline").textContent = sentence(weights.headline);
  for (const line of weights.lines) byId("weights-lines").append(make("li", line));
  const { differing } = weights;
  if (!differing.length) return;
  byId("weights-all").hidden = false;
  byId("weights-all").open = differing.length <= OPEN_AT_ONCE;
  byId("weights-count").textContent = differing.length === 1 ? "The key that differs" : `The ${differing.length} keys that differ`;
  const classOf = (column) => [column.text && "text", column.wide && "wide"].filter(Boolean).join(" ");
  for (const column of WEIGHT_COLUMNS) {
    const cell = make("th", column.label, classOf(column));
    cell.scope = "col";
    document.querySelector("#weights thead tr").append(cell);
  }
  for (const weight of differing) {
    const row = make("tr", undefined, weight.agrees ? "" : "bad");
    for (const column of WEIGHT_COLUMNS) row.append(make("td", column.show(weight), classOf(column)));
    document.querySelector("#weights tbody").append(row);
  }
}
