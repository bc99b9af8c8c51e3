"use strict";
// The maps of a study: which there are, their values once they are loaded, and what can be made of them.

/**
 * @typedef {object} MapSet Maps of one statistic of one model of somebody: a row for each layer and time.
 * @property {string} who
 * @property {string} part
 * @property {string} model
 * @property {string} name
 * @property {string} quality What it tells of the data: reliability, ceilinglower, ceilingupper; else empty.
 * @property {string} statistic
 * @property {boolean} test
 * @property {boolean} extra
 * @property {string[]} layers
 * @property {number[]} times
 * @property {string} piece
 * @property {number[]} offsets
 * @property {number[]} steps
 * @property {number} limit
 * @property {number} highest Row with the highest value.
 * @property {string[]} files
 * @property {Record<string, string>} derived
 *
 * @typedef {object} SpaceInfo
 * @property {number[]} shape
 * @property {Affine} affine
 * @property {string} voxels
 * @property {number} n_voxels
 * @property {number[][]} box
 * @property {string} label
 * @property {string} [vertices] Voxels at the vertices of the cortex, of an MNI brain.
 *
 * @typedef {{who: string, part: string, statistic: string, alpha: number, words: string, clusters: boolean, method: string}} TestInfo
 * @typedef {{who: string, bundle: string, delays: {piece: string, time: number | null, n_voxels: number}[], note: string}} PatternInfo
 * @typedef {{model: string, layer: string, time: number | null}} ReferenceRow
 *
 * @typedef {object} StudyInfo
 * @property {string} title
 * @property {boolean} simulated
 * @property {Record<string, {label: string, unit: string}>} statistics
 * @property {string} comparison
 * @property {string} distance
 * @property {number | null} radius_mm
 * @property {number} min_voxels
 * @property {Record<string, string>} reasons
 * @property {SpaceInfo[]} spaces
 * @property {{id: string, label: string, space: number, background: BackgroundInfo | null}[]} people
 * @property {MapSet[]} sets
 * @property {{id: string, label: string, unit: string}[]} parts
 * @property {Record<string, string>} colours
 * @property {TestInfo[]} tests
 * @property {{who: string, piece: string}[]} counts
 * @property {{piece: string, offsets: number[], steps: number[], rows: ReferenceRow[], n_pairs: number} | null} references
 * @property {string[]} conditions
 * @property {string[] | null} categories
 * @property {string[] | null} thumbnails
 * @property {PatternInfo[]} patterns
 * @property {string} patterns_note
 * @property {{piece: string, names: string[]} | null} regions
 * @property {{pieces: Record<string, string>, nLeft: number, unitMm: number} | null} mesh
 * @property {number} coverage
 * @property {Record<string, string>} beside
 * @property {Record<string, string>} pieces
 */

/**
 * A space once its voxels are known.
 * @typedef {object} Grid
 * @property {SpaceInfo} info
 * @property {number[][]} inverse
 * @property {Int32Array} flat Position of each voxel on the grid.
 * @property {Int32Array} positions Voxel at each position of the grid, -1 outside.
 */

/**
 * What maps are drawn on, packed and read.
 * @typedef {{piece: string, shape: number[], affine: Affine, name: string}} BackgroundInfo
 * @typedef {{data: Uint8Array, shape: number[], inverse: number[][]}} Background
 */

/**
 * A map as it is drawn.
 * @typedef {object} ShownMap
 * @property {Float32Array} values
 * @property {Float32Array} strength What the threshold and the cover look at.
 * @property {number} limit Upper end of the colours, if no other is wanted.
 * @property {number} top Upper end of the strengths.
 * @property {string} unit
 * @property {string[] | null} names Of layers, where values are their numbers from 1.
 * @property {Uint8Array | null} significant 1 where it is, 0 where not, 2 where it was not tested.
 * @property {string} file Path of the NIfTI file; empty if there is none.
 * @property {number} rounding How far a value may be off.
 */

