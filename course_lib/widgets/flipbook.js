/**
 * The flipbook: ready pictures under a slider.
 *
 * The frames arrive once, as WebP sheets with the frames one under the other, and are cut apart once. A move of the
 * slider draws one of them on a canvas: no kernel, no network. common.js and panels.js stand in front of this file.
 */

/** Seconds that playing all frames takes, where that is 2 to 12 frames a second. */
const PLAYING_TIME = 5;
/** Pixels: of the slider, and of the words under it. */
const TRACK = { height: 58, side: 14, middle: 16, words: 50 };

const STYLE = `
.marble-axis.marble-track { margin-top: 0; }
.marble-track text { font-size: 16px; }
.marble-slide { overflow-x: auto; }
.marble-slide canvas { max-width: none; }
.marble-hint[hidden] { display: none; }
`;

// ---------------------------------------------------------------- frames

/** Cut the sheets into one bitmap a frame. */
async function cut(sheets, { width, height }) {
  const ofSheet = async (sheet) => {
    const whole = await sheetBitmap(sheet);
    const rows = Array.from({ length: whole.height / height }, (_, i) => i);
    const frames = await Promise.all(rows.map((i) => createImageBitmap(whole, 0, i * height, width, height)));
    whole.close();
    return frames;
  };
  return (await Promise.all(sheets.map(ofSheet))).flat();
}

// ---------------------------------------------------------------- the slider

class Track {
  /** @param {string[]} values the frames' values as text  @param {string} label  @param {(frame) => void} seek */
  constructor(values, label, seek) {
    Object.assign(this, { values, label, seek, last: values.length - 1, frame: 0 });
    this.svg = make("svg", { height: TRACK.height, "aria-hidden": "true" });
    this.node = sliderNode("marble-axis marble-track", label, this.last, this.svg);
    const ends = { left: TRACK.side, right: TRACK.side };
    dragAlong(this.node, this.svg, ends, (share) => this.seek(Math.round(this.last * share)));
  }

  x(frame) {
    return TRACK.side + (this.width - 2 * TRACK.side) * (this.last ? frame / this.last : 0.5);
  }

  /** Draw line, ticks and words for the width at hand. */
  fit() {
    this.width = this.node.clientWidth || 800;
    const y = TRACK.middle;
    const line = (to, colour) => make("line", { x1: this.x(0), x2: to, y1: y, y2: y, stroke: `var(${colour})`,
      "stroke-width": 5, "stroke-linecap": "round" });
    this.done = line(this.x(0), "--signal");
    this.thumb = make("circle", { r: 11, cy: y, fill: "var(--signal)", stroke: "var(--paper)", "stroke-width": 3 });
    this.svg.replaceChildren(line(this.x(this.last), "--line"), ...this.#ticks(y), this.done, ...this.#words(), this.thumb);
    this.place(this.frame);
  }

  /** One a frame, where there is room to tell them apart. */
  #ticks(y) {
    if (this.width / this.last < 7) return [];
    return this.values.map((_, i) => make("line", { x1: this.x(i), x2: this.x(i), y1: y + 9, y2: y + 15,
      stroke: "var(--faint)", "stroke-width": 1.5 }));
  }

  /** The values under their ticks: as many as fit, evenly spread, with the first and the last. */
  #words() {
    // the last word ends where its tick is, so that from the middle of the one before it takes one and a half
    const widest = 1.5 * Math.max(...this.values.map((value) => value.length)) * 9 + 10;
    const room = 1 + Math.floor(this.width / widest);
    const frames = stops(this.last, room);
    const anchor = (i) => (this.last === 0 ? "middle" : i === 0 ? "start" : i === this.last ? "end" : "middle");
    const x = (i) => (anchor(i) === "start" ? 2 : anchor(i) === "end" ? this.width - 2 : this.x(i));
    return frames.map((i) => make("text", { x: x(i), y: TRACK.words, "text-anchor": anchor(i) }, this.values[i]));
  }

  place(frame) {
    this.frame = frame;
    this.node.setAttribute("aria-valuenow", String(frame));
    this.node.setAttribute("aria-valuetext", `${this.label} ${this.values[frame]}`);
    if (!this.thumb) return;
    this.thumb.setAttribute("cx", this.x(frame));
    this.done.setAttribute("x2", this.x(frame));
  }
}

// ---------------------------------------------------------------- the whole

