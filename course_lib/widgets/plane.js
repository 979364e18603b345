/**
 * The plane: a flipbook over two axes.
 *
 * The pictures arrive once, as one sheet (PNG or WebP: row r, column c of the sheet is the picture at ys[r], xs[c]). A move
 * of the point copies one of them to a canvas, or blends the four around it: no kernel, no network. common.js stands in
 * front of this file.
 */

/** What an arrow key moves by where pictures are blended, in places of the grid; where they aren't, it is one. */
const FINE_STEP = 0.25;
/** Pixels that a word of the axes needs: each letter, the gap to the next, a line. */
const WORD = { letter: 8, gap: 12, line: 30 };

const STYLE = `
.marble-plane { display: grid; grid-template-columns: minmax(0, 1.14fr) minmax(0, 1fr); gap: 10px 24px; align-items: start;
  max-width: 1000px; margin: 0 auto 10px; }
.marble-board { display: grid; grid-template-columns: auto auto minmax(0, 1fr); color: var(--faint); font-size: 16px;
  line-height: 1.2; }
.marble-pad { grid-area: 1 / 3; position: relative; background: var(--well); border-radius: 4px; cursor: crosshair;
  touch-action: none; user-select: none; -webkit-user-select: none; }
.marble-pad canvas { position: absolute; inset: 0; width: 100%; height: 100%; border-radius: 4px; }
.marble-name { color: var(--ink); font-weight: 600; text-align: center; }
.marble-name.across { grid-area: 3 / 3; }
.marble-name.up { grid-area: 1 / 1; writing-mode: vertical-rl; transform: rotate(180deg); margin-left: 4px; }
.marble-words { position: relative; font-variant-numeric: tabular-nums; white-space: nowrap; }
.marble-words.across { grid-area: 2 / 3; height: 28px; }
.marble-words.up { grid-area: 1 / 2; }
.marble-words span { position: absolute; }
.marble-words.across span { top: 6px; transform: translateX(-50%); }
.marble-words.up span { right: 8px; transform: translateY(-50%); }
.marble-cell, .marble-ring, .marble-hair { position: absolute; pointer-events: none; }
.marble-cell { outline: 3px solid var(--focus); box-shadow: 0 0 0 5px var(--paper); border-radius: 1px; }
.marble-ring { width: 22px; height: 22px; margin: -11px; border: 4px solid var(--focus); border-radius: 50%;
  box-shadow: 0 0 0 2px var(--paper), inset 0 0 0 2px var(--paper); }
.marble-hair { background: var(--focus); box-shadow: 0 0 0 1px var(--paper); opacity: 0.7; }
.marble-hair.across { left: 0; height: 2px; margin-top: -1px; }
.marble-hair.up { bottom: 0; width: 2px; margin-left: -1px; }
.marble-plane .marble-card { margin: 0; padding: 0; background: none; }
.marble-stage canvas { outline: 1px solid var(--line); }
.marble[data-dark=true] :is(.marble-stage, .marble-pad) canvas { filter: brightness(0.86); }
.marble-stage { position: relative; }
.marble-value.marble-pair { display: flex; flex-wrap: wrap; gap: 0 22px; }
.marble-pair b { display: inline-block; color: var(--signal); font-weight: 650; }
.marble-legend { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; margin: 0 0 10px; font-size: 16px; }
.marble-legend button { padding: 0 10px 0 7px; }
.marble-legend button[aria-pressed=true] { color: var(--ink); border-color: var(--ink); box-shadow: inset 0 0 0 1px var(--ink); }
.marble-legend span { color: var(--faint); margin-left: 6px; }
:where(.marble-narrow) .marble-plane { grid-template-columns: minmax(0, 1fr); }
:where(.marble-narrow) .marble-plane .marble-card { margin: 0 auto; }
:where(.marble-narrow) .marble-plane .marble-card .marble-pixels { max-width: 240px; }
:where(.marble-narrow) .marble-board { padding-right: 10px; }
`;

// ---------------------------------------------------------------- an axis: from a value to its place among the pictures

class Axis {
  /** @param {{label: string, values: (number|string)[], texts: string[], decimals: number}} spec  @param {boolean} blend */
  constructor(spec, blend) {
    Object.assign(this, spec, { blend });
    this.last = this.values.length - 1;
    this.longest = Math.max(...this.texts.map((text) => text.length));
  }