const HALF_WIDTH = "half_width";
const BEST_LAYER = "best_layer";
const PEAK_TIME = "peak_time";
const DERIVED = {
  [BEST_LAYER]: { label: "best layer", unit: "layer with the highest score" },
  [PEAK_TIME]: { label: "time of the highest score", unit: "s" },
};
const P_ROUNDING = 1e-6;

class StudyMaps {
  /** @param {StudyInfo} info */
  constructor(info) {
    this.info = info;
    /** @type {Map<string, Int16Array>} */
    this.codes = new Map();
    /** @type {Map<string, Promise<unknown>>} */
    this.loading = new Map();
    /** @type {(Grid | undefined)[]} */
    this.grids = info.spaces.map(() => undefined);
    /** @type {Map<string, Background>} */
    this.backgrounds = new Map();
    /** @type {Map<string, Uint16Array>} */
    this.counts = new Map();
    /** @type {Map<string, ResponseCodes>} */
    this.responses = new Map();
    /** @type {Int16Array | null} */
    this.referenceCodes = null;
    /** @type {Uint16Array | null} */
    this.regions = null;
  }

  /** Load something once. @template T @param {string} name @param {() => Promise<T>} load @returns {Promise<T>} */
  once(name, load) {
    let found = this.loading.get(name);
    if (!found) {
      found = load().catch((error) => {
        this.loading.delete(name);
        throw error;
      });
      this.loading.set(name, found);
    }
    return /** @type {Promise<T>} */ (found);
  }

  /** @param {string} piece */
  async bytes(piece) {
    return inflated(bytesOf(await pieceText(piece, this.info.pieces[piece])));
  }

  /** Say whether a piece lies beside the page. @param {string} piece */
  isBeside(piece) {
    return piece in this.info.pieces;
  }

  /** @param {number} number @returns {Promise<Grid>} */
  loadGrid(number) {
    return this.once(`grid ${number}`, async () => {
      const info = this.info.spaces[number];
      const flat = positionsOf(await this.bytes(info.voxels));
      const positions = new Int32Array(info.shape[0] * info.shape[1] * info.shape[2]).fill(-1);
      flat.forEach((at, voxel) => {
        positions[at] = voxel;
      });
      const grid = { info, inverse: inverseOf(info.affine), flat, positions };
      this.grids[number] = grid;
      return grid;
    });
  }

  /** Read what the maps of somebody are drawn on. @param {string} who */
  async loadBackground(who) {
    const image = this.person(who).background;
    if (!image || this.backgrounds.has(image.piece)) return;
    const data = await this.once(`background ${image.piece}`, () => this.bytes(image.piece));
    this.backgrounds.set(image.piece, { data, shape: image.shape, inverse: inverseOf(image.affine) });
  }

  /** Return what the maps of somebody are drawn on; null for the mask. @param {string} who */
  background(who) {
    return this.backgrounds.get(this.person(who).background?.piece ?? "") ?? null;
  }

  /** @param {MapSet} set */
  load(set) {
    return this.once(set.piece, async () => {
      this.codes.set(set.piece, codesOf(await this.bytes(set.piece)));
    });
  }

  /** @param {string} who */
  async loadCounts(who) {
    const found = this.info.counts.find((one) => one.who === who);
    if (found) await this.once(found.piece, async () => this.counts.set(who, wordsOf(await this.bytes(found.piece))));
  }

  async loadRegions() {
    const found = this.info.regions;
    if (found) await this.once(found.piece, async () => (this.regions = wordsOf(await this.bytes(found.piece))));
  }

  async loadReferences() {
    const found = this.info.references;
    if (found) await this.once(found.piece, async () => (this.referenceCodes = codesOf(await this.bytes(found.piece))));
  }

  /** Load the cortex; null without one. @returns {Promise<SurfaceMesh | null>} */
  async loadMesh() {
    const found = this.info.mesh;
    if (!found) return null;
    return this.once("mesh", async () => {
      const { pieces, nLeft, unitMm } = found;
      /** @type {Record<string, Float32Array>} */
      const shapes = {};
      for (const name of ["pial", "inflated", "flat"]) {
        shapes[name] = Float32Array.from(new Int16Array((await this.bytes(pieces[name])).buffer), (value) => value * unitMm);
      }
      const triangles = new Uint16Array((await this.bytes(pieces.triangles)).buffer);
      const sulc = Float32Array.from(new Int8Array((await this.bytes(pieces.sulc)).buffer), (value) => value / 100);
      return { shapes, triangles, inFlat: await this.bytes(pieces.inFlat), sulc, nLeft };
    });
  }