class View {
  constructor(model, frames) {
    this.frames = frames;
    this.spec = model.get("_spec");
    this.layout = new Layout(frames, this.spec);
    this.last = frames.length - 1;
    this.frame = clamp(model.get("frame"), 0, this.last);
    this.model = model;
    const { title, label, values } = this.spec;
    this.root = make("div", { class: "marble", role: "group", "aria-label": title || `Flipbook over ${label}` });
    const rate = clamp(frames.length / PLAYING_TIME, 2, 12);
    this.player = new Player(this.last, rate, () => this.frame, (frame) => this.seek(frame), () => this.#showPlaying());
    this.track = new Track(values, label, (frame) => this.#seekByHand(frame));
    this.root.append(this.#buildHead(), this.#buildCard(), this.track.node, ...this.#buildNotes(), this.#buildBar());
    // the arrows slide a picture that is too wide
    listenToKeys(this.root, (key, { target }) => (target === this.card && /^Arrow/.test(key) ? null : this.#actions()[key]));
  }

  // ---- building

  #buildHead() {
    this.value = make("b");
    return headline(this.spec.title, make("span", {}, `${this.spec.label} = `), this.value);
  }

  #buildCard() {
    const { canvas, context, node } = pictureCard(this.spec);
    Object.assign(this, { canvas, context, card: node, rows: [[0, this.spec.width]] });
    this.slide = make("p", { class: "marble-hint", hidden: "" }, "Slide the picture sideways to see all of it.");
    return make("div", {}, node, this.slide);
  }

  /** One line for each frame, and one for all. */
  #buildNotes() {
    const { note, notes } = this.spec;
    const changing = notes.length ? changingLine(notes) : null;
    this.line = changing?.line;
    const lines = changing ? [changing.node] : [];
    if (note) lines.push(make("p", { class: "marble-note" }, note));
    return lines;
  }

  #buildBar() {
    const step = (by) => () => this.#seekByHand(this.frame + by);
    this.play = make("button", { type: "button", class: "marble-main", title: "Play or pause (space)" });
    this.play.addEventListener("click", () => this.player.toggle());
    this.loop = button("Loop", "loop", () => this.#setLoop(!this.player.looping));
    this.#setLoop(this.player.looping);
    this.#showPlaying();
    return make("div", { class: "marble-bar" }, button("First (Home)", "first", () => this.#seekByHand(0)),
      button("Back (left arrow)", "back", step(-1)), this.play, button("On (right arrow)", "on", step(1)),
      this.loop, speedChoice(this.player));
  }

  // ---- doing

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

  #setLoop(on) {
    this.player.looping = on;
    this.loop.setAttribute("aria-pressed", String(on));
  }

  #showPlaying() {
    if (!this.play) return;
    const { playing } = this.player;
    this.play.replaceChildren(icon(playing ? "pause" : "play"), playing ? "Pause" : "Play");
    this.line?.setAttribute("aria-live", playing ? "off" : "polite");
  }

  draw() {
    const { label, values, notes } = this.spec;
    this.#paint();
    this.canvas.setAttribute("aria-label", `The picture at ${label} ${values[this.frame]}`);
    this.value.textContent = values[this.frame];
    if (this.line) this.line.textContent = notes[this.frame];
    this.track.place(this.frame);
  }

  #paint() {
    paintRows(this.canvas, this.rows, this.frames[this.frame]);
  }

  /** Where the page is too narrow for a figure's words: its panels in rows, and what is still too wide slides. */
  #layOut() {
    const inside = getComputedStyle(this.card);
    const room = this.track.node.clientWidth - parseFloat(inside.paddingLeft) - parseFloat(inside.paddingRight);
    if (room <= 0) return; // a notebook that has scrolled us out of the page
    const { rows, widest, slides, style } = this.layout.at(room);
    Object.assign(this.canvas.style, style);
    markSlide(this.card, slides);
    this.slide.hidden = !slides;
    if (String(rows) === String(this.rows)) return;
    this.rows = rows;
    [this.canvas.width, this.canvas.height] = [widest, heightOf(rows)];
  }

  /** After the width has changed. */
  arrange() {
    this.#layOut();
    this.track.fit();
    this.draw();
  }

  // ---- keys

  #actions() {
    const step = (by) => () => this.#seekByHand(this.frame + by);
    return {
      ArrowRight: step(1), ArrowUp: step(1), ArrowLeft: step(-1), ArrowDown: step(-1), PageUp: step(5), PageDown: step(-5),
      Home: () => this.#seekByHand(0), End: () => this.#seekByHand(this.last), " ": () => this.player.toggle(),
    };
  }
}

/** Entry for anywidget: draw the model into el; returns how to clean up. */
async function render({ model, el }) {
  el.append(make("style", {}, COMMON_STYLE + STYLE));
  const frames = await cut(model.get("_sheets"), model.get("_spec"));
  const view = new View(model, frames);
  const leave = mount({ model, el }, view, { frame: (frame) => view.seek(frame) });
  return () => {
    view.player.stop();
    leave();
    frames.forEach((frame) => frame.close());
  };
}

standAlone(render);

export default { render };
