// In place of the engine inside the page: the server decodes what a reader edits.
"use strict";

globalThis.peephole = {
  models: [null],
  async load() {
    const place = document.getElementById("server-model").dataset;
    const answer = async (path, options) => {
      const response = await fetch(path, options);
      const tree = await response.json();
      if (!response.ok) throw new Error(tree.error);
      return tree;
    };
    return {
      info: { architecture: JSON.parse(place.architecture) },
      async trace(source, { prefix: [prefix], bend, beamSize, signal }) {
        const body = JSON.stringify({ model: place.name, source, prefix, bend, beam_size: beamSize });
        const { target, source: read, names, arrays, beam } = await answer("v1/trace", { method: "POST", body, signal });
        return {
          ...target,
          logProbs: target.log_probs,
          topSymbols: target.top_symbols,
          topLogProbs: target.top_log_probs,
          names,
          arrays,
          beam: beam && { ...beam, logProb: beam.log_prob },
          sourceTokens: read.tokens,
          unknown: read.unknown,
          truncated: read.truncated,
        };
      },
    };
  },
};
