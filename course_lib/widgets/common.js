/**
 * What the widgets share: their look, small tools, playing, the theme, and the page without a kernel.
 *
 * An ES module in a page of its own has nowhere to import from, so standalone.py puts this file in front of a widget's
 * own file and both are one module. Hence no import and no export here.
 */

const SPEEDS = [0.25, 0.5, 1, 2, 4];
/** Milliseconds that a looping run rests on its last frame. */
const REST = 900;

const ICONS = {
  first: "M5 4h2.5v16H5zM20 4v16L8.5 12z",
  back: "M17 4v16L6 12z",
  play: "M7 4v16l13-8z",
  pause: "M6 4h4.5v16H6zM13.5 4H18v16h-4.5z",
  on: "M7 4v16l11-8z",
  loop: "M7 7h8.6l-1.8-1.8L15.2 3.800 19.400 8l-4.200 4.200-1.400-1.400L15.600 9H7a3 3 0 0 0 0 6h1v2H7A5 5 0 0 1 7 7zm10 10H8.400l1.800 1.800-1.400 1.400L4.600 16l4.200-4.200 1.400 1.400L8.400 15H17a3 3 0 0 0 0-6h-1V7h1a5 5 0 0 1 0 10z",
};

const COMMON_STYLE = `
.marble { --paper: var(--jp-layout-color1, #fff); --ink: var(--jp-ui-font-color0, #1b1b1b);
  --faint: var(--jp-ui-font-color1, #565656); --line: var(--jp-border-color1, #c4c4c4); --well: #f3f2ef;
  --signal: #0072b2; --noise: #c24e00; --focus: #0072b2;
  box-sizing: border-box; max-width: 1120px; padding: 14px 18px 16px; border: 1px solid var(--line);
  border-radius: 10px; background: var(--paper); color: var(--ink);
  font: 15px/1.35 var(--jp-ui-font-family, system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif); }
.marble[data-dark=true] { --paper: var(--jp-layout-color1, #16181c); --ink: var(--jp-ui-font-color0, #f2f2f2);
  --faint: var(--jp-ui-font-color1, #b9bcc2); --line: var(--jp-border-color1, #474b52); --well: #22252b;
  --signal: #56b4e9; --noise: #f5a03c; --focus: #56b4e9; color-scheme: dark; }
.marble *, .marble *::before { box-sizing: border-box; }
.marble-bar { display: flex; flex-wrap: wrap; align-items: center; gap: 8px; }
.marble button, .marble select { height: 36px; font: inherit; color: var(--ink); background: transparent;
  border: 1px solid var(--line); border-radius: 7px; cursor: pointer; }
.marble button { min-width: 36px; padding: 0 7px; display: inline-flex; align-items: center; justify-content: center;
  gap: 7px; }
.marble button:hover, .marble select:hover { background: var(--well); }
.marble button[aria-pressed=true] { color: var(--signal); border-color: var(--signal); }
.marble button.marble-main { background: var(--signal); border-color: var(--signal); color: var(--paper);
  padding: 0 14px 0 9px; font-weight: 600; min-width: 96px; }
.marble button svg { width: 19px; height: 19px; fill: currentColor; }
.marble select { padding: 0 4px; }
.marble option { color: #111; background: #fff; }
.marble :focus { outline: none; }
.marble :focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; }
.marble-axis { position: relative; margin: 4px 0 8px; border-radius: 6px; cursor: ew-resize; touch-action: none;
  user-select: none; -webkit-user-select: none; }
.marble-axis svg { display: block; width: 100%; overflow: visible; }
.marble-axis text { font: 15px var(--jp-ui-font-family, system-ui, sans-serif); fill: var(--faint); }
.marble-mark { position: absolute; border: 2.5px solid var(--focus); border-radius: 2px; pointer-events: none;
  box-shadow: 0 0 0 1.5px var(--paper); }
.marble-hint { margin: 8px 0 0; color: var(--faint); font-size: 15px; }
.marble-spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.marble-head { display: flex; flex-wrap: wrap; gap: 2px 20px; align-items: baseline; margin: 0 0 8px; }
.marble-head h3 { margin: 0; font-size: 18px; font-weight: 650; color: var(--ink); }
.marble-value { margin-left: auto; font-size: 26px; line-height: 1.2; font-weight: 650; color: var(--signal);
  font-variant-numeric: tabular-nums; }
.marble-value span { color: var(--faint); font-weight: 400; }
.marble-card { width: fit-content; max-width: 100%; margin: 0 auto 8px; padding: 6px; background: #fff; border-radius: 6px; }
.marble-card canvas { display: block; max-width: 100%; }
.marble-pixels { image-rendering: pixelated; }
.marble[data-dark=true] :not(.marble-plane) > .marble-card { filter: brightness(0.86); } /* no glare */
.marble-note { display: grid; margin: 0 0 10px; font-size: 18px; }
.marble-note span { grid-area: 1 / 1; }
.marble-note [aria-hidden] { visibility: hidden; }
.marble-note + .marble-note { margin-top: -6px; }
@media (max-width: 440px) { .marble { padding: 10px 8px; } .marble-card { padding: 2px; } } /* of our own frame */
:where(.marble-phone) .marble-bar { gap: 6px; }
:where(.marble-phone) .marble-bar select { width: 66px; }
:where(.marble-phone) .marble-bar button { min-width: 34px; padding: 0 5px; }
:where(.marble-phone) .marble-bar button.marble-main { min-width: 84px; padding: 0 10px 0 6px; }
:where(.marble-phone) .marble-value { font-size: 19px; }
:where(.marble-phone) .marble-note { font-size: 16px; }
@media print { .marble-bar, .marble-hint { display: none; } .marble .marble-card { filter: none !important; } }
`;

