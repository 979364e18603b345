/**
 * Figures in a narrow page: their panels in rows, so that what is written in them can be read.
 *
 * For the flipbook and, with figures.js, for a saved lesson's still figures. No import and no export: this file stands in
 * front of theirs.
 */

/** Parts of its own size down to which a figure's words are read well, and are read at all: 13 pixels become 11, or 10. */
const READABLE = { well: 0.82, just: 0.72 };
/** Pixels of a figure: what is narrower is no panel but an axis' label, what is lower is a line of words, or two; the least gap. */
const THIN = { panel: 60, label: 30, line: 24, lines: 40, gap: 4 };

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
 * The stretches of 0 to width that hold a panel each. What is no panel, such as the label and the numbers of an axis,
 * stands with the panel after it; behind a colour bar, with what lies nearer.
 */
function panelsAlong(columns, width, isPanel, isBar) {
  const panels = [];
  let [gaps, bar] = [[], false];
  columns.forEach((piece, i) => {
    if (i > 0) gaps.push(i);
    if (isPanel(piece) && panels.length) {
      const size = (at) => columns[at][0] - columns[at - 1][1];
      const cut = bar ? gaps.reduce((wide, gap) => (size(gap) > size(wide) ? gap : wide)) : gaps[0];
      panels.at(-1)[1] = columns[cut - 1][1];
      panels.push([columns[cut][0], width]);
    } else if (isPanel(piece)) panels.push([columns[0][0], width]);
    bar = !isPanel(piece) && (bar || isBar(piece));
    if (isPanel(piece) || isBar(piece)) gaps = [];
  });
  if (panels.length) panels.at(-1)[1] = columns.at(-1)[1];
  return panels.map(([start, end]) => [Math.max(0, start - 2), Math.min(width, end + 2)]);
}

/**
 * The bands [top, bottom] of a figure that is a grid of panels of one height; else one, the whole. The line above a panel
 * is its title where the first has one, else it names the axis of the panel before.
 */
function bandsOf(rows, height, least) {
  const tall = rows.flatMap(([top, bottom], i) => (bottom - top >= least ? [i] : []));
  const sizes = tall.map((i) => rows[i][1] - rows[i][0]);
  if (tall.length < 2 || Math.max(...sizes) > 1.15 * Math.min(...sizes)) return [[0, height]];
  const titled = tall[0] > 0;
  const firsts = tall.slice(1).map((at, k) => (titled && at - 1 > tall[k] ? at - 1 : at));
  const edges = [0, ...firsts.map((at) => Math.round((rows[at - 1][1] + rows[at][0]) / 2)), height];
  return edges.slice(1).map((bottom, k) => [edges[k], bottom]);
}

/** A figure as one panel. */
function onePanel({ width, height }) {
  return { across: [[0, width]], bands: [[0, height]] };
}

/**
 * The panels of a figure: {across: [start, end] of each from left to right, bands: [top, bottom] of each row of them}. Names
 * of rows in front of pictures keep it whole. Null for a picture without words, which is as good when it is small.
 */
function panelsOf(frames, spec) {
  const { width, height, shown } = spec;
  if (spec.whole) return onePanel(spec);
  const unit = width / shown; // pixels of a frame in one of the page
  if (unit <= 0.5) return null; // enlarged pixels
  const ink = inkOf(frames, width, height);
  const isEmpty = (from, step, count) => {
    for (let i = 0; i < count; i++) if (ink[from + i * step]) return false;
    return true;
  };
  const columnsBy = (gap) => pieces(width, (x) => isEmpty(x, width, height), gap * unit);
  const columns = columnsBy(THIN.gap);
  const rows = pieces(height, (y) => isEmpty(y * width, 1, width), THIN.gap * unit);
  const isBetween = ([start, end], most) => end - start > 4 * unit && end - start < most * unit;
  const linesOf = ([start, end], gap) => pieces(height, (y) => isEmpty(y * width + start, 1, end - start), gap * unit);
  const isWords = (column) => linesOf(column, THIN.gap).every((line) => !isBetween(line, Infinity) || isBetween(line, THIN.lines));
  const least = THIN.panel * unit;
  const isWide = ([start, end]) => end - start >= least;
  const parts = columnsBy(THIN.gap / 2); // words stand closer than panels do
  const first = parts.findIndex((part) => !isWords(part)); // behind the names of the rows
  if (first > 0 && isWide([parts[0][0], parts[first - 1][1]])) return onePanel(spec);
  const hasTitle = (column) => linesOf(column, 1).some((line) => isBetween(line, THIN.line)); // close above its picture
  const isThin = [columns.some((piece) => isBetween(piece, THIN.label)), rows.some((piece) => isBetween(piece, THIN.line))];
  if (!isThin.includes(true) && !columns.some(hasTitle)) return null;
  const isPanel = (piece) => isWide(piece) && !isWords(piece);
  const across = panelsAlong(columns, width, isPanel, (piece) => !isWide(piece) && isBar(piece, ink, width, height));
  if (across.length < 2) return onePanel(spec);
  return { across, bands: bandsOf(rows, height, least) };
}

/** Neighbouring panels together as rows [start, end, top, bottom], each at most so wide, or one panel. */
function rowsOf({ across, bands }, most) {
  return bands.flatMap((band) => {
    const rows = [[...across[0], ...band]];
    for (const [start, end] of across.slice(1)) {
      if (end - rows.at(-1)[0] <= most) rows.at(-1)[1] = end;
      else rows.push([start, end, ...band]);
    }
    return rows;
  });
}

/** How high rows are together. */
function heightOf(rows) {
  return rows.reduce((sum, [, , top, bottom]) => sum + bottom - top, 0);
}

/** How a figure is laid out in the room at hand; its frames are looked at once, when the room is first too small. */
class Layout {
  /**
   * @param {CanvasImageSource[]} frames
   * @param {{width, height, shown, whole}} spec pixels of a frame, and of the page; is it one thing, not panels?
   */
  constructor(frames, spec) {
    Object.assign(this, { frames, spec });
  }

  /**
   * For so many pixels of the page: rows [start, end, top, bottom] of a frame, the widest, whether it slides, and the
   * canvas' style.
   */
  at(room) {
    const { width, shown } = this.spec;
    const narrow = room < READABLE.well * shown;
    if (narrow) this.panels ??= panelsOf(this.frames, this.spec) ?? "no words";
    const worded = narrow && this.panels !== "no words";
    const rows = rowsOf(worded ? this.panels : onePanel(this.spec), (room / READABLE.well) * (width / shown));
    const widest = Math.max(...rows.map(([start, end]) => end - start));
    const own = (widest * shown) / width; // pixels of the page
    const slides = worded && room < READABLE.just * own;
    const style = { width: `${slides ? Math.ceil(READABLE.well * own) : own}px`, aspectRatio: `${widest} / ${heightOf(rows)}` };
    return { rows, widest, slides, style };
  }
}

/** Say of a node whether it slides sideways, and let the keyboard slide it. */
function markSlide(node, slides) {
  node.classList.toggle("marble-slide", slides);
  if (slides) node.setAttribute("tabindex", "0");
  else node.removeAttribute("tabindex");
}

/** Paint a frame's rows one under the other, each in the middle of the canvas. */
function paintRows(canvas, rows, frame) {
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  if (rows.length > 1) context.fillRect(0, 0, canvas.width, canvas.height);
  let y = 0;
  for (const [start, end, top, bottom] of rows) {
    const [wide, high, left] = [end - start, bottom - top, Math.round((canvas.width - end + start) / 2)];
    context.drawImage(frame, start, top, wide, high, left, y, wide, high);
    y += high;
  }
}
