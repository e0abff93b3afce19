"use strict";

const { comparison: data, evaluation } = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function number(value, digits = 3) {
  const given = Number(value);
  if (Number.isNaN(given)) return "NaN";
  if (!Number.isFinite(given)) return given > 0 ? "∞" : "−∞";
  if (given === 0) return "0";
  const size = Math.abs(given);
  return size < 1e-3 || size >= 1e5 ? given.toExponential(digits - 1) : String(Number(given.toPrecision(digits)));
}

const percent = (share) => (share === 0 ? "0" : `${number(100 * share, 2)} %`);
const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
const listed = (values) => `(${values.map((value) => number(value, 6)).join(", ")})`;
const affineText = ({ size, mean, std }) => `${size} × ${size}, RGB 0..255, minus ${listed(mean)}, over ${listed(std)}`;
// How sure an input convention is, before its evidence; older reports do not say it.
const certaintyText = ({ certainty }) => ({ stated: "stated, not proved", assumed: "not proved", unknown: "unknown" })[certainty] ?? "known from";
const versionsText = (versions) => Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ");

function writeFacts(list, facts) {
  for (const [value, text] of facts) {
    const item = make("li");
    item.append(make("b", value), make("span", text));
    list.append(item);
  }
}

function writePairs(list, pairs) {
  for (const [label, value] of pairs) list.append(make("dt", label), make("dd", value));
}
