/**
 * The scrubber: a denoising run under a slider.
 *
 * The frames arrive once, as sheets (PNG or WebP: row f is frame f, column i is image i). They are unpacked into
 * bytes, and from then on every move of the slider is a copy of bytes to a canvas: no kernel, no network.
 *
 * One module, two surfaces: JupyterLab calls `render` with a widget model, and in a saved page `standAlone` calls it with
 * a model that has no kernel behind it. common.js stands in front of this file.
 */

/** Greys between -1 and 1; eps is shown between -3 and 3. */
const EPS_SHOWN = 3;
/** What eps is painted with, from -3 over 0 to 3, on a light page and on a dark one; filmstrip.py has the light one. */
const NOISE_RAMPS = {
  light: [[0, 82, 136], [242, 240, 236], [184, 74, 0]],
  dark: [[86, 180, 233], [36, 39, 45], [245, 160, 60]],
};
const FRAMES_PER_SECOND = 8;

const QUANTITIES = [
  { key: "x_t", sign: "x<sub>t</sub>", words: "what the sampler holds" },
  { key: "x0", sign: "x&#770;<sub>0</sub>", words: "the sculpture seen so far" },
  { key: "eps", sign: "ε&#770;", words: "the noise seen in it" },
];

Object.assign(ICONS, {
  left: "M15.5 4 7 12l8.5 8 1.8-1.8L10.6 12l6.7-6.2z",
  right: "M8.5 4 17 12l-8.5 8-1.8-1.8L13.4 12 6.7 5.8z",
  grid: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
});

const STYLE = `
.marble-run { margin: 0 0 12px; padding: 0; border: 0; }
.marble-run h3 { margin: 0 0 6px; font-size: 18px; font-weight: 650; color: var(--ink); display: flex; gap: 14px;
  align-items: baseline; }
.marble-run h3 span { font-size: 15px; font-weight: 400; color: var(--faint); font-variant-numeric: tabular-nums; }
.marble-panels { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 6px 20px; }
.marble-panel { margin: 0; min-width: 0; display: grid; grid-row: span 2; grid-template-rows: subgrid;
  grid-template-columns: minmax(0, 1fr); gap: 0; align-items: end; } /* pictures stand level under captions of any length */
.marble-several .marble-run:not(:first-of-type) .marble-panel { display: block; grid-row: auto; }
.marble-panel figcaption { margin: 0 0 6px; font-size: 15px; color: var(--faint); white-space: nowrap;
  overflow: hidden; text-overflow: ellipsis; }
.marble-panel figcaption b { font: italic 20px/1.2 "STIX Two Text", Cambria, "Times New Roman", "Liberation Serif", serif;
  color: var(--ink); margin-right: 8px; }
.marble-panel figcaption sub { font-size: 65%; line-height: 0; }
.marble-sheet { position: relative; width: 100%; margin: 0 auto; cursor: zoom-in; }
.marble-sheet canvas { display: block; width: 100%; }
.marble-picked .marble-sheet { cursor: zoom-out; max-width: 340px; }
.marble-several.marble-picked .marble-sheet { max-width: 224px; }
.marble-mark[hidden] { display: none; }
.marble-reel { position: relative; margin: 0 10px 10px; }
.marble-reel[hidden] { display: none; }
.marble-reel canvas { display: block; width: 100%; }
.marble-reel .marble-mark { top: 0; height: 100%; }
.marble-axis .name { font-size: 16px; font-weight: 600; }
.marble-reading { margin-left: auto; display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 16px; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
.marble-reading span { color: var(--faint); white-space: nowrap; }
.marble-reading b { font-weight: 600; color: var(--ink); display: inline-block; }
.marble-reading .alpha b { color: var(--signal); } .marble-reading .sigma b { color: var(--noise); }
.marble-choice { display: flex; align-items: center; gap: 8px; margin: 0 0 10px; font-size: 16px; }
.marble-choice[hidden] { display: none; }
.marble-choice button { flex: none; white-space: nowrap; }
.marble-choice output { min-width: min(8em, 30%); text-align: center; }
:where(.marble-narrow) .marble-panels { gap: 6px 8px; }
:where(.marble-narrow) .marble-panel figcaption { white-space: normal; }
:where(.marble-narrow) .marble-reading { margin-left: 0; flex-basis: 100%; }
/* on a phone the predicted images over the full width, the other two below them */
.marble:where(.marble-phone):not(.marble-several, .marble-picked) .marble-panels { grid-template-columns: repeat(2, minmax(0, 1fr)); }
.marble:where(.marble-phone):not(.marble-several, .marble-picked) .marble-panel:nth-child(2) { grid-column: span 2; order: -1; }
:where(.marble-phone) .marble-panel figcaption { font-size: 14px; }
:where(.marble-phone) .marble-reading { gap: 2px 12px; font-size: 15px; }
`;