  /** Load where each vertex of the cortex is on the grid of a space, -1 outside. @param {number} number @returns {Promise<Int32Array | null>} */
  async loadVertices(number) {
    const piece = this.info.spaces[number].vertices;
    return piece ? this.once(piece, async () => new Int32Array((await this.bytes(piece)).buffer)) : null;
  }

  /** Load the patterns of a subject at a delay. @param {PatternInfo} patterns @param {{piece: string, n_voxels: number}} delay */
  loadPatterns(patterns, delay) {
    return this.once(delay.piece, async () => {
      const nVoxels = this.info.spaces[this.person(patterns.who).space].n_voxels;
      this.responses.set(delay.piece, responsesOf(await this.bytes(delay.piece), nVoxels, delay.n_voxels));
    });
  }

  /** @param {string} who */
  person(who) {
    return this.info.people.find((one) => one.id === who) ?? this.info.people[0];
  }

  /** @param {string} who @param {string} part @returns {MapSet[]} */
  setsOf(who, part) {
    return this.info.sets.filter((one) => one.who === who && one.part === part && one.statistic !== HALF_WIDTH);
  }

  /** The set of scores of a model: of the group the mean, of a subject the similarity. @param {string} who @param {string} part @param {string} model */
  scoreSet(who, part, model) {
    const sets = this.setsOf(who, part).filter((one) => one.model === model);
    return sets.find((one) => one.statistic === "mean") ?? sets.find((one) => !one.test) ?? sets[0];
  }

  /** @param {string} who @param {string} part @param {string} model @param {string} statistic */
  find(who, part, model, statistic) {
    return this.info.sets.find(
      (one) => one.who === who && one.part === part && one.model === model && one.statistic === statistic,
    );
  }

  /** Models of somebody in an analysis, those that tell how good the data are last. @param {string} who @param {string} part */
  models(who, part) {
    const found = new Map(this.setsOf(who, part).map((one) => [one.model, one]));
    return [...found.values()].sort((a, b) => Number(!!a.quality) - Number(!!b.quality));
  }

  /** @param {string} who @param {string} part */
  test(who, part) {
    return this.info.tests.find((one) => one.who === who && one.part === part);
  }

  /** The row of a layer at a time: the nearest time, or the only one. @param {MapSet} set @param {string} layer @param {number | null} time */
  row(set, layer, time) {
    const at = set.layers.indexOf(layer);
    if (at < 0) return -1;
    return at * Math.max(1, set.times.length) + this.timeIndex(set, time);
  }

  /** @param {MapSet} set @param {number | null} time */
  timeIndex(set, time) {
    if (!set.times.length || time === null) return 0;
    let best = 0;
    set.times.forEach((other, i) => {
      if (Math.abs(other - time) < Math.abs(set.times[best] - time)) best = i;
    });
    return best;
  }

  /** Return the value of a row at a voxel; NaN if it is not loaded. @param {MapSet | undefined} set @param {number} row @param {number} voxel */
  value(set, row, voxel) {
    const codes = set && this.codes.get(set.piece);
    if (!set || !codes || row < 0 || voxel < 0) return NaN;
    return numberOf(codes[row * (codes.length / set.offsets.length) + voxel], set.offsets[row], set.steps[row]);
  }

  /** @param {MapSet} set @param {number} row @returns {Float32Array} */
  values(set, row) {
    const codes = this.codes.get(set.piece);
    if (!codes) return new Float32Array(0);
    return rowOf(codes, row, codes.length / set.offsets.length, set.offsets[row], set.steps[row]);
  }