// ---------------------------------------------------------------- small tools

/** An element with attributes and children; `html` sets its inner HTML, which holds only text of these files. */
function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "circle", "g", "text"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "html") node.innerHTML = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function icon(name) {
  return make("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, make("path", { d: ICONS[name] }));
}

function button(label, name, onClick) {
  const node = make("button", { type: "button", "aria-label": label, title: label }, icon(name));
  node.addEventListener("click", onClick);
  return node;
}

/** The choice of a player's speed. */
function speedChoice(player) {
  const node = make("select", { "aria-label": "Speed", title: "Speed" });
  node.append(...SPEEDS.map((value) => make("option", { value, ...(value === 1 && { selected: "" }) }, `${value}×`)));
  node.addEventListener("change", () => (player.speed = Number(node.value)));
  return node;
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** The bytes of a sheet: a DataView from the kernel, base64 text from a page. */
function sheetBytes(sheet) {
  if (typeof sheet === "string") return Uint8Array.from(atob(sheet), (letter) => letter.charCodeAt(0));
  return new Uint8Array(sheet.buffer, sheet.byteOffset, sheet.byteLength);
}

/** The picture that a sheet holds, its bytes as they were packed. */
function sheetBitmap(sheet) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  return createImageBitmap(new Blob([sheetBytes(sheet)]), options);
}

/**
 * Share a value with the other views and with the kernel. At once, though the kernel may lag behind: the model keeps one
 * message under way and the newest value ready, and only so does it know an echo of an old value for old.
 */
function tell(model, name, value) {
  model.set(name, value);
  model.save_changes();
}

/**
 * The keys of a widget: actionOf(key, event) is what one asks for, if anything. Space and Enter on a button are the
 * button's own.
 *
 * JupyterLab hears of a key after us, and only of what is meant for the notebook: Shift+Enter, and all with Ctrl, Alt or
 * Cmd. A plain "b" would make it a cell.
 */
function listenToKeys(root, actionOf) {
  root.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || (event.shiftKey && event.key === "Enter")) return;
    event.stopPropagation();
    const { tagName } = event.target;
    if (tagName === "SELECT" || (tagName === "BUTTON" && (event.key === " " || event.key === "Enter"))) return;
    const act = actionOf(event.key, event);
    if (!act) return;
    event.preventDefault();
    act();
  });
}

// ---------------------------------------------------------------- the slider

/** A slider over frames 0 to last, for keys and screen readers; what it looks like is its children's business. */
function sliderNode(className, label, last, ...children) {
  return make("div", {
    class: className,
    role: "slider",
    tabindex: "0",
    "aria-label": label,
    "aria-orientation": "horizontal",
    "aria-valuemin": "0",
    "aria-valuemax": String(last),
  }, ...children);
}

/**
 * Let the pointer drag along a slider. follow hears how far along it is: 0 and 1 are the ends of the scale, which stand
 * `left` and `right` pixels inside the sides of `scale`.
 */
function dragAlong(node, scale, { left, right }, follow) {
  dragOver(node, (event) => {
    const box = scale.getBoundingClientRect();
    follow((event.clientX - box.left - left) / (box.width - left - right));
  });
}

