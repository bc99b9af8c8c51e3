"use strict";
// What is told of the voxel at the crosshair.

/**
 * @typedef {object} Place
 * @property {number[]} mm
 * @property {number[]} index
 * @property {number} voxel Position among the voxels of the space; -1 outside of the mask.
 * @property {Grid} grid
 */

const OUTSIDE = 1000; // the reason of a voxel outside of the mask of somebody

/** Write a p as papers do. @param {number} logp -log10 of it. */
function writtenP(logp) {
  if (Number.isNaN(logp)) return "not tested";
  const p = 10 ** -logp;
  return p < 0.0001 ? "p < .0001" : `p = ${p.toFixed(p < 0.1 ? 4 : 2).replace("0.", ".")}`;
}

class VoxelPanel {
  /** @param {StudyMaps} maps @param {(change: Partial<ViewState>) => void} onChange */
  constructor(maps, onChange) {
    this.maps = maps;
    this.onChange = onChange;
    this.facts = element("facts", HTMLElement);
    this.profile = element("profile", HTMLElement);
    this.profileText = element("profile-text", HTMLElement);
    this.coursePanel = element("course-panel", HTMLElement);
    this.course = element("course", HTMLElement);
    this.courseText = element("course-text", HTMLElement);
    this.rdmPanel = element("rdm-panel", HTMLElement);
    this.rdmText = element("rdm-text", HTMLElement);
    this.scatter = element("scatter", HTMLCanvasElement);
    this.loadButton = element("load-patterns", HTMLButtonElement);
    this.pair = new RdmPair(maps.info, element("rdms", HTMLElement), element("pair-told", HTMLElement));
    /** @type {Map<string, number[][]>} */
    this.spheres = new Map();
    /** @type {{state: ViewState, place: Place} | null} */
    this.last = null;
    /** @type {string[][]} */
    this.table = [];
    this.loadButton.addEventListener("click", () => this.loadAll());
    element("numbers", HTMLDetailsElement).addEventListener("toggle", () => this.fillTable());
    element("copy-numbers", HTMLButtonElement).addEventListener("click", async (event) => {
      const button = /** @type {HTMLButtonElement} */ (event.currentTarget);
      const done = await copied(this.table.map((row) => row.join("\t")).join("\n"));
      tellOn(button, done ? "Copied" : "Could not copy");
    });
  }

  /** Tell of a place. @param {ViewState} state @param {Place} place */
  show(state, place) {
    this.last = { state, place };
    this.tellFacts(state, place);
    this.showProfile(state, place);
    this.showCourse(state, place);
    this.showRdms(state, place);
    this.fillTable();
  }

  /** @param {ViewState} state @param {Place} place */
  tellFacts(state, place) {
    const { info } = this.maps;
    const words = [];
    const scores = this.maps.scoreSet(state.who, state.part, state.model);
    const set = this.maps.find(state.who, state.part, state.model, state.stat) ?? scores;
    if (set && scores && place.voxel >= 0) {
      const { layer, time } = this.maps.chosen(state, place.voxel);
      const name = [state.model, layer].filter(Boolean).join(" ");
      const value = this.maps.value(set, this.maps.row(set, layer, time), place.voxel);
      const isTime = state.stat === PEAK_TIME && time !== null;
      const what = set === scores ? (isTime ? `, ${writtenTime(time, scores.times)}` : "") : `, ${this.maps.statisticLabel(set)}${set.test && this.maps.unitOf(set).includes("log") ? " (\u2212log\u2081\u2080)" : ""}`;
      words.push(["value", `${name}${what}: ${Number.isNaN(value) ? "no score" : decimals(value)}`]);
      const test = this.maps.test(state.who, state.part);
      const p = test && this.maps.find(state.who, state.part, state.model, test.statistic);
      if (p && test) {
        const logp = this.maps.value(p, this.maps.row(p, layer, time), place.voxel);
        words.push(["", `${writtenP(logp)}${Number.isNaN(logp) ? "" : `, corrected (${test.method})`}`]);
      }
    }
    const region = place.voxel >= 0 && info.regions && this.maps.regions ? this.maps.regions[place.voxel] : 0;
    if (region && info.regions) words.push(["region", info.regions.names[region - 1]]);
    words.push(["", `voxel ${place.index.join(", ")} of ${place.grid.info.shape.join(" \u00d7 ")}`]);
    const counts = this.maps.counts.get(state.who);
    if (place.voxel < 0) words.push(["", "outside of the mask"]);
    else if (counts) {
      const n = counts[place.voxel];
      const reason = counts[counts.length / 2 + place.voxel];
      if (reason === OUTSIDE) words.push(["", "outside of the mask"]);
      else if (state.who === "group") words.push(["", `${n} subjects with a score`]);
      else words.push(["", `sphere of ${n} voxels, ${info.radius_mm} mm`]);
      if (reason !== OUTSIDE && reason !== 0) words.push(["", `no score: ${info.reasons[String(reason)]}`]);
    }
    this.facts.replaceChildren(
      ...words.map(([kind, text]) => {
        const item = document.createElement("span");
        item.className = kind ? `fact ${kind}` : "fact";
        item.textContent = text;
        return item;
      }),
    );
  }

