// Films: one picture holds all frames; a slider chooses the frame that is seen, and a button plays them.

/**
 * Let a film be played and moved through.
 * @param {HTMLElement} film
 */
function filmPlayer(film) {
  const frames = film.querySelector("img");
  const slider = film.querySelector("input");
  const button = film.querySelector("button");
  const output = film.querySelector("output");
  if (!frames || !slider || !button || !output) return;
  /** @type {string[]} */
  const labels = JSON.parse(film.dataset.labels || "[]");
  const across = Number(film.dataset.across);
  const down = Math.ceil(labels.length / across);
  let timer = 0;

  /** @param {number} frame */
  const show = (frame) => {
    const x = ((frame % across) / across) * 100;
    const y = (Math.floor(frame / across) / down) * 100;
    frames.style.transform = `translate(${-x}%, ${-y}%)`;
    slider.value = String(frame);
    slider.setAttribute("aria-valuetext", labels[frame]);
    output.textContent = labels[frame];
  };
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    button.textContent = "Play";
  };
  const play = () => {
    timer = setInterval(() => show((Number(slider.value) + 1) % labels.length), Number(film.dataset.frameMs));
    button.textContent = "Pause";
  };

  button.addEventListener("click", () => (timer ? stop() : play()));
  slider.addEventListener("input", () => {
    stop();
    show(Number(slider.value));
  });
  show(Number(slider.value));
}

addEventListener("DOMContentLoaded", () => {
  for (const film of document.querySelectorAll(".film")) filmPlayer(/** @type {HTMLElement} */ (film));
});