/** Let the pointer press and drag on a node, a finger's too; follow hears each event, the first press among them. */
function dragOver(node, follow) {
  let held = false;
  const hear = (event) => node.clientWidth > 0 && follow(event); // out of sight, nothing is a share of its width
  node.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault(); // else the page selects text
    node.focus({ preventScroll: true });
    node.setPointerCapture(event.pointerId);
    held = true;
    hear(event);
  });
  node.addEventListener("pointermove", (event) => {
    if (!(event.buttons & 1)) held = false; // let go unheard, as while a notebook had taken us off its page
    if (held) hear(event);
  });
  for (const end of ["pointerup", "pointercancel"]) node.addEventListener(end, () => (held = false));
}

/** Which of 0 to last get a word: as many as there is room for, evenly spread, with the first and the last. */
function stops(last, room) {
  const gaps = last < Math.min(room, 12) ? last : [8, 7, 6, 5, 4, 9, 3].find((n) => n < room && last % n === 0);
  if (gaps) return Array.from({ length: gaps + 1 }, (_, i) => (i * last) / gaps);
  if (last === 0 || room < 2) return [0];
  const step = Math.ceil(last / Math.min(6, room - 1)); // evenly from the first; the last gap may be wider
  return [...Array.from({ length: Math.floor(last / step) }, (_, i) => i * step), last];
}

// ---------------------------------------------------------------- what stands around the picture

/** The heading, and at its right end what is shown just now, in large type: `reading`, nodes or words. */
function headline(title, ...reading) {
  const head = make("div", { class: "marble-head" });
  if (title) head.append(make("h3", {}, title));
  head.append(make("div", { class: "marble-value", "aria-hidden": "true" }, ...reading));
  return head;
}

/** Widths of a widget's content, in pixels, up to which it is laid out as in a narrow notebook, and as on a phone. */
const ROOM = { narrow: 620, phone: 440 };

/**
 * Say in classes how much room there is. No container queries: inside JupyterLab's cells, which have `content-visibility:
 * auto`, Chromium 156 does not lay out anew what changes in a container that was drawn out of sight.
 */
function markRoom(root) {
  const { paddingLeft, paddingRight } = getComputedStyle(root);
  const width = root.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
  if (!(width > 0)) return; // scrolled away
  for (const [name, most] of Object.entries(ROOM)) root.classList.toggle(`marble-${name}`, width <= most);
}

/** A picture on white, shown so many pixels wide: whoever asks paints on its context. */
function pictureCard({ width, height, shown }) {
  const canvas = make("canvas", { width, height, role: "img" });
  canvas.style.width = `${shown}px`;
  canvas.style.aspectRatio = `${width} / ${height}`;
  canvas.classList.toggle("marble-pixels", shown >= 2 * width);
  const context = canvas.getContext("2d", { alpha: false });
  return { canvas, context, node: make("div", { class: "marble-card" }, canvas) };
}

/** A line that is read out where it changes by hand; it has the room of the longest line, so that nothing jumps. */
function changingLine(lines) {
  const longest = lines.reduce((long, line) => (line.length > long.length ? line : long));
  const line = make("span", { "aria-live": "polite" });
  return { line, node: make("p", { class: "marble-note" }, make("span", { "aria-hidden": "true" }, longest), line) };
}

/**
 * Put a view into el, follow theme, width and model, and return how to clean up.
 * @param {object} hears what to do when a value of the model changes: {name: (value) => void}
 */
function mount({ model, el }, view, hears) {
  el.append(view.root);
  const heard = Object.entries(hears).map(([name, hear]) => [`change:${name}`, () => hear(model.get(name))]);
  heard.forEach(([name, hear]) => model.on(name, hear));
  const arrange = () => {
    markRoom(view.root);
    view.arrange();
  };
  const resized = new ResizeObserver(arrange);
  arrange();
  resized.observe(view.root);
  const forget = followTheme(el, (dark) => {
    view.root.dataset.dark = String(dark);
    view.setDark?.(dark);
  });
  return () => {
    resized.disconnect();
    forget();
    heard.forEach(([name, hear]) => model.off(name, hear));
  };
}

// ---------------------------------------------------------------- playing

class Player {
  /**
   * @param {number} last the last frame  @param {number} rate frames a second  @param {() => number} where
   * @param {(frame) => void} seek  @param {() => void} changed
   */
  constructor(last, rate, where, seek, changed) {
    Object.assign(this, { last, rate, where, seek, changed, playing: false, speed: 1 });
    this.looping = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  }