  /** Say of which voxels a score is significant: 1, 0, or 2 where it was not tested. @param {MapSet} scores @param {number} row @param {number} alpha */
  significant(scores, row, alpha) {
    const test = this.test(scores.who, scores.part);
    const set = test && this.find(scores.who, scores.part, scores.model, test.statistic);
    const codes = set && this.codes.get(set.piece);
    if (!set || !codes || set.offsets.length !== scores.offsets.length) return null;
    const n = codes.length / set.offsets.length;
    const least = -Math.log10(alpha) - P_ROUNDING - set.steps[row] / 2;
    const found = new Uint8Array(n);
    for (let voxel = 0; voxel < n; voxel += 1) {
      const value = numberOf(codes[row * n + voxel], set.offsets[row], set.steps[row]);
      found[voxel] = Number.isNaN(value) ? 2 : value >= least ? 1 : 0;
    }
    return found;
  }

  /** What has to be loaded before a map can be shown. @param {ViewState} state @returns {MapSet[]} */
  needed(state) {
    const scores = this.scoreSet(state.who, state.part, state.model);
    const set = this.find(state.who, state.part, state.model, state.stat) ?? scores;
    const test = this.test(state.who, state.part);
    const p = test && this.find(state.who, state.part, state.model, test.statistic);
    return [...new Set([set, p, state.stat in DERIVED ? scores : undefined])].filter((one) => one !== undefined);
  }

  /** Make the map that a state asks for. @param {ViewState} state @returns {ShownMap | null} */
  shown(state) {
    const scores = this.scoreSet(state.who, state.part, state.model);
    if (!scores) return null;
    const alpha = state.alpha ?? this.test(state.who, state.part)?.alpha ?? 0.05;
    if (state.stat === BEST_LAYER) return this.bestLayer(scores, state, alpha);
    if (state.stat === PEAK_TIME) return this.peakTime(scores, state, alpha);
    const set = this.find(state.who, state.part, state.model, state.stat) ?? scores;
    const row = this.row(set, state.layer, state.time);
    if (row < 0 || !this.codes.has(set.piece)) return null;
    const values = this.values(set, row);
    return {
      values,
      strength: values,
      limit: set.limit || 1,
      top: set.limit || 1,
      unit: this.unitOf(set),
      names: null,
      significant: this.significant(scores, this.row(scores, state.layer, state.time), alpha),
      file: set.files[set.layers.indexOf(state.layer)],
      rounding: set.steps[row] / 2,
    };
  }

  /** @param {string} part */
  unit(part) {
    const found = this.info.parts.find((one) => one.id === part);
    return COMPARISON_WORDS[found?.unit ?? ""] ?? found?.unit ?? "score";
  }

  /** @param {MapSet} set */
  unitOf(set) {
    return this.info.statistics[set.statistic]?.unit || this.unit(set.part);
  }

  /** @param {MapSet} scores @param {ViewState} state @param {number} alpha @returns {ShownMap} */
  bestLayer(scores, state, alpha) {
    const rows = scores.layers.map((layer) => this.row(scores, layer, state.time));
    const found = this.highest(scores, rows, alpha, (place) => place + 1);
    return {
      ...found,
      limit: scores.layers.length,
      unit: DERIVED[BEST_LAYER].unit,
      names: scores.layers,
      file: scores.derived[BEST_LAYER] && scores.times.length < 2 ? scores.derived[BEST_LAYER] : "",
      rounding: 0,
    };
  }

  /** @param {MapSet} scores @param {ViewState} state @param {number} alpha @returns {ShownMap} */
  peakTime(scores, state, alpha) {
    const first = this.row(scores, state.layer, scores.times[0] ?? null);
    const found = this.highest(scores, scores.times.map((_, i) => first + i), alpha, (place) => scores.times[place]);
    const file = scores.derived[PEAK_TIME] ?? "";
    const at = Math.max(scores.layers.indexOf(state.layer), 0);
    const named = file.replace("{layer}", scores.layers[at].replace(/[^0-9a-zA-Z]/g, ""));
    return { ...found, limit: Math.max(...scores.times), unit: "s", names: null, file: named, rounding: 0 };
  }

