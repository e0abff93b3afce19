"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const READINGS = ["accumulated", "isolated"];
const LABEL = { accumulated: "Accumulated", isolated: "Isolated" };
const byId = (id) => document.getElementById(id);
const charts = new Map();
const state = { sort: "depth", descending: false, open: null };

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
const first = (tap) => tap.accumulated ?? tap.isolated;
// Of the input that lies farthest beyond its noise, as the band is.
const off = (figures) => Number(figures.worst_abs) / (figures.scale || 1);
const ratioOf = (tap, reading) => (tap[reading] ? Number(tap[reading].ratio) : NaN);
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