  /** Scores of all layers of a model at a voxel. @param {MapSet} set @param {ViewState} state @param {number} voxel @returns {ProfilePoint[]} */
  points(set, state, voxel) {
    const { maps } = this;
    const half = maps.find(state.who, state.part, set.model, HALF_WIDTH);
    const test = maps.test(state.who, state.part);
    const p = test && maps.find(state.who, state.part, set.model, test.statistic);
    const alpha = state.alpha ?? test?.alpha ?? 0.05;
    const subjects = state.who !== "group" ? [] : maps.info.people.filter((one) => one.id !== "group");
    return set.layers.map((layer) => {
      const row = maps.row(set, layer, state.time);
      const logp = p ? maps.value(p, maps.row(p, layer, state.time), voxel) : NaN;
      return {
        layer,
        score: maps.value(set, row, voxel),
        half: half && set.statistic === "mean" ? maps.value(half, maps.row(half, layer, state.time), voxel) : NaN,
        subjects: subjects.map((one) => {
          const own = maps.scoreSet(one.id, state.part, set.model);
          return own ? maps.value(own, maps.row(own, layer, state.time), voxel) : NaN;
        }),
        significant: Number.isNaN(logp) || !p ? 2 : Number(logp >= -Math.log10(alpha) - P_ROUNDING - p.steps[maps.row(p, layer, state.time)] / 2),
      };
    });
  }

  /** The score sets of all models that are no quality of the data. @param {ViewState} state @returns {MapSet[]} */
  scoreSets(state) {
    const models = this.maps.models(state.who, state.part).filter((one) => !one.quality);
    const sets = models.map((one) => this.maps.scoreSet(state.who, state.part, one.model));
    return /** @type {MapSet[]} */ (sets.filter((set) => set && !set.quality));
  }

  /** Bounds of the noise ceiling at a voxel, lower and upper; null if there are none. @param {ViewState} state @param {number} voxel @returns {[number, number] | null} */
  ceiling(state, voxel) {
    if (state.part) return null;
    const bounds = ["ceilinglower", "ceilingupper"].map((name) => {
      const set = this.maps.info.sets.find((one) => one.quality === name && one.who === "group" && one.statistic === "mean");
      return set ? this.maps.value(set, this.maps.row(set, set.layers[0], state.time), voxel) : NaN;
    });
    return bounds.every(Number.isFinite) ? [bounds[0], bounds[1]] : null;
  }