// ---------------------------------------------------------------- small tools

/** The index of the value nearest to `wanted`. */
function nearest(values, wanted) {
  let best = 0;
  values.forEach((value, i) => {
    if (Math.abs(value - wanted) < Math.abs(values[best] - wanted)) best = i;
  });
  return best;
}

// ---------------------------------------------------------------- frames

/** Unpack one sheet to bytes in the order [frame][image][row][column][channel]. */
async function unpack(sheet, frames, { images, channels, height, width }) {
  const bitmap = await sheetBitmap(sheet);
  const canvas = make("canvas", { width: bitmap.width, height: bitmap.height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const out = new Uint8Array(frames * images * height * width * channels);
  let at = 0;
  for (let f = 0; f < frames; f++) {
    const band = context.getImageData(0, f * height, images * width, height).data;
    for (let i = 0; i < images; i++) {
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          const from = 4 * (y * images * width + i * width + x);
          for (let c = 0; c < channels; c++) out[at++] = band[from + c];
        }
      }
    }
  }
  return out;
}

/** Bytes to values from -scale to scale. */
function restore(bytes, scale) {
  const values = new Float32Array(bytes.length);
  for (let i = 0; i < bytes.length; i++) values[i] = (bytes[i] / 127.5 - 1) * scale;
  return values;
}

/** Values to the bytes that are shown: -shown is 0, shown is 255. */
function expose(values, shown) {
  const bytes = new Uint8ClampedArray(values.length);
  for (let i = 0; i < values.length; i++) bytes[i] = (values[i] / shown + 1) * 127.5;
  return bytes;
}

/** eps may be packed as its difference to the first frame: add that again. */
function addFirst(values, frames) {
  const size = values.length / frames;
  for (let i = size; i < values.length; i++) values[i] += values[i % size];
  return values;
}

/** x_t = alpha x0 + sigma eps, where the run did not bring it along. */
function compose(x0, eps, alpha, sigma) {
  const size = x0.length / alpha.length;
  const x_t = new Float32Array(x0.length);
  for (let f = 0; f < alpha.length; f++) {
    for (let i = f * size; i < (f + 1) * size; i++) x_t[i] = alpha[f] * x0[i] + sigma[f] * eps[i];
  }
  return x_t;
}

/** All that is shown of one run: {x_t, x0, eps}, bytes ready for the palette. */
async function develop(run, sheets, spec) {
  const frames = run.t.length;
  const read = async (key) => {
    const { sheet, scale, first } = run.sheets[key];
    const values = restore(await unpack(sheets[sheet], frames, spec), scale);
    return first ? addFirst(values, frames) : values;
  };
  const [x0, eps] = await Promise.all([read("x0"), read("eps")]);
  const x_t = run.sheets.x_t ? await read("x_t") : compose(x0, eps, run.alpha, run.sigma);
  return { x_t: expose(x_t, 1), x0: expose(x0, 1), eps: expose(eps, EPS_SHOWN) };
}

const rgba = (r, g, b) => (255 << 24) | (b << 16) | (g << 8) | r;

/** 256 colours for a one-channel quantity: greys, or the ramp for noise. */
function palette(key, dark) {
  const ramp = NOISE_RAMPS[dark ? "dark" : "light"];
  const colours = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    const place = i / 127.5;
    const [low, high] = place < 1 ? [0, 1] : [1, 2];
    const mix = (c) => Math.round(ramp[low][c] + (ramp[high][c] - ramp[low][c]) * (place - low));
    colours[i] = key === "eps" ? rgba(mix(0), mix(1), mix(2)) : rgba(i, i, i);
  }
  return colours;
}

