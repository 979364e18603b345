/**
 * Figures in a narrow page: their panels in rows, so that what is written in them can be read.
 *
 * For the flipbook and, with figures.js, for a saved lesson's still figures. No import and no export: this file stands in
 * front of theirs.
 */

/** Parts of its own size down to which a figure's words are read well, and are read at all: 13 pixels become 11, or 10. */
const READABLE = { well: 0.82, just: 0.72 };
/** Pixels of a figure: what is narrower is no panel but an axis' label, what is lower is a line of words; the least gap. */
const THIN = { panel: 60, label: 30, line: 24, gap: 4 };

// ---------------------------------------------------------------- panels: what a narrow page shows one under the other

/** Where something is drawn in any of the frames: 1, else, where all are white, 0. */
function inkOf(frames, width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.globalCompositeOperation = "darken";
  for (const frame of frames) context.drawImage(frame, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  return Uint8Array.from({ length: width * height }, (_, i) => Number(Math.min(data[4 * i], data[4 * i + 1], data[4 * i + 2]) < 250));
}

/** The stretches [start, end] of 0 to length that `isEmpty` does not part. */
function pieces(length, isEmpty, least) {
  const found = [];
  let empty = least;
  for (let at = 0; at < length; at++) {
    if (isEmpty(at)) empty++;
    else {
      if (empty >= least) found.push([at, at]);
      found.at(-1)[1] = at + 1;
      empty = 0;
    }
  }
  return found;
}

/** Whether a narrow piece is a colour bar, which belongs to what is left of it: columns filled over much of their height. */
function isBar([start, end], ink, width, height) {
  let filled = 0;
  for (let x = start; x < end; x++) {
    let [run, longest] = [0, 0];
    for (let y = 0; y < height; y++) longest = Math.max(longest, (run = ink[y * width + x] ? run + 1 : 0));
    if (longest > 0.4 * height) filled++;
  }
  return filled >= 8;
}

/**
 * The panels [start, end] of a figure from left to right, cut where all frames are white; an axis' label stays with its
 * axis. Null for a picture without words, which is as good when it is small.
 */
function panelsOf(frames, { width, height, shown }) {
  const unit = width / shown; // pixels of a frame in one of the page
  if (unit <= 0.5) return null; // enlarged pixels
  const ink = inkOf(frames, width, height);
  const isEmpty = (from, step, count) => {
    for (let i = 0; i < count; i++) if (ink[from + i * step]) return false;
    return true;
  };
  const columns = pieces(width, (x) => isEmpty(x, width, height), THIN.gap * unit);
  const rows = pieces(height, (y) => isEmpty(y * width, 1, width), THIN.gap * unit);
  const within = ([start, end], most) => end - start > 4 * unit && end - start < most * unit;
  if (!columns.some((piece) => within(piece, THIN.label)) && !rows.some((piece) => within(piece, THIN.line))) return null;
  const panels = [];
  let gaps = [];
  columns.forEach((piece, i) => {
    if (i > 0) gaps.push(i);
    const isPanel = piece[1] - piece[0] >= THIN.panel * unit;
    if (isPanel && panels.length) {
      const size = (at) => columns[at][0] - columns[at - 1][1];
      const cut = gaps.reduce((wide, gap) => (size(gap) > size(wide) ? gap : wide));
      panels.at(-1)[1] = columns[cut - 1][1];
      panels.push([columns[cut][0], width]);
    } else if (isPanel) panels.push([columns[0][0], width]);
    if (isPanel || isBar(piece, ink, width, height)) gaps = [];
  });
  if (!panels.length) return null;
  panels.at(-1)[1] = columns.at(-1)[1];
  return panels.map(([start, end]) => [Math.max(0, start - 2), Math.min(width, end + 2)]);
}

/** Neighbouring panels together as rows [start, end], each at most so wide, or one panel. */
function rowsOf(panels, most) {
  const rows = [[...panels[0]]];
  for (const [start, end] of panels.slice(1)) {
    if (end - rows.at(-1)[0] <= most) rows.at(-1)[1] = end;
    else rows.push([start, end]);
  }
  return rows;
}

/** How a figure is laid out in the room at hand; its frames are looked at once, when the room is first too small. */
class Layout {
  /** @param {CanvasImageSource[]} frames  @param {{width, height, shown}} spec pixels of a frame, and of the page */
  constructor(frames, spec) {
    Object.assign(this, { frames, spec });
  }

  /** For so many pixels of the page: rows [start, end] of a frame, the widest, whether it slides, and the canvas' style. */
  at(room) {
    const { width, height, shown } = this.spec;
    const narrow = room < READABLE.well * shown;
    if (narrow) this.panels ??= panelsOf(this.frames, this.spec) ?? "no words";
    const worded = narrow && this.panels !== "no words";
    const rows = worded ? rowsOf(this.panels, (room / READABLE.well) * (width / shown)) : [[0, width]];
    const widest = Math.max(...rows.map(([start, end]) => end - start));
    const own = (widest * shown) / width; // pixels of the page
    const slides = worded && room < READABLE.just * own;
    const style = { width: `${slides ? Math.ceil(READABLE.well * own) : own}px`, aspectRatio: `${widest} / ${rows.length * height}` };
    return { rows, widest, slides, style };
  }
}

/** Paint a frame's rows one under the other, each in the middle of the canvas. */
function paintRows(canvas, rows, frame, height) {
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  if (rows.length > 1) context.fillRect(0, 0, canvas.width, canvas.height);
  rows.forEach(([start, end], i) => {
    const [wide, left] = [end - start, Math.round((canvas.width - end + start) / 2)];
    context.drawImage(frame, start, 0, wide, height, left, i * height, wide, height);
  });
}