  /** @param {ViewState} state @param {Place} place */
  showProfile(state, place) {
    const sets = this.scoreSets(state).filter((set) => this.maps.codes.has(set.piece));
    const groups = sets.map((set) => ({
      model: set.model,
      colour: this.maps.info.colours[set.model] ?? "#777777",
      points: this.points(set, state, place.voxel),
    }));
    const ceiling = this.ceiling(state, place.voxel);
    drawProfile(this.profile, groups, ceiling, sets.length ? this.maps.unitOf(sets[0]) : "", state, (model, layer) => this.onChange({ model, layer }));
    const hasIntervals = groups.some((group) => group.points.some((point) => Number.isFinite(point.half)));
    const n = this.maps.info.people.length - 1;
    const said = [];
    if (state.who === "group") {
      said.push(`Mean over ${n} subjects${hasIntervals ? `, 95% t interval of the mean` : ""}; small dots are single subjects.`);
    } else said.push(`Scores of ${this.maps.person(state.who).label.toLowerCase()}.`);
    if (groups.some((group) => group.points.some((point) => point.significant !== 2))) said.push("Open circles are not significant.");
    if (ceiling && state.who !== "group") said.push("The noise ceiling is that of the group.");
    if (sets.some((set) => set.times.length > 1)) said.push(`Models with times are shown at ${writtenTime(state.time ?? 0, sets.find((set) => set.times.length > 1)?.times ?? [])}.`);
    const waits = this.scoreSets(state).filter((set) => !this.maps.codes.has(set.piece));
    if (waits.length) said.push(`Not loaded yet: ${waits.map((set) => set.name).join(", ")}.`);
    this.profileText.textContent = place.voxel < 0 ? "The crosshair is outside of the mask." : said.join(" ");
  }

  /** @param {ViewState} state @param {Place} place */
  showCourse(state, place) {
    const sets = this.scoreSets(state).filter((one) => one.times.length > 1 && this.maps.codes.has(one.piece));
    const set = sets.find((one) => one.model === state.model) ?? sets[0];
    this.coursePanel.hidden = !set;
    if (!set) return;
    const { maps } = this;
    const half = maps.find(state.who, state.part, set.model, HALF_WIDTH);
    const test = maps.test(state.who, state.part);
    const p = test && maps.find(state.who, state.part, set.model, test.statistic);
    const alpha = state.alpha ?? test?.alpha ?? 0.05;
    const colours = orderedColours(set.layers.length);
    const isOwn = set.model === state.model;
    const courses = set.layers.map((layer, i) => {
      const first = maps.row(set, layer, set.times[0]);
      const rows = set.times.map((_, place_) => first + place_);
      return {
        name: [set.model, layer].filter(Boolean).join(" "),
        colour: set.layers.length > 1 ? colours[i] : (maps.info.colours[set.model] ?? "#777777"),
        scores: rows.map((row) => maps.value(set, row, place.voxel)),
        half: half && maps.codes.has(half.piece) ? rows.map((row) => maps.value(half, row, place.voxel)) : null,
        significant: rows.map((row) => {
          const logp = p ? maps.value(p, row, place.voxel) : NaN;
          return Number.isNaN(logp) || !p ? 2 : Number(logp >= -Math.log10(alpha) - P_ROUNDING - p.steps[row] / 2);
        }),
        isShown: isOwn ? layer === state.layer : i === 0,
      };
    });
    drawCourse(this.course, set.times, courses, isOwn && state.time !== null ? set.times[maps.timeIndex(set, state.time)] : null, maps.unitOf(set), (time) =>
      this.onChange({ model: set.model, layer: isOwn ? state.layer : set.layers[0], time: set.times[maps.timeIndex(set, time)] }),
    );
    const said = [`${set.name} at this voxel.`];
    if (p) said.push(`Dots mark significant times (corrected p \u2264 ${written(alpha).replace("0.", ".")}).`);
    if (set.layers.length > 1) said.push("Lines go from the first layer (dark) to the last (bright).");
    said.push("Click to go to a time.");
    this.courseText.textContent = said.join(" ");
  }

  // ------------------------------------------------------------------------------------------ RDMs

  /** Patterns from which the RDM of a sphere is made: of a subject, or of all for the group. @param {ViewState} state */
  patternsFor(state) {
    const all = this.maps.info.patterns.filter((one) => state.who === "group" || one.who === state.who);
    return all.map((one) => {
      const delays = one.delays;
      let best = delays[0];
      for (const delay of delays) {
        if (state.time !== null && delay.time !== null && Math.abs(delay.time - state.time) < Math.abs((best.time ?? 0) - state.time)) best = delay;
      }
      return { patterns: one, delay: best };
    });
  }