/**
 * Copy one image of one frame into a picture.
 * @param {{bytes: Uint8ClampedArray, colours: Uint32Array, spec: object}} source
 * @param {{pixels: Uint32Array, stride: number, left: number, top: number}} to the picture, its width, and where in it
 */
function copyImage({ bytes, colours, spec }, frame, image, { pixels, stride, left, top }) {
  const { images, channels, height, width } = spec;
  let from = (frame * images + image) * height * width * channels;
  for (let y = 0; y < height; y++) {
    let to = (top + y) * stride + left;
    for (let x = 0; x < width; x++, to++, from += channels) {
      pixels[to] = channels === 1 ? colours[bytes[from]] : rgba(bytes[from], bytes[from + 1], bytes[from + 2]);
    }
  }
}

// ---------------------------------------------------------------- a panel: one quantity of one run

class Panel {
  /** @param {{key: string, words: string}} quantity  @param {Uint8ClampedArray} bytes  @param {object} spec */
  constructor({ key, words }, bytes, spec) {
    Object.assign(this, { bytes, spec, key, words, colours: palette(key, false) });
    this.canvas = make("canvas", { role: "img" });
    this.mark = make("div", { class: "marble-mark", hidden: "" });
    this.node = make("div", { class: "marble-sheet" }, this.canvas, this.mark);
    this.small = make("canvas"); // one canvas pixel a pixel of the images
    this.arrange(null);
  }

  /** Lay out all images, or one picked image alone. */
  arrange(picked) {
    const { images, columns, height, width } = this.spec;
    this.shown = picked === null ? Array.from({ length: images }, (_, i) => i) : [picked];
    this.columns = Math.min(columns, this.shown.length);
    this.rows = Math.ceil(this.shown.length / this.columns);
    this.small.width = this.columns * (width + 1) - 1; // a gap of one pixel
    this.small.height = this.rows * (height + 1) - 1;
    this.context = this.small.getContext("2d");
    this.picture = this.context.createImageData(this.small.width, this.small.height);
    this.canvas.style.aspectRatio = `${this.small.width} / ${this.small.height}`;
    this.fit();
  }

  /** As many canvas pixels as the screen has, in whole steps, so that the image's pixels stay square. */
  fit() {
    const wanted = (this.canvas.clientWidth || 300) * (window.devicePixelRatio || 1);
    const zoom = clamp(Math.ceil(wanted / this.small.width), 1, 16);
    this.canvas.width = this.small.width * zoom;
    this.canvas.height = this.small.height * zoom;
    this.target = this.canvas.getContext("2d");
    this.target.imageSmoothingEnabled = false;
  }

  draw(frame) {
    const pixels = new Uint32Array(this.picture.data.buffer);
    const { height, width } = this.spec;
    this.shown.forEach((image, place) => {
      const left = (place % this.columns) * (width + 1);
      const top = Math.floor(place / this.columns) * (height + 1);
      copyImage(this, frame, image, { pixels, stride: this.small.width, left, top });
    });
    this.context.putImageData(this.picture, 0, 0);
    this.target.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.target.drawImage(this.small, 0, 0, this.canvas.width, this.canvas.height);
  }

  /** The image under the pointer, or null. */
  imageAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * this.columns);
    const row = Math.floor(((event.clientY - box.top) / box.height) * this.rows);
    if (column < 0 || column >= this.columns || row < 0) return null;
    return this.shown[row * this.columns + column] ?? null;
  }

  /** Outline one image of the grid, or none. */
  outline(image) {
    const place = this.shown.length > 1 && image !== null ? this.shown.indexOf(image) : -1;
    this.mark.hidden = place < 0;
    if (place < 0) return;
    const { height, width } = this.spec;
    const percent = (pixels, whole) => `${(100 * pixels) / whole}%`;
    this.mark.style.left = percent((place % this.columns) * (width + 1), this.small.width);
    this.mark.style.top = percent(Math.floor(place / this.columns) * (height + 1), this.small.height);
    this.mark.style.width = percent(width, this.small.width);
    this.mark.style.height = percent(height, this.small.height);
  }
}

