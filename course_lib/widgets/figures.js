/**
 * The still figures of a saved lesson, on a phone: their panels in rows; and what is wider than the page.
 * panels.js stands in front of this file.
 */

class Figure {
  /** @param {HTMLImageElement} image a figure, in a node of its own */
  constructor(image) {
    const { naturalWidth: width, naturalHeight: height } = image;
    const spec = { width, height, shown: Number(image.getAttribute("width")) || width, whole: "whole" in image.dataset };
    Object.assign(this, { image, spec, box: image.parentElement, layout: new Layout([image], spec) });
  }

  /** For the width at hand. */
  fit() {
    const { image, box, spec } = this;
    const { rows, widest, slides, style } = this.layout.at(box.clientWidth);
    const asItIs = rows.length === 1 && !slides;
    image.hidden = !asItIs;
    markSlide(box, slides);
    if (asItIs) return this.canvas?.remove();
    this.canvas ??= Object.assign(document.createElement("canvas"), { role: "img", ariaLabel: image.alt });
    Object.assign(this.canvas.style, style);
    [this.canvas.width, this.canvas.height] = [widest, heightOf(rows)];
    paintRows(this.canvas, rows, image);
    box.append(this.canvas);
  }
}

/** What is printed or tabled wider than the page slides. */
function markWide() {
  for (const node of document.querySelectorAll(".jp-RenderedMarkdown table, pre.columns"))
    markSlide(node, node.scrollWidth > node.clientWidth);
}

const figures = [...document.querySelectorAll(".jp-OutputArea-output.jp-RenderedImage > img")];
Promise.all(figures.map((image) => image.decode().catch(() => null)))
  .then(() => figures.filter((image) => image.naturalWidth).map((image) => new Figure(image)))
  .then((known) => new ResizeObserver(() => {
    known.forEach((figure) => figure.fit());
    markWide();
  }).observe(document.body));
