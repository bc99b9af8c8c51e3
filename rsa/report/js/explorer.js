"use strict";
// The page: from the link to a state, from a state to pictures, and back.

const QUALITY_GROUP = "Quality of the data";

class BrainExplorer {
  /** @param {StudyInfo} info */
  constructor(info) {
    this.info = info;
    this.maps = new StudyMaps(info);
    this.state = this.normalised(stateOf(location.hash));
    this.panels = VIEWS.map((view, i) => new SlicePanel(view, element(`slice-${i}`, HTMLElement), (mm, snaps) => this.moveTo(mm, snaps)));
    this.voxelPanel = new VoxelPanel(this.maps, (change) => this.change(change));
    this.cortex = new CortexPanel(this.maps, (mm, snaps) => this.moveTo(mm, snaps));
    /** @type {ShownMap | null} */
    this.map = null;
    /** @type {Look | null} */
    this.look = null;
    /** @type {Uint8ClampedArray | null} */
    this.paints = null;
    this.linkTimer = 0;
    this.playTimer = 0;
    this.settled = false; // whether all that the state asks for is shown
    this.turn = 0; // of the last change, so that what was loaded too late is not shown
    this.frame = 0;
    this.isStale = false;
    this.markTimer = 0;
    this.voxelFrame = 0;
  }

  // ------------------------------------------------------------------------------------------ state

  /** Fill in what a state leaves open, and replace what there is not. @param {ViewState} state @returns {ViewState} */
  normalised(state) {
    const { info, maps } = this;
    const found = { ...state };
    found.who = info.people.some((one) => one.id === state.who) ? state.who : info.people[0].id;
    const has = (/** @type {string} */ part) => maps.setsOf(found.who, part).length > 0;
    if (!has(found.part)) found.part = info.parts.map((one) => one.id).find(has) ?? "";
    const models = maps.models(found.who, found.part);
    if (!models.some((one) => one.model === found.model)) found.model = models[0].model;
    const scores = /** @type {MapSet} */ (maps.scoreSet(found.who, found.part, found.model));
    const nTimes = Math.max(1, scores.times.length);
    if (!scores.layers.includes(found.layer)) found.layer = scores.layers[Math.floor(scores.highest / nTimes)];
    const timed = scores.times.length ? scores : this.timedSet(found);
    found.time = timed ? timed.times[found.time === null ? timed.highest % timed.times.length : maps.timeIndex(timed, found.time)] : null;
    const statistics = maps.statistics(found.who, found.part, found.model);
    if (!statistics.some((one) => one.id === found.stat)) found.stat = scores.statistic;
    if (!(found.colours in PALETTES)) found.colours = "warm";
    if (found.reference !== "shown") found.reference = "best";
    if (!this.thresholds(found).some((one) => one.id === found.by)) found.by = "";
    return found;
  }

  /** Scores with times of the same person, which charts show beside those of a model without. @param {ViewState} state */
  timedSet(state) {
    const sets = this.maps.setsOf(state.who, state.part);
    return sets.find((one) => one.times.length > 1 && !one.quality && !one.test);
  }

  /** Ways to choose what is above the threshold. @param {ViewState} state */
  thresholds(state) {
    const test = this.maps.test(state.who, state.part);
    const isTested = test && this.maps.find(state.who, state.part, state.model, test.statistic);
    const choices = isTested ? [{ id: "p", label: `corrected p (${test.method})` }] : [];
    return [...choices, { id: "score", label: "size" }, { id: "none", label: "none" }];
  }

  /** @param {ViewState} state */
  threshold(state) {
    return state.by || (this.thresholds(state)[0].id === "p" ? "p" : "none");
  }

  /** Change what is shown. @param {Partial<ViewState>} change */
  change(change) {
    const isOther = ["who", "part", "model", "stat"].some((key) => key in change);
    const reset = isOther && !("from" in change || "to" in change) ? { from: null, to: null, least: null } : {};
    this.state = this.normalised({ ...this.state, ...reset, ...change });
    this.update();
  }

