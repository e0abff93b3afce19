const COLUMNS = [
  { key: "depth", label: "#", value: (t) => t.depth, show: (t) => t.depth + 1, wide: true },
  { key: "tap", label: "tap", value: (t) => t.tap, text: true },
  { key: "judge", label: "judge's name", value: (t) => t.judge_name, text: true, wide: true },
  { key: "max", label: "max diff", value: (t) => Number(first(t).max_abs), wide: true },
  { key: "relative", label: "of scale", value: (t) => Number(first(t).relative), wide: true },
  { key: "noise", label: "noise", value: (t) => Number(first(t).noise), wide: true },
  { key: "accumulated", label: "× noise", value: (t) => ratioOf(t, "accumulated"), reading: "accumulated" },
  { key: "isolated", label: "isolated", value: (t) => ratioOf(t, "isolated"), reading: "isolated" },
  { key: "dense", label: "dense", value: (t) => ratioOf(t, "dense"), reading: "dense" },
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