  toggle() {
    if (this.playing) return this.stop();
    if (this.where() === this.last) this.seek(0);
    this.playing = true;
    this.due = performance.now() + this.#pause();
    this.request = requestAnimationFrame((now) => this.#tick(now));
    this.changed();
  }

  stop() {
    if (!this.playing) return;
    this.playing = false;
    cancelAnimationFrame(this.request);
    this.changed();
  }

  #pause() {
    return 1000 / (this.rate * this.speed);
  }

  #tick(now) {
    if (now >= this.due) this.#advance(now);
    if (this.playing) this.request = requestAnimationFrame((later) => this.#tick(later));
  }

  #advance(now) {
    if (this.where() === this.last) return this.looping ? this.#show(0, now) : this.stop();
    this.#show(this.where() + 1, now);
  }

  #show(frame, now) {
    this.seek(frame);
    this.due = now + (frame === this.last && this.looping ? REST : this.#pause());
  }
}

// ---------------------------------------------------------------- surroundings

/** Whether what lies behind the element is dark; where nothing is painted, what the reader prefers. */
function isDark(node) {
  for (let at = node; at; at = at.parentElement ?? hostFrame(at)) {
    const parts = getComputedStyle(at).backgroundColor.match(/[\d.]+/g)?.map(Number);
    if (parts && (parts[3] ?? 1) > 0.5) return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2] < 128;
  }
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Tell whether the page around the element is dark, now and at every change; returns how to stop. */
function followTheme(parent, setDark) {
  const look = () => setDark(isDark(parent));
  const soon = () => setTimeout(look, 150); // JupyterLab loads the theme's colours after it has changed its name
  const watch = new MutationObserver(soon);
  const documents = new Set([document, hostFrame()?.ownerDocument ?? document]);
  const options = { attributeFilter: ["class", "style", "data-theme", "data-jp-theme-light", "data-jp-theme-name"] };
  for (const { documentElement, body } of documents) [documentElement, body].forEach((node) => watch.observe(node, options));
  const preference = matchMedia("(prefers-color-scheme: dark)");
  preference.addEventListener("change", look);
  look();
  return () => {
    watch.disconnect();
    preference.removeEventListener("change", look);
  };
}

/** The iframe that this page (or an element's) lives in, where its owner lets us see it. */
function hostFrame(node = document.documentElement) {
  try {
    return node.ownerDocument.defaultView?.frameElement ?? null;
  } catch {
    return null; // another origin
  }
}

// ---------------------------------------------------------------- the page without a kernel

/** A model with no kernel behind it: get, set, on, off and save_changes over a plain object. */
function shim(state) {
  const listeners = new Map();
  const of = (name) => listeners.get(name) ?? listeners.set(name, new Set()).get(name);
  return {
    get: (name) => state[name],
    set(name, value) {
      if (state[name] === value) return;
      state[name] = value;
      of(`change:${name}`).forEach((listener) => listener());
    },
    on: (name, listener) => of(name).add(listener),
    off: (name, listener) => of(name).delete(listener),
    save_changes() {},
  };
}

/** Hide the still picture above our iframe, now that the page moves, and be as high as what is in it. */
function settle(frame, el) {
  const still = frame.previousElementSibling;
  if (still?.tagName === "IMG") still.style.display = "none";
  new ResizeObserver(() => (frame.style.height = `${Math.ceil(el.getBoundingClientRect().height)}px`)).observe(el);
}

/** JupyterLab's colours, where the page around us has them: an iframe doesn't inherit them. */
function borrowColours(frame, el) {
  const around = getComputedStyle(frame);
  const names = ["layout-color1", "ui-font-color0", "ui-font-color1", "border-color1", "ui-font-family"];
  const copy = () => {
    // else the browser lays white under a frame in a dark page, which shows at our round corners
    document.documentElement.style.colorScheme = around.colorScheme;
    for (const name of names) {
      const value = around.getPropertyValue(`--jp-${name}`).trim();
      if (value) el.style.setProperty(`--jp-${name}`, value);
    }
  };
  copy();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", copy); // of a saved page
  new MutationObserver(() => setTimeout(copy, 150)).observe(frame.ownerDocument.body, { attributes: true });
}

/** Where the page brings a widget's state along, as standalone.py writes it, show it with no kernel. */
async function standAlone(render) {
  const state = document.getElementById("marble-state");
  if (!state) return; // in JupyterLab, which calls render itself
  const el = make("div");
  document.body.append(el);
  const frame = hostFrame();
  if (frame) borrowColours(frame, el);
  else document.documentElement.style.colorScheme = "light dark"; // what lies behind us is the browser's own
  await render({ model: shim(JSON.parse(state.textContent)), el });
  if (frame) settle(frame, el);
}