  /** Move the crosshair; to the middle of a voxel if it snaps to them. @param {number[]} mm @param {boolean} snaps */
  moveTo(mm, snaps) {
    const grid = this.grid();
    if (!grid) return;
    const voxel = nearestVoxel(transformed(grid.inverse, mm));
    const isInside = flatIndex(voxel, grid.info.shape) >= 0;
    this.state.mm = snaps && isInside ? transformed(grid.info.affine, voxel) : mm;
    for (const panel of this.panels) panel.mm = this.state.mm; // the next key may come before the next picture
    this.drawSoon();
    this.linkSoon();
  }

  grid() {
    return this.maps.grids[this.maps.person(this.state.who).space];
  }

  // ---------------------------------------------------------------------------------------- pictures

  /** Bring menus, map and voxel in line with the state, once what they need is loaded. */
  async update() {
    const turn = (this.turn += 1);
    this.settled = false;
    this.fillMenus();
    const needed = this.maps.needed(this.state);
    const besides = needed.filter((set) => !this.maps.codes.has(set.piece) && this.maps.isBeside(set.piece));
    const slow = window.setTimeout(() => this.tell(besides.length ? "Loading a file beside this page\u2026" : "Loading\u2026"), 300);
    try {
      const space = this.maps.person(this.state.who).space;
      const brain = this.maps.loadBackground(this.state.who);
      await Promise.all([this.maps.loadGrid(space), brain, ...needed.map((set) => this.maps.load(set))]);
      if (turn !== this.turn) return;
      this.tell("");
      this.drawMap();
    } catch (error) {
      this.tell(error instanceof Error ? error.message : String(error));
    } finally {
      window.clearTimeout(slow);
    }
    this.linkSoon();
    const who = this.state.who;
    await Promise.all([this.loadScores(), this.maps.loadCounts(who)]).catch((error) => this.tell(String(error.message ?? error)));
    if (turn !== this.turn) return;
    this.showVoxelSoon();
    this.settled = true;
  }

  /** Load the scores of the person that lie in the page; those beside it are loaded when they are looked at. */
  async loadScores() {
    const { who, part } = this.state;
    for (const set of this.info.sets) {
      const isWanted = set.who === who && set.part === part && !set.extra && !this.maps.codes.has(set.piece);
      if (isWanted && !this.maps.isBeside(set.piece)) await this.maps.load(set);
    }
  }

  drawMap() {
    const grid = this.grid();
    this.map = this.maps.shown(this.state);
    if (!grid || !this.map) return;
    const { map, state } = this;
    const isTime = state.stat === PEAK_TIME;
    const first = isTime ? Math.min(...map.values.filter((value) => !Number.isNaN(value)), map.limit) : 0;
    const to = state.to ?? (isTime || map.names ? map.limit : Number(map.limit.toPrecision(2)) || 1);
    const scale = scaleOf(isTime ? "viridis" : state.colours, state.from ?? first, to);
    const by = this.threshold(state);
    const least = state.least ?? Number((map.top / 2).toPrecision(2));
    const { significant, strength } = map;
    this.look = {
      map,
      scale,
      layerColours: map.names ? orderedColours(map.names.length).map((text) => (text.match(/\d+/g) ?? []).map(Number)) : null,
      hasThreshold: by !== "none",
      isAbove:
        by === "p" && significant
          ? (voxel) => significant[voxel] === 1
          : by === "score"
            ? (voxel) => Math.abs(strength[voxel]) >= least
            : () => false,
    };
    this.paints = paintVoxels(this.look);
    if (!this.state.mm.length) this.state.mm = this.peak() ?? this.middle(grid);
    const background = this.maps.background(state.who);
    for (const panel of this.panels) {
      if (panel.grid !== grid || panel.background !== background) panel.resize(grid, background);
    }
    drawLegend(element("legend", HTMLElement), scale, map, by === "score" ? least : null);
    this.tellLegend(by, least);
    this.fillNumbers(scale, by, least);
    this.draw();
    if (!document.documentElement.dataset.ready) {
      document.documentElement.dataset.ready = "picture";
      performance.mark("first-picture");
    }
    window.setTimeout(() => this.paintSurface(), 0);
  }