  /** The value at a place, 0 to last; between two places, that of the line between their values. */
  valueAt(place) {
    const low = Math.floor(place);
    if (low === place) return this.values[low];
    const value = this.values[low] + (this.values[low + 1] - this.values[low]) * (place - low);
    return Number(value.toPrecision(12)); // 1.55, not 1.5499999999999998
  }

  placeOf(value) {
    const exact = this.values.indexOf(value);
    if (exact >= 0 || this.last === 0) return Math.max(0, exact);
    const rising = this.values[0] < this.values[1];
    const after = this.values.findIndex((other) => (rising ? other > value : other < value));
    if (after <= 0) return after === 0 ? 0 : this.last;
    return after - 1 + (value - this.values[after - 1]) / (this.values[after] - this.values[after - 1]);
  }

  textAt(place) {
    if (!this.blend) return this.texts[place];
    const unit = 10 ** this.decimals;
    return (Math.round(this.valueAt(place) * unit) / unit + 0).toFixed(this.decimals); // + 0: never -0.00
  }

  /** A step of the arrow keys with Shift: about a fifth of the axis. */
  get large() {
    return Math.max(2, Math.round(this.last / 5));
  }
}

// ---------------------------------------------------------------- the pad

/** A path of one of three shapes, as wide as two radii: circle, square, triangle. */
function shape(kind, x, y, radius) {
  const [side, wide] = [0.88 * radius, 1.15 * radius]; // so that all three look equally large
  if (kind === 1) return new Path2D(`M${x - side} ${y - side}h${2 * side}v${2 * side}h${-2 * side}z`);
  if (kind === 2) return new Path2D(`M${x} ${y - wide}l${wide} ${2 * side}h${-2 * wide}z`);
  const path = new Path2D();
  path.arc(x, y, radius, 0, 2 * Math.PI);
  return path;
}

class Pad {
  /**
   * @param {object} spec  @param {{x: Axis, y: Axis}} axes  @param {{sheet: ImageBitmap, backdrop?: ImageBitmap}} pictures
   * @param {(column: number, row: number) => void} follow
   */
  constructor(spec, axes, pictures, follow) {
    Object.assign(this, { spec, axes, pictures, chosen: null, place: { column: 0, row: 0 } });
    this.canvas = make("canvas", { "aria-hidden": "true" });
    this.mark = make("div", { class: spec.blend ? "marble-ring" : "marble-cell" });
    this.hairs = ["across", "up"].map((way) => make("div", { class: `marble-hair ${way}` }));
    const count = (axes.x.last + 1) * (axes.y.last + 1);
    const label = `${axes.x.label} and ${axes.y.label}`;
    this.node = sliderNode("marble-pad", label, count - 1, this.canvas, ...this.hairs, this.mark);
    this.node.removeAttribute("aria-orientation");
    this.node.setAttribute("aria-roledescription", "slider over two axes");
    this.node.style.aspectRatio = pictures.backdrop ? `${pictures.backdrop.width} / ${pictures.backdrop.height}` : "1";
    dragOver(this.node, (event) => {
      const box = this.node.getBoundingClientRect();
      const down = (event.clientY - box.top) / box.height;
      const row = (spec.down ? down : 1 - down) * (axes.y.last + 1) - 0.5;
      follow(((event.clientX - box.left) / box.width) * (axes.x.last + 1) - 0.5, row);
    });
    this.words = { across: make("div", { class: "marble-words across" }), up: make("div", { class: "marble-words up" }) };
    this.words.up.style.width = `calc(${axes.y.longest}ch + 12px)`;
    const names = [make("div", { class: "marble-name up" }, axes.y.label), make("div", { class: "marble-name across" }, axes.x.label)];
    this.board = make("div", { class: "marble-board" }, names[0], this.words.up, this.node,
      this.words.across, names[1]);
  }