// ---------------------------------------------------------------- the time axis: the schedule's curves as a slider

const AXIS = { height: 140, left: 10, right: 10, top: 26, bottom: 35 };
/** Pixels of the screen for one image of the reel. */
const REEL = 48;

class TimeAxis {
  /** @param {object} spec  @param {object} leader the run whose steps the slider stops at  @param {(frame) => void} seek */
  constructor(spec, leader, seek) {
    Object.assign(this, { spec, leader, seek, frame: 0 });
    this.svg = make("svg", { height: AXIS.height, "aria-hidden": "true" });
    this.reel = make("canvas", { height: spec.height, "aria-hidden": "true" });
    this.slot = make("div", { class: "marble-mark" });
    this.strip = make("div", { class: "marble-reel", hidden: "" }, this.reel, this.slot);
    const label = "Step of the run, from noise to image";
    this.node = sliderNode("marble-axis", label, leader.t.length - 1, this.strip, this.svg);
    dragAlong(this.node, this.svg, AXIS, (share) => this.seek(nearest(leader.t, spec.curve.T * (1 - share))));
  }

  x(t) {
    return AXIS.left + (this.width - AXIS.left - AXIS.right) * (1 - t / this.spec.curve.T);
  }

  y(value) {
    return AXIS.top + (AXIS.height - AXIS.top - AXIS.bottom) * (1 - value / this.highest);
  }

  /** Draw curves, ticks and names for the width at hand. */
  fit() {
    this.width = this.node.clientWidth || 800;
    const { t, alpha, sigma, T } = this.spec.curve;
    this.highest = Math.max(1, ...sigma, ...alpha);
    const line = (values) => "M" + t.map((time, i) => `${this.x(time).toFixed(1)} ${this.y(values[i]).toFixed(1)}`).join("L");
    const base = this.y(0);
    const area = `${line(alpha)}L${this.x(T)} ${base}L${this.x(0)} ${base}z`;
    this.marker = make("line", { y1: AXIS.top - 8, y2: base + 6, stroke: "var(--ink)", "stroke-width": 2 });
    this.dots = ["--signal", "--noise"].map((colour) => this.#dot(colour));
    this.thumb = make("path", { d: `M0 ${base + 4}l9 12h-18z`, fill: "var(--ink)" });
    this.hand = make("g", {}, this.marker, this.thumb, ...this.dots);
    this.svg.replaceChildren(
      make("path", { d: area, fill: "var(--signal)", opacity: 0.1 }),
      make("line", { x1: this.x(T), x2: this.x(0), y1: base, y2: base, stroke: "var(--line)", "stroke-width": 1.5 }),
      ...this.#stops(base),
      make("path", { d: line(alpha), fill: "none", stroke: "var(--signal)", "stroke-width": 3 }),
      make("path", { d: line(sigma), fill: "none", stroke: "var(--noise)", "stroke-width": 3, "stroke-dasharray": "9 4" }),
      ...this.#names(base),
      this.hand,
    );
    this.place(this.frame);
  }

  /** Above the curves, one image as it is seen at each time: source as for copyImage, or null for no reel. */
  showReel(source, image) {
    this.strip.hidden = source === null;
    if (source === null) return;
    const { height, width } = this.spec;
    this.slots = Math.max(2, Math.floor((this.width - AXIS.left - AXIS.right) / REEL));
    this.reel.width = this.slots * (width + 1) - 1;
    const context = this.reel.getContext("2d");
    const picture = context.createImageData(this.reel.width, height);
    const pixels = new Uint32Array(picture.data.buffer);
    for (let i = 0; i < this.slots; i++) {
      const frame = nearest(this.leader.t, this.spec.curve.T * (1 - i / (this.slots - 1)));
      copyImage(source, frame, image, { pixels, stride: this.reel.width, left: i * (width + 1), top: 0 });
    }
    context.putImageData(picture, 0, 0);
    this.#markSlot();
  }

  #markSlot() {
    const share = 1 - this.leader.t[this.frame] / this.spec.curve.T;
    const { width } = this.spec;
    this.slot.style.left = `${(100 * Math.round(share * (this.slots - 1)) * (width + 1)) / this.reel.width}%`;
    this.slot.style.width = `${(100 * width) / this.reel.width}%`;
  }