  /** @param {string} by @param {number} least */
  tellLegend(by, least) {
    const { state, map, look } = this;
    if (!map || !look) return;
    const test = this.maps.test(state.who, state.part);
    const scores = this.maps.scoreSet(state.who, state.part, state.model);
    const words = [];
    if (by === "p" && test) {
      const n = map.significant ? map.significant.reduce((sum, value) => sum + (value === 1 ? 1 : 0), 0) : 0;
      const alpha = state.alpha ?? test.alpha;
      words.push(`Outlined: corrected p \u2264 ${written(alpha).replace("0.", ".")} (${test.words}), ${n.toLocaleString("en")} voxels; the rest is faded.`);
      if (test.clusters) words.push("That p is of a cluster as a whole, not of each voxel.");
    } else if (by === "score") words.push(`Outlined: ${map.strength === map.values ? "size" : "score"} ${written(least)} or more; the rest is faded.`);
    else words.push("No threshold: the fainter, the smaller.");
    if (state.stat === BEST_LAYER || state.stat === PEAK_TIME) words.push("Best of many: above 0 by chance alone, so faint colours mean nothing.", `Made here of rounded scores: where two are closer than ${written(Math.max(...(scores?.steps ?? [0])), 1)}, the file may have the other.`);
    if (map.rounding && scores) words.push(`Values are those of the file within ${map.rounding.toExponential(1).replace("e-", " \u00d7 10\u207b").replace(/\d+$/, (digits) => [...digits].map((digit) => "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"[Number(digit)]).join(""))}.`);
    element("legend-text", HTMLElement).textContent = words.join(" ");
    element("legend", HTMLElement).setAttribute("aria-label", `Colours: ${map.names ? map.names.join(", ") : `${written(look.scale.from)} to ${written(look.scale.to)}`}, ${map.unit}`);
  }

  /** Draw the slices now. */
  draw() {
    for (const panel of this.panels) panel.draw(this.state.mm, this.look, this.paints);
    const field = element("place", HTMLInputElement);
    if (document.activeElement !== field) field.value = this.state.mm.map(signed).join(", ");
    this.showVoxelSoon();
  }

