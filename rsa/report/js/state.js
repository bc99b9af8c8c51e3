"use strict";
// What is shown, and how it stands in the link.

/**
 * @typedef {object} ViewState
 * @property {string} who
 * @property {string} part Analysis; empty for the plain comparison.
 * @property {string} model
 * @property {string} layer
 * @property {number | null} time In s.
 * @property {string} stat
 * @property {number[]} mm
 * @property {string} by By what maps are thresholded: p, score or none; empty for what suits the map.
 * @property {number | null} alpha Highest corrected p; null for that of the study.
 * @property {number | null} least Smallest size of a score; null for half of the range.
 * @property {number | null} from
 * @property {number | null} to Ends of the colours; null for those of the map.
 * @property {string} colours
 * @property {string} reference With what the RDM of a sphere is compared: best or shown.
 */

/** @returns {ViewState} */
function emptyState() {
  return {
    who: "",
    part: "",
    model: "",
    layer: "",
    time: null,
    stat: "",
    mm: [],
    by: "",
    alpha: null,
    least: null,
    from: null,
    to: null,
    colours: "warm",
    reference: "best",
  };
}

/** Keys of the link, and of the state. @type {[string, keyof ViewState][]} */
const TEXT_KEYS = [
  ["who", "who"],
  ["analysis", "part"],
  ["model", "model"],
  ["layer", "layer"],
  ["stat", "stat"],
  ["by", "by"],
  ["colours", "colours"],
  ["rdm", "reference"],
];
/** @type {[string, keyof ViewState][]} */
const NUMBER_KEYS = [
  ["time", "time"],
  ["alpha", "alpha"],
  ["least", "least"],
  ["from", "from"],
  ["to", "to"],
];

/** Read a number of a link; null if it is none. @param {string | null} text */
function numberIn(text) {
  const value = text === null || text.trim() === "" ? NaN : Number(text.replace("\u2212", "-"));
  return Number.isFinite(value) ? value : null;
}

/** Read the state of a link; what it does not say stays empty. @param {string} hash @returns {ViewState} */
function stateOf(hash) {
  const said = new URLSearchParams(hash.replace(/^#/, "").replace(/\+/g, "%2B"));
  const state = emptyState();
  const loose = /** @type {Record<string, unknown>} */ (/** @type {unknown} */ (state));
  for (const [key, name] of TEXT_KEYS) if (said.get(key)) loose[name] = said.get(key);
  for (const [key, name] of NUMBER_KEYS) loose[name] = numberIn(said.get(key));
  const mm = ["x", "y", "z"].map((axis) => numberIn(said.get(axis)));
  if (mm.every((value) => value !== null)) state.mm = /** @type {number[]} */ (mm);
  return state;
}

/** Write a number as short as it can be read again. @param {number} value @param {number} digits */
function shortNumber(value, digits) {
  return String(Number(value.toPrecision(digits)));
}

/** Write the link to a state. @param {ViewState} state */
function hashOf(state) {
  const plain = emptyState();
  const words = [];
  for (const [key, name] of TEXT_KEYS) {
    if (state[name] && state[name] !== plain[name]) words.push(`${key}=${encodeURIComponent(String(state[name]))}`);
  }
  for (const [key, name] of NUMBER_KEYS) {
    const value = state[name];
    if (typeof value === "number") words.push(`${key}=${shortNumber(value, 6)}`);
  }
  if (state.mm.length) ["x", "y", "z"].forEach((axis, i) => words.push(`${axis}=${Number(state.mm[i].toFixed(2))}`));
  return `#${words.join("&")}`;
}

/** Read coordinates as people type them: "-42, -74 -8", "(−42; −74; −8)". @param {string} text @returns {number[] | null} */
function coordinatesIn(text) {
  const found = text.replace(/\u2212|\u2013/g, "-").match(/-?\d+(?:\.\d+)?/g) ?? [];
  return found.length === 3 ? found.map(Number) : null;
}