  #dot(colour) {
    return make("circle", { r: 6, fill: `var(${colour})`, stroke: "var(--paper)", "stroke-width": 2 });
  }

  /** A tick where each step of the leading run is. */
  #stops(base) {
    return this.leader.t.map((t) =>
      make("line", { x1: this.x(t), x2: this.x(t), y1: base - 4, y2: base + 4, stroke: "var(--faint)", "stroke-width": 1.5 }),
    );
  }

  #names(base) {
    const { T } = this.spec.curve;
    const text = (x, y, words, more = {}) => make("text", { x, y, ...more }, words);
    const middle = { "text-anchor": "middle" };
    // else "t = 1000" would run into "750"
    const between = this.width < 260 ? [] : this.width < 440 ? [0.5] : [0.75, 0.5, 0.25];
    const [noise, image] = this.width < 260 ? ["σ", "α"] : ["σ, the noise", "α, the image"];
    return [
      text(this.x(T), AXIS.top - 11, noise, { class: "name", style: "fill: var(--noise)" }),
      text(this.x(0), AXIS.top - 11, image, { class: "name", style: "fill: var(--signal)", "text-anchor": "end" }),
      text(this.x(T), base + 30, `t = ${T}`),
      ...between.map((share) => text(this.x(share * T), base + 30, String(Math.round(share * T)), middle)),
      text(this.x(0), base + 30, "t = 0", { "text-anchor": "end" }),
    ];
  }

  /** Move the marker. */
  place(frame) {
    this.frame = frame;
    if (!this.hand) return;
    if (!this.strip.hidden) this.#markSlot();
    this.hand.setAttribute("transform", `translate(${this.x(this.leader.t[frame]).toFixed(1)} 0)`);
    this.dots[0].setAttribute("cy", this.y(this.leader.alpha[frame]));
    this.dots[1].setAttribute("cy", this.y(this.leader.sigma[frame]));
  }

  speak(text) {
    this.node.setAttribute("aria-valuenow", String(this.frame));
    this.node.setAttribute("aria-valuetext", text);
  }
}

// ---------------------------------------------------------------- the whole