  /** Where a place is, as shares of the pad from the left and from the top. */
  #across(column) {
    return (column + 0.5) / (this.axes.x.last + 1);
  }

  #down(row) {
    const share = (row + 0.5) / (this.axes.y.last + 1);
    return this.spec.down ? share : 1 - share;
  }

  /** Draw what lies behind the point, and the axes' words, for the width at hand; 0 is a notebook scrolled away. */
  fit() {
    const { clientWidth: width, clientHeight: height } = this.node;
    if (width === 0 || (width === this.width && height === this.height)) return;
    Object.assign(this, { width, height });
    const { x, y } = this.axes;
    const word = (text, side, share) => make("span", { style: `${side}: ${100 * share}%` }, text);
    let [wide, high] = [width / (x.longest * WORD.letter + WORD.gap), height / WORD.line].map((room) => Math.max(1, Math.floor(room)));
    if (x.last === y.last) wide = high = Math.min(wide, high); // alike, where they count alike
    const columns = stops(x.last, wide);
    this.words.across.replaceChildren(...columns.map((i) => word(x.texts[i], "left", this.#across(i))));
    const rows = stops(y.last, high);
    this.words.up.replaceChildren(...rows.map((i) => word(y.texts[i], "top", this.#down(i))));
    this.paint();
  }

  /** Show the points of one class alone, or with null of all. */
  choose(chosen) {
    this.chosen = chosen;
    this.paint();
  }

  paint() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    const context = this.canvas.getContext("2d");
    const { backdrop, sheet } = this.pictures;
    const { points, down } = this.spec;
    if (backdrop) this.#spread(context, backdrop, 1, true);
    else if (!points) this.#spread(context, sheet, this.axes.y.last + 1, down);
    if (points) this.#paintPoints(context, ratio);
  }

  /** A picture over the whole pad, by `bands` from top to bottom, or the other way round. */
  #spread(context, picture, bands, down) {
    const { width, height } = this.canvas;
    context.imageSmoothingEnabled = picture.width > width;
    context.imageSmoothingQuality = "high";
    const band = picture.height / bands;
    for (let i = 0; i < bands; i++) {
      const slot = down ? i : bands - 1 - i;
      const [top, bottom] = [slot, slot + 1].map((edge) => Math.round((edge * height) / bands));
      context.drawImage(picture, 0, i * band, picture.width, band, 0, top, width, bottom - top);
    }
  }

  #paintPoints(context, ratio) {
    const { places, classes, colours } = this.spec.points;
    const radius = clamp(this.width / 130, 2.5, 4) * ratio;
    const { width, height } = this.canvas;
    const paintAll = (opacity, wanted) => {
      context.globalAlpha = opacity;
      classes.forEach((kind, i) => {
        if (!wanted(kind)) return;
        context.fillStyle = colours[kind % colours.length];
        context.fill(shape(kind % 3, this.#across(places[2 * i]) * width, this.#down(places[2 * i + 1]) * height, radius));
      });
      context.globalAlpha = 1;
    };
    if (this.chosen === null) return paintAll(0.75, () => true);
    paintAll(0.1, (kind) => kind !== this.chosen);
    paintAll(1, (kind) => kind === this.chosen);
  }

  /** Move the mark. */
  move(column, row, text) {
    const [left, top] = [this.#across(column), this.#down(row)];
    lay(this.mark, left, top, this.spec.blend ? null : this.axes);
    const [wide, high] = this.spec.blend // half the mark: the hairs end at its edge
      ? ["11px", "11px"] : [`${50 / (this.axes.x.last + 1)}%`, `${50 / (this.axes.y.last + 1)}%`];
    this.hairs[0].style.top = `${100 * top}%`;
    this.hairs[0].style.width = `calc(${100 * left}% - ${wide})`;
    this.hairs[1].style.left = `${100 * left}%`;
    this.hairs[1].style.height = `calc(${100 * (1 - top)}% - ${high})`;
    this.node.setAttribute("aria-valuenow", String(Math.round(row) * (this.axes.x.last + 1) + Math.round(column)));
    this.node.setAttribute("aria-valuetext", text);
  }
}

/** Lay a mark over a place, given as shares from the left and the top: as large as one place, where the axes are given. */
function lay(mark, left, top, axes) {
  const [wide, high] = axes ? [1 / (axes.x.last + 1), 1 / (axes.y.last + 1)] : [0, 0];
  mark.style.left = `${100 * (left - wide / 2)}%`;
  mark.style.top = `${100 * (top - high / 2)}%`;
  if (!axes) return;
  mark.style.width = `${100 * wide}%`;
  mark.style.height = `${100 * high}%`;
}

// ---------------------------------------------------------------- blending

/**
 * Blends the four pictures around a place, each with its share. On bytes: a canvas that lays one half-transparent picture
 * over the next rounds down at each.
 */
class Mixer {
  constructor(sheet, { width, height }) {
    Object.assign(this, { width, height, stride: 4 * sheet.width });
    const context = make("canvas", { width: sheet.width, height: sheet.height }).getContext("2d", { willReadFrequently: true });
    context.drawImage(sheet, 0, 0);
    this.bytes = context.getImageData(0, 0, sheet.width, sheet.height).data;
    this.picture = context.createImageData(width, height);
    this.sum = new Float32Array(4 * width * height);
  }

  /** The picture at a place. */
  at(column, row) {
    const [left, top] = [Math.floor(column), Math.floor(row)];
    const [right, low] = [column - left, row - top];
    this.sum.fill(0);
    this.#add(left, top, (1 - right) * (1 - low));
    this.#add(left + 1, top, right * (1 - low));
    this.#add(left, top + 1, (1 - right) * low);
    this.#add(left + 1, top + 1, right * low);
    this.picture.data.set(this.sum); // rounds to the nearest
    return this.picture;
  }

  #add(column, row, share) {
    if (share === 0) return; // beyond the last picture there is none
    const { width, height, stride, bytes, sum } = this;
    for (let y = 0, at = 0; y < height; y++) {
      let from = (row * height + y) * stride + 4 * column * width;
      for (let i = 0; i < 4 * width; i++) sum[at++] += share * bytes[from++];
    }
  }
}

// ---------------------------------------------------------------- the whole

class View {
  constructor(model, pictures) {
    this.model = model;
    this.pictures = pictures;
    this.spec = model.get("_spec");
    const { title, blend } = this.spec;
    this.axes = { x: new Axis(this.spec.x, blend), y: new Axis(this.spec.y, blend) };
    const { x, y } = this.axes;
    this.root = make("div", { class: "marble", role: "group", "aria-label": title || `Plane over ${x.label} and ${y.label}` });
    this.pad = new Pad(this.spec, this.axes, pictures, (column, row) => this.seek(column, row));
    const plane = make("div", { class: "marble-plane" }, this.pad.board, this.#buildCard());
    const hint = "Drag over the plane, or use the arrow keys; with Shift they take larger steps.";
    this.root.append(this.#buildHead(), plane, ...this.#buildLegend(), ...this.#buildNotes(), make("p", { class: "marble-hint" }, hint));
    listenToKeys(this.root, (key, event) => this.#actions(event.shiftKey)[key]);
    this.show(model.get("value"));
    this.draw();
  }

  // ---- building

  #buildHead() {
    const axes = [this.axes.x, this.axes.y];
    this.readings = axes.map((axis) => make("b", { style: `min-width: ${axis.longest}ch` }));
    const pairs = axes.map((axis, i) => make("span", {}, `${axis.label} = `, this.readings[i]));
    const head = headline(this.spec.title, ...pairs);
    head.lastChild.classList.add("marble-pair");
    return head;
  }

  #buildCard() {
    const { canvas, context, node } = pictureCard(this.spec);
    context.imageSmoothingEnabled = false; // else a picture's edge would take in its neighbour's
    this.mixer = this.spec.blend ? new Mixer(this.pictures.sheet, this.spec) : null;
    Object.assign(this, { canvas, context });
    this.mark = this.spec.outlined ? make("div", { class: "marble-cell" }) : null;
    node.replaceChildren(make("div", { class: "marble-stage" }, canvas, ...(this.mark ? [this.mark] : [])));
    return node;
  }

  /** A button a class, which shows its points alone. */
  #buildLegend() {
    const { points } = this.spec;
    if (!points || (!points.names.length && !points.outside)) return [];
    this.entries = points.names.map((name, kind) => {
      const swatch = make("canvas", { width: 36, height: 36, style: "width: 18px; height: 18px", "aria-hidden": "true" });
      const context = swatch.getContext("2d");
      context.fillStyle = points.colours[kind % points.colours.length];
      context.fill(shape(kind % 3, 18, 18, 13));
      const node = make("button", { type: "button", "aria-pressed": "false", title: `Show ${name} alone` }, swatch, name);
      node.addEventListener("click", () => this.#choose(this.pad.chosen === kind ? null : kind));
      return node;
    });
    const legend = make("div", { class: "marble-legend", role: "group", "aria-label": "Classes" }, ...this.entries);
    const all = points.classes.length + points.outside;
    if (points.outside) legend.append(make("span", {}, `${points.outside} of ${all} points lie outside.`));
    return [legend];
  }

  #buildNotes() {
    if (!this.spec.notes.length) return [];
    const { line, node } = changingLine(this.spec.notes);
    this.line = line;
    return [node];
  }

  // ---- doing

  /** Go to a value [x, y], which comes from the model. */
  show([x, y]) {
    this.seek(this.axes.x.placeOf(x), this.axes.y.placeOf(y));
  }

  /** Go to a place: column and row of the pictures, whole numbers where none are blended. */
  seek(column, row) {
    const { x, y } = this.axes;
    if (Number.isNaN(column) || Number.isNaN(row)) return; // no place: the mark would stay, the readings go blank
    [column, row] = [clamp(column, 0, x.last), clamp(row, 0, y.last)];
    if (!this.spec.blend) [column, row] = [Math.round(column), Math.round(row)];
    if (column === this.column && row === this.row) return;
    const first = this.column === undefined;
    Object.assign(this, { column, row });
    if (first) return;
    this.draw();
    tell(this.model, "value", [x.valueAt(column), y.valueAt(row)]);
  }

  #choose(kind) {
    this.pad.choose(kind);
    this.entries.forEach((entry, i) => entry.setAttribute("aria-pressed", String(i === kind)));
  }

  // ---- drawing

  #paint() {
    const { width, height } = this.spec;
    if (this.mixer) return this.context.putImageData(this.mixer.at(this.column, this.row), 0, 0);
    const from = [this.column * width, this.row * height, width, height];
    this.context.drawImage(this.pictures.sheet, ...from, 0, 0, width, height);
  }

  draw() {
    const { x, y } = this.axes;
    const texts = [x.textAt(this.column), y.textAt(this.row)];
    const text = `${x.label} ${texts[0]}, ${y.label} ${texts[1]}`;
    this.#paint();
    this.pad.move(this.column, this.row, text);
    this.canvas.setAttribute("aria-label", `The picture at ${text}`);
    this.readings.forEach((reading, i) => (reading.textContent = texts[i]));
    if (this.line) this.line.textContent = this.spec.notes[Math.round(this.row) * (x.last + 1) + Math.round(this.column)];
    if (this.mark) lay(this.mark, (this.column + 0.5) / (x.last + 1), (this.row + 0.5) / (y.last + 1), this.axes);
  }

  /** After the width has changed. */
  arrange() {
    this.pad.fit();
  }

  // ---- keys

  #actions(shift) {
    const { x, y } = this.axes;
    const small = this.spec.blend ? FINE_STEP : 1;
    const across = (by) => () => this.seek(this.column + by, this.row);
    const up = (by) => () => this.seek(this.column, this.row + (this.spec.down ? -by : by));
    const [wide, high] = shift ? [x.large, y.large] : [small, small];
    return {
      ArrowRight: across(wide), ArrowLeft: across(-wide), ArrowUp: up(high), ArrowDown: up(-high), PageUp: up(y.large),
      PageDown: up(-y.large), Home: across(-Infinity), End: across(Infinity),
    };
  }
}

/** Entry for anywidget: draw the model into el; returns how to clean up. */
async function render({ model, el }) {
  el.append(make("style", {}, COMMON_STYLE + STYLE));
  const [sheet, backdrop] = await Promise.all(model.get("_sheets").map(sheetBitmap));
  const view = new View(model, { sheet, backdrop });
  const leave = mount({ model, el }, view, { value: (value) => view.show(value) });
  return () => {
    leave();
    [sheet, backdrop].forEach((picture) => picture?.close());
  };
}

standAlone(render);

export default { render };