  /** Draw the slices, at once or, if they were drawn for this picture of the screen already, with the next. */
  drawSoon() {
    if (this.frame) {
      this.isStale = true;
      return;
    }
    this.draw();
    this.isStale = false;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      if (this.isStale) this.drawSoon();
    });
    this.markSoon();
  }

  /** Mark the crosshair on the cortex once it rests: that is drawn anew as a whole. */
  markSoon() {
    window.clearTimeout(this.markTimer);
    this.markTimer = window.setTimeout(() => this.cortex.mark(this.state.mm), 120);
  }

  /** Tell of the voxel after the slices are drawn. */
  showVoxelSoon() {
    if (this.voxelFrame) return;
    this.voxelFrame = window.setTimeout(() => {
      this.voxelFrame = 0;
      const place = this.place();
      if (!place) return;
      this.voxelPanel.show(this.state, place);
      document.documentElement.dataset.voxel = String(place.voxel);
    }, 0);
  }

  /** @returns {Place | null} */
  place() {
    const grid = this.grid();
    if (!grid || !this.state.mm.length) return null;
    const index = nearestVoxel(transformed(grid.inverse, this.state.mm));
    const flat = flatIndex(index, grid.info.shape);
    return { mm: this.state.mm, index, voxel: flat < 0 ? -1 : grid.positions[flat], grid };
  }

  /** Where the map is highest: among what is above the threshold, if something is. */
  peak() {
    const { look } = this;
    const grid = this.grid();
    if (!look || !grid) return null;
    const { strength } = look.map;
    let [best, isAbove] = [-1, false];
    for (let voxel = 0; voxel < strength.length; voxel += 1) {
      if (Number.isNaN(strength[voxel])) continue;
      const above = look.isAbove(voxel);
      if (isAbove && !above) continue;
      if (best < 0 || (above && !isAbove) || strength[voxel] > strength[best]) [best, isAbove] = [voxel, above];
    }
    return best < 0 ? null : transformed(grid.info.affine, voxelAt(grid.flat[best], grid.info.shape));
  }

  /** @param {Grid} grid */
  middle(grid) {
    return grid.info.box.map(([from, to]) => (from + to) / 2);
  }

  // ----------------------------------------------------------------------------------------- surface

  async paintSurface() {
    const { look, paints } = this;
    const grid = this.grid();
    if (!look || !paints || !grid) return;
    await this.cortex.paint(this.maps.person(this.state.who).space, grid, look, paints);
    this.markSoon();
  }

  async startSurface() {
    if (await this.cortex.start()) await this.paintSurface();
  }

  // ------------------------------------------------------------------------------------------- menus

  fillMenus() {
    const { info, maps, state } = this;
    fillMenu(element("who", HTMLSelectElement), info.people, state.who);
    const parts = info.parts.filter((one) => maps.setsOf(state.who, one.id).length);
    element("part-field", HTMLElement).hidden = parts.length < 2;
    fillMenu(element("part", HTMLSelectElement), parts, state.part);
    const models = maps.models(state.who, state.part);
    const choices = models.map((one) => ({ id: one.model, label: one.name, ...(one.quality ? { group: QUALITY_GROUP } : {}) }));
    fillMenu(element("model", HTMLSelectElement), choices, state.model);
    const scores = /** @type {MapSet} */ (maps.scoreSet(state.who, state.part, state.model));
    const isBest = state.stat === BEST_LAYER;
    element("layer-field", HTMLElement).hidden = scores.layers.length < 2 || isBest;
    fillMenu(element("layer", HTMLSelectElement), scores.layers.map((layer) => ({ id: layer, label: layer })), state.layer);
    fillMenu(element("stat", HTMLSelectElement), maps.statistics(state.who, state.part, state.model), state.stat);
    fillMenu(element("by", HTMLSelectElement), this.thresholds(state), this.threshold(state));
    const palettes = Object.entries(PALETTES).map(([id, palette]) => ({ id, label: palette.label }));
    fillMenu(element("colours", HTMLSelectElement), palettes, state.colours);
    element("reference", HTMLSelectElement).value = state.reference;
    const hasTimes = scores.times.length > 1 && state.stat !== PEAK_TIME;
    element("time-field", HTMLElement).hidden = !hasTimes;
    if (!hasTimes) this.stop();
    const slider = element("time", HTMLInputElement);
    slider.max = String(Math.max(scores.times.length - 1, 0));
    slider.value = String(maps.timeIndex(scores, state.time));
    const text = state.time === null ? "" : writtenTime(state.time, scores.times);
    element("time-text", HTMLOutputElement).textContent = text;
    slider.setAttribute("aria-valuetext", text);
    document.title = `${info.title}: brain explorer`;
    this.fillDownload();
  }

  fillDownload() {
    const { state, maps } = this;
    const scores = /** @type {MapSet} */ (maps.scoreSet(state.who, state.part, state.model));
    const set = maps.find(state.who, state.part, state.model, state.stat);
    const link = element("download", HTMLAnchorElement);
    let file = set ? set.files[set.layers.indexOf(state.layer)] : (scores.derived[state.stat] ?? "");
    if (state.stat === BEST_LAYER && scores.times.length > 1) file = scores.derived[state.stat] ?? "";
    link.hidden = !file;
    link.href = file.replace("{layer}", state.layer.replace(/[^0-9a-zA-Z]/g, ""));
    link.title = file.split("/").pop() ?? "";
  }

  /** @param {Scale} scale @param {string} by @param {number} least */
  fillNumbers(scale, by, least) {
    const level = element("level", HTMLInputElement);
    element("level-field", HTMLElement).hidden = by === "none";
    element("level-name", HTMLElement).textContent = by === "p" ? "p at most" : "at least";
    const alpha = this.state.alpha ?? this.maps.test(this.state.who, this.state.part)?.alpha ?? 0.05;
    /** @type {[string, number][]} */
    const numbers = [["from", scale.from], ["to", scale.to], ["level", by === "p" ? alpha : least]];
    for (const [id, value] of numbers) {
      const field = element(id, HTMLInputElement);
      if (document.activeElement !== field) field.value = String(value);
      field.disabled = id !== "level" && this.map?.names !== null;
    }
    level.min = "0";
    level.step = by === "p" ? "0.01" : "any";
  }

  /** @param {string} text */
  tell(text) {
    element("message", HTMLElement).textContent = text;
  }

  // ------------------------------------------------------------------------------------------- link

  linkSoon() {
    window.clearTimeout(this.linkTimer);
    this.linkTimer = window.setTimeout(() => this.writeLink(), 200); // browsers allow few changes a second
  }

  writeLink() {
    window.clearTimeout(this.linkTimer);
    const hash = hashOf(this.state);
    if (hash !== location.hash) history.replaceState(null, "", hash);
  }

  // ------------------------------------------------------------------------------------------- time

  /** Go to another layer or time. @param {"layer" | "time"} what @param {number} n @param {boolean} [around] */
  stepTo(what, n, around = false) {
    const scores = this.maps.scoreSet(this.state.who, this.state.part, this.state.model);
    if (!scores) return;
    const choices = what === "layer" ? scores.layers : scores.times;
    if (choices.length < 2) return;
    const now = what === "layer" ? scores.layers.indexOf(this.state.layer) : this.maps.timeIndex(scores, this.state.time);
    const next = around ? (now + n + choices.length) % choices.length : Math.min(Math.max(now + n, 0), choices.length - 1);
    this.change({ [what]: choices[next] });
  }

  stop() {
    window.clearInterval(this.playTimer);
    this.playTimer = 0;
    element("play", HTMLButtonElement).setAttribute("aria-pressed", "false");
  }

  play() {
    if (this.playTimer) {
      this.stop();
      return;
    }
    this.playTimer = window.setInterval(() => this.stepTo("time", 1, true), 180);
    element("play", HTMLButtonElement).setAttribute("aria-pressed", "true");
  }

  // ------------------------------------------------------------------------------------------ events

  listen() {
    element("controls", HTMLFormElement).addEventListener("submit", (event) => event.preventDefault());
    /** @type {Record<string, keyof ViewState>} */
    const menus = { who: "who", part: "part", model: "model", layer: "layer", stat: "stat", by: "by", colours: "colours", reference: "reference" };
    for (const [id, key] of Object.entries(menus)) {
      const menu = element(id, HTMLSelectElement);
      menu.addEventListener("change", () => this.change({ [key]: menu.value }));
    }
    for (const id of ["level", "from", "to"]) {
      const field = element(id, HTMLInputElement);
      field.addEventListener("change", () => {
        const value = field.value === "" ? null : numberIn(field.value);
        const key = id === "level" ? (this.threshold(this.state) === "p" ? "alpha" : "least") : id;
        this.change({ [key]: value });
      });
    }
    const slider = element("time", HTMLInputElement);
    slider.addEventListener("input", () => {
      const scores = this.maps.scoreSet(this.state.who, this.state.part, this.state.model);
      if (scores) this.change({ time: scores.times[Number(slider.value)] });
    });
    element("play", HTMLButtonElement).addEventListener("click", () => this.play());
    element("peak", HTMLButtonElement).addEventListener("click", () => this.goToPeak());
    const place = element("place", HTMLInputElement);
    element("place-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      const mm = coordinatesIn(place.value);
      place.setCustomValidity(mm ? "" : "Three numbers in mm, such as \u221242, \u221274, \u22128.");
      place.reportValidity();
      if (!mm) return;
      place.blur();
      this.moveTo(mm, false);
    });
    place.addEventListener("input", () => place.setCustomValidity(""));
    const copy = element("copy-link", HTMLButtonElement);
    copy.addEventListener("click", async () => {
      this.writeLink();
      tellOn(copy, (await copied(location.href)) ? "Copied" : "Could not copy");
    });
    const help = element("help", HTMLDialogElement);
    element("help-button", HTMLButtonElement).addEventListener("click", () => help.showModal());
    document.addEventListener("keydown", (event) => this.onKey(event, help));
    window.addEventListener("hashchange", () => {
      this.state = this.normalised(stateOf(location.hash));
      this.update();
    });
    let width = 0;
    new ResizeObserver(() => {
      const now = element("slice-0", HTMLElement).clientWidth;
      const grid = this.grid();
      if (now === width || !grid || !this.look) return;
      width = now;
      for (const panel of this.panels) panel.resize(grid, panel.background);
      this.draw();
    }).observe(element("slice-0", HTMLElement));
  }

  goToPeak() {
    const mm = this.peak();
    if (mm) this.moveTo(mm, true);
  }

  /** @param {KeyboardEvent} event @param {HTMLDialogElement} help */
  onKey(event, help) {
    const target = event.target;
    const isTyping = target instanceof HTMLInputElement || target instanceof HTMLSelectElement || target instanceof HTMLTextAreaElement;
    if (isTyping || event.altKey || event.ctrlKey || event.metaKey || help.open) return;
    /** @type {Record<string, () => void>} */
    const keys = {
      "?": () => help.showModal(),
      "[": () => this.stepTo("layer", -1),
      "]": () => this.stepTo("layer", 1),
      ",": () => this.stepTo("time", -1),
      ".": () => this.stepTo("time", 1),
      g: () => {
        const field = element("place", HTMLInputElement);
        field.focus();
        field.select();
      },
      m: () => this.goToPeak(),
    };
    const action = keys[event.key];
    if (!action) return;
    action();
    event.preventDefault();
  }

  /** Say what holds for the whole page. */
  tellPage() {
    const { info } = this;
    element("title", HTMLElement).textContent = `${info.title}: brain explorer`;
    const n = info.people.filter((one) => one.id !== "group").length;
    const words = [
      `${n} ${n === 1 ? "subject" : "subjects"}${info.simulated ? ", simulated data" : ""}`,
      info.spaces[0].label,
      info.radius_mm ? `spheres of ${info.radius_mm} mm, ${info.distance} distance` : "",
      `on ${info.people[0].background?.name ?? "the mask"}`,
      "left is left",
    ];
    element("subtitle", HTMLElement).textContent = words.filter(Boolean).join(" \u00b7 ");
    const beside = Object.values(info.beside);
    element("footer", HTMLElement).textContent = beside.length
      ? `Too large for one page: ${beside.length === 1 ? "one file lies" : `${beside.length} files lie`} beside it, to be loaded when needed (${beside.slice(0, 4).join("; ")}${beside.length > 4 ? "; \u2026" : ""}). Copy the whole folder.`
      : "Everything is in this one file, which asks for nothing from the network.";
    const texts = [
      "Maps: colours show values; above the threshold they are whole and outlined, below it they are faded, not hidden (Taylor et al., 2023).",
      "Values of maps are rounded to 65,533 steps between the lowest and the highest of each map; half a step stands beside the legend. Patterns are rounded to 255 steps for each voxel.",
      `RDMs of spheres are computed here from these patterns, of the voxels within ${info.radius_mm} mm that have data.`,
      "The interval is a t interval of the mean over subjects at one voxel; it is not corrected for looking at many voxels.",
    ];
    element("help-text", HTMLElement).replaceChildren(
      ...texts.map((text) => {
        const paragraph = document.createElement("p");
        paragraph.textContent = text;
        return paragraph;
      }),
    );
  }

  /** Show the first picture, then load what else is in the page. */
  async start() {
    this.tellPage();
    this.listen();
    await this.update();
    await pageRead;
    await this.startSurface();
    await this.loadRest();
    document.documentElement.dataset.ready = "all";
    performance.mark("all-ready");
  }

  async loadRest() {
    const { maps, info } = this;
    await Promise.all([maps.loadReferences(), maps.loadRegions()]);
    this.showVoxelSoon();
    for (const patterns of info.patterns) {
      for (const delay of patterns.delays) if (!maps.isBeside(delay.piece)) await maps.loadPatterns(patterns, delay);
    }
    this.showVoxelSoon();
    for (const set of info.sets) if (!set.extra && !maps.isBeside(set.piece)) await maps.load(set);
    this.showVoxelSoon();
  }
}

/** Start, or say why it cannot. */
function startExplorer() {
  const text = document.getElementById("study")?.textContent;
  if (!text) return;
  if (typeof DecompressionStream === "undefined") {
    element("message", HTMLElement).textContent =
      "This browser is too old to unpack the maps (it has no DecompressionStream); open the page in a newer one, or the NIfTI files in the folders beside it.";
    return;
  }
  const explorer = new BrainExplorer(JSON.parse(text));
  Object.assign(window, { explorer });
  explorer.start();
}

startExplorer();