  async loadAll() {
    if (!this.last) return;
    this.loadButton.disabled = true;
    this.loadButton.textContent = "Loading\u2026";
    try {
      await Promise.all(this.patternsFor(this.last.state).map(({ patterns, delay }) => this.maps.loadPatterns(patterns, delay)));
    } catch (error) {
      this.rdmText.textContent = error instanceof Error ? error.message : String(error);
      return;
    } finally {
      this.loadButton.disabled = false;
    }
    if (this.last) this.showRdms(this.last.state, this.last.place);
  }

  /**
   * The RDM of the sphere around a voxel, of one subject; null if too few voxels are usable, or the centre is none.
   * @param {PatternInfo} patterns @param {{piece: string}} delay @param {Place} place
   * @returns {{rdm: Float64Array, n: number} | null}
   */
  sphereRdm(patterns, delay, place) {
    const { info, responses } = this.maps;
    const found = responses.get(delay.piece);
    if (!found || info.radius_mm === null) return null;
    const { affine, shape, voxels } = place.grid.info;
    let offsets = this.spheres.get(voxels);
    if (!offsets) {
      offsets = sphereOffsets(affine, info.radius_mm, shape);
      this.spheres.set(voxels, offsets);
    }
    if (place.voxel < 0 || found.usable[place.voxel] < 0) return null;
    const members = sphereMembers(place.index, offsets, shape, place.grid.positions)
      .map((voxel) => found.usable[voxel])
      .filter((voxel) => voxel >= 0);
    if (members.length < info.min_voxels) return null;
    const n = info.conditions.length;
    const rdm = dissimilarities(patternsOf(found, members, n), n, info.distance);
    void patterns;
    return { rdm, n: members.length };
  }

  /** @param {ViewState} state @param {Place} place */
  showRdms(state, place) {
    const { info } = this.maps;
    const wanted = this.patternsFor(state);
    if (!wanted.length || info.radius_mm === null) {
      this.hideRdms(info.patterns_note ? `RDMs of spheres are not shown here: ${info.patterns_note}.` : "The patterns of these data are not in the page.");
      return;
    }
    const missing = wanted.filter(({ delay }) => !this.maps.responses.has(delay.piece));
    this.loadButton.hidden = !missing.length;
    if (missing.length) {
      const who = missing.length > 1 ? `${missing.length} subjects` : `subject ${missing[0].patterns.who}`;
      this.loadButton.textContent = `Load the patterns of ${who}`;
    }
    const found = wanted
      .map(({ patterns, delay }) => ({ who: patterns.who, made: this.sphereRdm(patterns, delay, place) }))
      .filter((one) => one.made !== null);
    if (!found.length) {
      const isLoaded = missing.length < wanted.length;
      this.hideRdms(isLoaded ? "There is no RDM here: too few voxels of the sphere have data." : "The patterns are not loaded yet.", !!missing.length);
      return;
    }
    const rdm = found.length > 1 ? meanOf(found.map((one) => /** @type {{rdm: Float64Array}} */ (one.made).rdm)) : /** @type {{rdm: Float64Array}} */ (found[0].made).rdm;
    const reference = this.reference(state, place);
    this.rdmPanel.classList.remove("empty");
    element("rdms", HTMLElement).hidden = false;
    this.pair.show(reference.rdm ? [rdm, reference.rdm] : [rdm]);
    const whose = found.length > 1 ? `mean of ${found.length} subjects` : `subject ${found[0].who}`;
    element("sphere-name", HTMLElement).textContent = `sphere, ${whose}`;
    element("reference-name", HTMLElement).textContent = reference.name;
    const hasReference = reference.rdm !== null;
    for (const name of ["reference-name", "scatter-name"]) element(name, HTMLElement).closest("figure")?.toggleAttribute("hidden", !hasReference);
    const said = [];
    if (reference.rdm) {
      const isRanked = ["spearman", "rho_a", "kendall_tau_a"].includes(info.comparison);
      const score = similarity(rdm, reference.rdm, info.comparison);
      const [a, b] = isRanked ? [ranksOf(reference.rdm), ranksOf(rdm)] : [reference.rdm, rdm];
      drawScatter(this.scatter, a, b, getComputedStyle(document.documentElement).getPropertyValue("--accent"));
      const name = COMPARISON_WORDS[info.comparison] ?? info.comparison;
      element("scatter-name", HTMLElement).textContent = `${isRanked ? "ranks" : "values"}, model across; ${name} = ${decimals(score)}`;
      if (found.length > 1) said.push("The similarity of the mean RDM is not the mean of the subjects' similarities, which the map shows.");
    }
    const notes = [...new Set(wanted.map(({ patterns }) => patterns.note).filter(Boolean))];
    const sizes = [...new Set(found.map((one) => one.made?.n ?? 0))].sort((a, b) => a - b);
    said.unshift(`${info.distance} distance, ${sizes.length > 1 ? `${sizes[0]} to ${sizes[sizes.length - 1]}` : sizes[0]} voxels within ${info.radius_mm} mm; colours are ranks, dark is similar.`);
    if (found.length > 1 || missing.length) said.push(`Subjects: ${found.map((one) => one.who).join(", ")}.`);
    if (notes.length) said.push(`Approximate: ${notes.join("; ")}.`);
    this.rdmText.textContent = said.join(" ");
  }

