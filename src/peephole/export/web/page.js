// The page of a model: predicts as one types, and shows what each symbol attends to.
"use strict";

(async () => {
  const element = (id) => document.getElementById(id);
  const say = (text) => (element("status").textContent = text);
  const DOUBTFUL = 0.5; // probability below which a symbol is marked
  const MOST_SHOWN = 500; // symbols of a line: a page of ten thousand buttons would not be usable

  function addScript(name) {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${name}: not found beside this page`));
      script.src = name;
      document.head.append(script);
    });
  }

  // From the disk a page may read no files, except scripts.
  async function loadModel() {
    if (location.protocol === "file:") {
      await addScript("embedded.js");
      return peephole.load(peephole.models);
    }
    const { load } = await import("./peephole.js");
    return load(document.body.dataset.models.split(" "));
  }

  const shown = (probability) => (probability < 0.001 ? "below 0.001" : probability.toFixed(3));

  function symbol(kind, text, probability) {
    const node = document.createElement(kind);
    node.textContent = text;
    if (probability !== undefined) {
      node.title = `probability ${shown(probability)}`;
      node.classList.toggle("doubtful", probability < DOUBTFUL);
    }
    return node;
  }

  function attend(weights) {
    Array.from(element("read").children).forEach((node, i) => node.style.setProperty("--weight", weights?.[i] ?? 0));
  }

  function show([best, ...others], seconds) {
    const read = best.sourceTokens.slice(0, MOST_SHOWN).map((text) => symbol("span", text));
    element("read").replaceChildren(...read);
    const target = best.tokens.slice(0, MOST_SHOWN).map((text, t) => {
      const node = symbol("button", text, Math.exp(best.symbolLogProbs[t]));
      node.type = "button";
      for (const event of ["focus", "mouseenter"]) node.addEventListener(event, () => attend(best.attention?.[t]));
      for (const event of ["blur", "mouseleave"]) node.addEventListener(event, () => attend(null));
      return node;
    });
    element("target").replaceChildren(...target);
    element("target").dataset.text = best.text;
    element("others").replaceChildren(...others.map(({ text, logProb }) => {
      const item = document.createElement("li");
      item.dir = "auto";
      item.textContent = `${text} (${shown(Math.exp(logProb))})`;
      return item;
    }));
    const notes = [
      `probability ${shown(Math.exp(best.logProb))}`,
      `${(seconds * 1000).toFixed(0)} ms`,
      best.finished ? "" : "not finished: the longest length was reached",
      best.unknown.length ? `not seen in training: ${[...new Set(best.unknown)].slice(0, 20).join(" ")}` : "",
      best.truncated ? `only the first ${best.sourceTokens.length} symbols were read` : "",
    ];
    say(notes.filter(Boolean).join(" · "));
  }

  let model;
  let running = new AbortController();

  async function predict() {
    running.abort();
    running = new AbortController();
    const { signal } = running;
    const prefix = element("prefix").value, beamSize = Math.max(1, Math.trunc(element("beam").valueAsNumber) || 1);
    const start = performance.now();
    try {
      const how = { signal, beamSize, nbest: Math.min(beamSize, 3), ...(prefix && { prefix }) };
      const [found] = await model.predict([element("source").value], how);
      show(found, (performance.now() - start) / 1000);
    } catch (error) {
      if (!signal.aborted) say(error.message);
    }
  }

  try {
    model = await loadModel();
    const { info } = model;
    if (!info.sourceSymbols.size) {
      for (const id of ["source", "prefix", "beam"]) element(id).disabled = true;
      say(`the model reads ${info.sourceSymbols.kind}, and this page only texts: the module peephole.js predicts from frames`);
      return;
    }
    say(`${info.sourceSymbols.size} source and ${info.targetSymbols.size} target symbols, ${(info.bytes / 1e6).toFixed(1)} MB`);
    for (const id of ["source", "prefix", "beam"]) element(id).addEventListener("input", predict);
    if (element("source").value) await predict();
  } catch (error) {
    say(`the model cannot be used: ${error.message}`);
  }
})();
