// A prediction that can be edited: with the engine inside the page, it decodes anew.

import { h } from "./dom.js";
import { drawView } from "./view.js";

/**
 * @param {Record<string, any>} page
 * @param {Record<string, any>} raw an entry of `views` in the page's data
 * @param {Record<string, any>} model
 * @param {string | null} heading
 */
export function editor(page, raw, model, heading) {
  return h("div", {}, drawView(raw, null, heading));
}