  /**
   * Find the row with the highest score at each voxel, if that is above 0.
   * @param {MapSet} scores @param {number[]} rows @param {number} alpha @param {(place: number) => number} meaning
   */
  highest(scores, rows, alpha, meaning) {
    const maps = rows.map((row) => this.values(scores, row));
    const tested = rows.map((row) => this.significant(scores, row, alpha));
    const n = maps[0].length;
    const values = new Float32Array(n).fill(NaN);
    const strength = new Float32Array(n).fill(NaN);
    const significant = tested[0] && new Uint8Array(n).fill(2);
    for (let voxel = 0; voxel < n; voxel += 1) {
      let best = -1;
      maps.forEach((map, place) => {
        if (map[voxel] > (best < 0 ? 0 : maps[best][voxel])) best = place;
        const found = tested[place]?.[voxel] ?? 2;
        if (significant && found !== 2) significant[voxel] = Math.max(found, significant[voxel] === 2 ? 0 : significant[voxel]);
      });
      if (best < 0) continue;
      values[voxel] = meaning(best);
      strength[voxel] = maps[best][voxel];
    }
    return { values, strength, top: scores.limit || 1, significant };
  }

  /**
   * Where the score stands that a map made of many shows at a voxel: the best layer, or the time of the peak.
   * @param {ViewState} state @param {number} voxel @returns {{layer: string, time: number | null}}
   */
  chosen(state, voxel) {
    const scores = this.scoreSet(state.who, state.part, state.model);
    let found = { layer: state.layer, time: state.time };
    if (!scores || !(state.stat in DERIVED)) return found;
    const isLayer = state.stat === BEST_LAYER;
    const choices = isLayer
      ? scores.layers.map((layer) => ({ layer, time: state.time }))
      : scores.times.map((time) => ({ layer: state.layer, time }));
    let best = 0;
    for (const choice of choices) {
      const score = this.value(scores, this.row(scores, choice.layer, choice.time), voxel);
      if (score > best) [best, found] = [score, choice];
    }
    return found;
  }

  /** Statistics of a model that can be shown, in words. @param {string} who @param {string} part @param {string} model */
  statistics(who, part, model) {
    const sets = this.setsOf(who, part).filter((one) => one.model === model);
    const found = sets.map((one) => ({ id: one.statistic, label: this.statisticLabel(one) }));
    const scores = this.scoreSet(who, part, model);
    if (scores && !scores.quality && scores.layers.length > 1) found.push({ id: BEST_LAYER, label: DERIVED[BEST_LAYER].label });
    if (scores && !scores.quality && scores.times.length > 1) found.push({ id: PEAK_TIME, label: DERIVED[PEAK_TIME].label });
    return found;
  }

  /** @param {MapSet} set */
  statisticLabel(set) {
    const said = this.info.statistics[set.statistic];
    const unit = this.unit(set.part);
    if (set.statistic === "mean") return `mean ${unit}`;
    return said?.label ?? COMPARISON_WORDS[set.statistic] ?? set.statistic.replace(/_/g, " ");
  }

  /** Return an RDM of a reference at a time; null if the page has none. @param {string} model @param {string} layer @param {number | null} time */
  referenceRdm(model, layer, time) {
    const found = this.info.references;
    if (!found || !this.referenceCodes) return null;
    let best = -1;
    found.rows.forEach((row, i) => {
      if (row.model !== model || row.layer !== layer) return;
      if (best < 0) best = i;
      else if (time !== null && row.time !== null && Math.abs(row.time - time) < Math.abs((found.rows[best].time ?? 0) - time)) best = i;
    });
    return best < 0 ? null : rowOf(this.referenceCodes, best, found.n_pairs, found.offsets[best], found.steps[best]);
  }
}

/** @type {Record<string, string>} */
const COMPARISON_WORDS = {
  spearman: "Spearman's \u03c1",
  pearson: "Pearson's r",
  kendall_tau_a: "Kendall's \u03c4-a",
  rho_a: "\u03c1-a",
  cosine: "cosine",
};