class View {
  constructor(model, films) {
    this.model = model;
    this.spec = model.get("_spec");
    this.leader = this.spec.runs.reduce((long, run) => (run.t.length > long.t.length ? run : long));
    this.last = this.leader.t.length - 1;
    this.frame = clamp(model.get("frame"), 0, this.last);
    this.picked = model.get("picked") ?? null;
    this.cursor = this.picked ?? 0;
    this.root = make("div", { class: "marble", role: "group", "aria-label": this.#title() });
    this.root.classList.toggle("marble-several", this.spec.runs.length > 1);
    this.player = new Player(this.last, FRAMES_PER_SECOND, () => this.frame, (frame) => this.seek(frame), () => this.#showPlaying());
    this.axis = new TimeAxis(this.spec, this.leader, (frame) => this.#seekByHand(frame));
    this.spoken = make("div", { class: "marble-spoken", "aria-live": "polite" });
    this.runs = this.spec.runs.map((run, i) => this.#buildRun(run, films[i], i));
    const hint = "Drag along the curves, or use ← →. Space plays. Click an image, or press 1 to 9, to see it large.";
    this.root.append(this.#buildChoice(), ...this.runs.map((run) => run.node), this.axis.node, this.#buildBar(),
      make("p", { class: "marble-hint" }, hint), this.spoken);
    listenToKeys(this.root, (key) => this.#actions()[key] ?? this.#digit(key));
  }

  #title() {
    const names = this.spec.runs.map((run) => run.title).filter(Boolean);
    return `Scrubber${names.length ? ": " + names.join(", ") : ""}`;
  }

  // ---- building

  #buildRun(run, film, number) {
    const panels = QUANTITIES.map((quantity) => new Panel(quantity, film[quantity.key], this.spec));
    panels.forEach((panel) => this.#listen(panel));
    const figures = panels.map((panel, i) => {
      const caption = make("figcaption", { html: `<b>${QUANTITIES[i].sign}</b>${QUANTITIES[i].words}` });
      return make("figure", { class: "marble-panel" }, ...(number === 0 ? [caption] : []), panel.node);
    });
    const where = make("span");
    const node = make("section", { class: "marble-run" });
    if (run.title) node.append(make("h3", {}, run.title, ...(this.spec.runs.length > 1 ? [where] : [])));
    node.append(make("div", { class: "marble-panels" }, ...figures));
    return { run, panels, where, node, frame: -1 };
  }

  #listen(panel) {
    panel.node.addEventListener("click", (event) => {
      const image = panel.imageAt(event);
      if (image !== null) this.#pickByHand(this.picked === null ? image : null);
    });
    panel.node.addEventListener("pointermove", (event) => this.#outline(panel.imageAt(event)));
    panel.node.addEventListener("pointerleave", () => this.#outline(null));
  }

  #buildChoice() {
    this.caption = make("output");
    const back = button("All images (Escape)", "grid", () => this.#pickByHand(null));
    back.append("All images");
    const go = (by) => () => this.pick((this.picked + by + this.spec.images) % this.spec.images);
    this.choice = make("div", { class: "marble-choice" }, back, button("Image before", "left", go(-1)), this.caption,
      button("Image after", "right", go(1)));
    return this.choice;
  }

  #buildBar() {
    const step = (by) => () => this.#seekByHand(this.frame + by);
    this.play = make("button", { type: "button", class: "marble-main", title: "Play or pause (space)" });
    this.play.addEventListener("click", () => this.player.toggle());
    this.loop = button("Loop", "loop", () => this.#setLoop(!this.player.looping));
    this.#setLoop(this.player.looping);
    this.#showPlaying();
    return make("div", { class: "marble-bar" }, button("First step (Home)", "first", () => this.#seekByHand(0)),
      button("Step back (left arrow)", "back", step(-1)), this.play, button("Step on (right arrow)", "on", step(1)),
      this.loop, speedChoice(this.player), this.#buildReading());
  }

  #buildReading() {
    this.reading = {};
    const entry = (name, words, width) => {
      this.reading[name] = make("b", { style: `min-width: ${width}` });
      return make("span", { class: name }, words, " ", this.reading[name]);
    };
    const digits = String(this.leader.steps - 1).length;
    return make("div", { class: "marble-reading", "aria-hidden": "true" }, entry("step", "step", `${digits * 2 + 2}ch`),
      entry("t", "t", `${String(this.spec.curve.T).length}ch`), entry("alpha", "α", "0"), entry("sigma", "σ", "0"));
  }

  // ---- doing

  /** Show a frame of the leading run, and of every other run the frame nearest in time. */
  seek(frame) {
    frame = clamp(frame, 0, this.last);
    if (frame === this.frame) return;
    this.frame = frame;
    this.draw();
    tell(this.model, "frame", frame);
  }

  #seekByHand(frame) {
    this.player.stop();
    this.seek(frame);
  }

  /** Show one image large, or all with null. */
  pick(image) {
    if (image === this.picked) return;
    this.picked = image;
    if (image !== null) this.cursor = image;
    this.#outline(null);
    this.#layOut();
    this.#say(image === null ? `All ${this.spec.images} images` : `${this.#name(image)}, large`);
    tell(this.model, "picked", image);
  }

  /** The next key goes to the slider: what was clicked may be gone. */
  #pickByHand(image) {
    this.pick(image);
    this.axis.node.focus({ preventScroll: true });
  }

  #name(image) {
    const title = this.spec.titles[image];
    return `Image ${image + 1} of ${this.spec.images}${title ? ": " + title : ""}`;
  }

  #outline(image) {
    for (const { panels } of this.runs) panels.forEach((panel) => panel.outline(image));
  }

  #setLoop(on) {
    this.player.looping = on;
    this.loop.setAttribute("aria-pressed", String(on));
  }

  #showPlaying() {
    if (!this.play) return;
    const { playing } = this.player;
    this.play.replaceChildren(icon(playing ? "pause" : "play"), playing ? "Pause" : "Play");
    if (this.started || playing) this.#say(playing ? "Playing" : `Paused at ${this.#place()}`);
    this.started = true;
  }

  /** Only what the eye sees and the slider doesn't say: a screen reader hears each step from the slider itself. */
  #say(text) {
    this.spoken.textContent = text;
  }

