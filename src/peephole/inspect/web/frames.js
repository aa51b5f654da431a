// Sound, an image or numbers as a picture, with the attention of the chosen symbol over it.

import { decodeMatrix } from "./data.js";
import { h, picture, s } from "./dom.js";

const HIGH = 160;

/**
 * @typedef {object} Frames
 * @property {HTMLElement} element
 * @property {(weights: Float32Array) => void} mark draws the attention over the places of the source
 */

/**
 * @param {{image: {shape: number[], uint8: string}, planes: number, kind: string, count: number, aspect?: number}} raw a column
 *   of the picture is a frame; `planes`: 3 for red, green and blue below each other; `aspect`: width of an image by its height
 * @returns {Frames}
 */
export function framesPicture({ image, planes, kind, count, aspect }) {
  const levels = decodeMatrix(image), rows = levels.rows / planes;
  const canvas = /** @type {HTMLCanvasElement} */ (h("canvas", { width: levels.columns, height: rows, role: "img", "aria-label": `The source: ${count} ${kind} frames, from left to right` }));
  const context = canvas.getContext("2d"), pixels = context?.createImageData(levels.columns, rows);
  if (context && pixels) {
    for (let i = 0; i < rows * levels.columns; ++i) {
      const level = (/** @type {number} */ plane) => 255 * levels.at(Math.floor(i / levels.columns) + rows * plane, i % levels.columns);
      pixels.data.set(planes === 3 ? [level(0), level(1), level(2), 255] : [level(0), level(0), level(0), 255], 4 * i);
    }
    context.putImageData(pixels, 0, 0);
  }
  const over = h("div", { class: "over" });
  const mark = (/** @type {Float32Array} */ weights) => {
    const most = Math.max(1e-9, ...weights), step = 1000 / weights.length;
    const points = Array.from(weights, (weight, j) => `${((j + 0.5) * step).toFixed(1)},${(HIGH * (1 - weight / most)).toFixed(1)}`).join(" ");
    const drawn = picture(1000, HIGH, "Attention of the chosen symbol over the source", s("polyline", { points: `0,${HIGH} ${points} 1000,${HIGH}`, class: "wave" }));
    drawn.setAttribute("preserveAspectRatio", "none");
    over.replaceChildren(drawn);
  };
  const element = h("div", { class: "frames" }, canvas, over);
  if (aspect) element.style.maxWidth = `${Math.round(HIGH * aspect)}px`;
  return { element, mark };
}
