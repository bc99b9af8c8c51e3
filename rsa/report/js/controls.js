"use strict";
// Menus, numbers and buttons of the page.

/**
 * Return an element of the page that must be there.
 * @template {Element} T @param {string} id @param {new () => T} kind @returns {T}
 */
function element(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`The page has no ${id}.`);
  return found;
}

/** Fill a menu, in groups where there are some; keep what was chosen if it is still there. @param {HTMLSelectElement} menu @param {{id: string, label: string, group?: string}[]} choices @param {string} chosen */
function fillMenu(menu, choices, chosen) {
  const key = JSON.stringify(choices);
  if (menu.dataset.choices !== key) {
    menu.dataset.choices = key;
    /** @type {Map<string, HTMLOptGroupElement>} */
    const groups = new Map();
    menu.replaceChildren();
    for (const choice of choices) {
      const option = new Option(choice.label, choice.id);
      if (!choice.group) {
        menu.append(option);
        continue;
      }
      let group = groups.get(choice.group);
      if (!group) {
        group = document.createElement("optgroup");
        group.label = choice.group;
        groups.set(choice.group, group);
        menu.append(group);
      }
      group.append(option);
    }
  }
  menu.value = chosen;
}

/** Copy text; say whether it could be. @param {string} text @returns {Promise<boolean>} */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** Tell on a button that something was done, for a moment. @param {HTMLButtonElement} button @param {string} text */
function tellOn(button, text) {
  const before = button.dataset.text ?? button.textContent ?? "";
  button.dataset.text = before;
  button.textContent = text;
  window.setTimeout(() => (button.textContent = before), 1500);
}

/** Draw the legend of a scale. @param {HTMLElement} holder @param {Scale} scale @param {ShownMap} map @param {number | null} threshold On the scale; null if it is by another number. */
function drawLegend(holder, scale, map, threshold) {
  if (map.names) {
    const colours = orderedColours(map.names.length);
    holder.replaceChildren(
      ...map.names.map((name, i) => {
        const item = document.createElement("span");
        item.className = "legend-item";
        const swatch = document.createElement("span");
        swatch.className = "swatch";
        swatch.style.background = colours[i];
        item.append(swatch, name);
        return item;
      }),
    );
    return;
  }
  const isSigned = scale.palette.signed && map.values.some((value) => value < 0);
  const [low, high] = [isSigned ? -scale.to : scale.from, scale.to];
  const bar = document.createElement("canvas");
  bar.width = 256;
  bar.height = 1;
  const context = bar.getContext("2d");
  if (context) {
    for (let i = 0; i < 256; i += 1) {
      context.fillStyle = colourText(scale, low + ((high - low) * (i + 0.5)) / 256);
      context.fillRect(i, 0, 1, 1);
    }
  }
  const holding = document.createElement("span");
  holding.className = "legend-bar";
  holding.append(bar);
  for (const end of threshold === null ? [] : [threshold, ...(isSigned ? [-threshold] : [])]) {
    const share = (end - low) / (high - low);
    if (share < 0 || share > 1) continue;
    const mark = document.createElement("span");
    mark.className = "legend-threshold";
    mark.style.left = `${100 * share}%`;
    holding.append(mark);
  }
  const ends = [low, high].map((value) => {
    const text = document.createElement("span");
    text.className = "legend-end";
    text.textContent = written(value);
    return text;
  });
  const unit = document.createElement("span");
  unit.className = "legend-unit";
  unit.textContent = map.unit;
  holder.replaceChildren(ends[0], holding, ends[1], unit);
}