  #place() {
    const { step, steps, t, alpha, sigma } = this.leader;
    const [a, s] = [alpha, sigma].map((values) => values[this.frame].toFixed(3));
    return `step ${step[this.frame]} of ${steps - 1}, t ${t[this.frame]}, alpha ${a}, sigma ${s}`;
  }

  // ---- drawing

  draw() {
    const time = this.leader.t[this.frame];
    for (const entry of this.runs) this.#drawRun(entry, entry.run === this.leader ? this.frame : nearest(entry.run.t, time));
    this.axis.place(this.frame);
    this.axis.speak(this.#place());
    const { step, steps, t, alpha, sigma } = this.leader;
    this.reading.step.textContent = `${step[this.frame]}/${steps - 1}`;
    this.reading.t.textContent = t[this.frame];
    this.reading.alpha.textContent = alpha[this.frame].toFixed(3);
    this.reading.sigma.textContent = sigma[this.frame].toFixed(3);
  }

  #drawRun(entry, frame) {
    if (frame === entry.frame) return;
    entry.frame = frame;
    entry.panels.forEach((panel) => panel.draw(frame));
    entry.where.textContent = `step ${entry.run.step[frame]} of ${entry.run.steps - 1}, t = ${entry.run.t[frame]}`;
  }

  /** When the width has changed; 0 is a notebook that has scrolled the widget out of the page. */
  arrange() {
    const width = this.root.clientWidth;
    if (this.width !== undefined && (width === 0 || width === this.width)) return;
    this.#layOut();
  }

  /** After another image is picked or the width has changed. */
  #layOut() {
    this.width = this.root.clientWidth;
    this.root.classList.toggle("marble-picked", this.picked !== null);
    this.choice.hidden = this.picked === null;
    if (this.picked !== null) this.caption.textContent = this.#name(this.picked);
    const all = this.spec.images === 1 ? "1 image" : `${this.spec.images} images`;
    const shown = this.picked === null ? all : this.#name(this.picked);
    for (const entry of this.runs) {
      const title = entry.run.title ? `${entry.run.title}, ` : "";
      for (const panel of entry.panels) {
        panel.arrange(this.picked);
        panel.canvas.setAttribute("aria-label", `${title}${panel.words}: ${shown}, at the slider's step`);
      }
      entry.frame = -1;
    }
    this.axis.fit();
    const reel = this.picked !== null && this.runs.length === 1 ? this.runs[0].panels[1] : null; // of predicted images
    this.axis.showReel(reel, this.picked);
    this.draw();
  }

  /** Change from a light page to a dark one or back. */
  setDark(dark) {
    for (const entry of this.runs) {
      for (const panel of entry.panels) panel.colours = palette(panel.key, dark);
      entry.frame = -1;
    }
    this.draw();
  }

  // ---- keys

  #actions() {
    const step = (by) => () => this.#seekByHand(this.frame + by);
    return {
      ArrowRight: step(1), ArrowUp: step(1), ArrowLeft: step(-1), ArrowDown: step(-1), PageUp: step(5), PageDown: step(-5),
      Home: () => this.#seekByHand(0), End: () => this.#seekByHand(this.last), " ": () => this.player.toggle(),
      Enter: () => this.pick(this.picked === null ? this.cursor : null), Escape: () => this.picked !== null && this.#pickByHand(null),
    };
  }

  #digit(key) {
    const image = /^[1-9]$/.test(key) ? Number(key) - 1 : -1;
    return image >= 0 && image < this.spec.images ? () => this.pick(image) : null;
  }
}

/** Entry for anywidget: draw the model into el; returns how to clean up. */
async function render({ model, el }) {
  el.append(make("style", {}, COMMON_STYLE + STYLE));
  const { runs, ...spec } = model.get("_spec");
  const sheets = model.get("_sheets");
  const films = await Promise.all(runs.map((run) => develop(run, sheets, spec)));
  const view = new View(model, films);
  const leave = mount({ model, el }, view, { frame: (frame) => view.seek(frame), picked: (picked) => view.pick(picked ?? null) });
  return () => {
    view.player.stop();
    leave();
  };
}

standAlone(render);

export default { render };