  /** @param {string} text @param {boolean} [canLoad] */
  hideRdms(text, canLoad = false) {
    this.rdmPanel.classList.add("empty");
    element("rdms", HTMLElement).hidden = true;
    this.loadButton.hidden = !canLoad;
    this.pair.rdms = [];
    this.pair.forget();
    this.rdmText.textContent = text;
  }

  /** The RDM that stands beside that of the sphere. @param {ViewState} state @param {Place} place @returns {{rdm: Float32Array | null, name: string}} */
  reference(state, place) {
    const set = this.maps.scoreSet(state.who, state.part, state.model);
    let [model, layer] = [state.model, state.layer];
    if (!set || set.quality || state.reference === "best") {
      const from = set && !set.quality ? [set] : this.scoreSets(state);
      let best = -Infinity;
      for (const one of from) {
        for (const other of one.layers) {
          const score = this.maps.value(one, this.maps.row(one, other, state.time), place.voxel);
          if (score > best) [best, model, layer] = [score, one.model, other];
        }
      }
    }
    const rdm = this.maps.referenceRdm(model, layer, state.time);
    const name = [model, layer].filter(Boolean).join(" ");
    return { rdm, name: state.reference === "best" && set && set.layers.length > 1 ? `best layer: ${name}` : name };
  }

  // ----------------------------------------------------------------------------------------- numbers

  fillTable() {
    if (!this.last || !element("numbers", HTMLDetailsElement).open) return;
    const { state, place } = this.last;
    const head = ["model", "layer", "time_s", "score", "half_interval_95"];
    this.table = [head];
    for (const set of this.scoreSets(state)) {
      if (!this.maps.codes.has(set.piece)) continue;
      for (const point of this.points(set, state, place.voxel)) {
        const time = set.times.length ? written(set.times[this.maps.timeIndex(set, state.time)]) : "";
        const numbers = [point.score, point.half].map((value) => (Number.isFinite(value) ? String(Number(value.toFixed(5))) : ""));
        this.table.push([set.model, point.layer, time, ...numbers]);
      }
    }
    element("numbers-table", HTMLTableElement).replaceChildren(
      ...this.table.map((cells, i) => {
        const row = document.createElement("tr");
        row.append(
          ...cells.map((text, column) => {
            const cell = document.createElement(i ? "td" : "th");
            if (!i) cell.setAttribute("scope", "col");
            if (column > 1) cell.className = "number";
            cell.textContent = i ? text : text.replace(/_/g, " ");
            return cell;
          }),
        );
        return row;
      }),
    );
  }
}
