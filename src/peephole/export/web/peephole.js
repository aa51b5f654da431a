// Predict in a browser, or in Node: `const model = await load("model.safetensors")`. Types: peephole.d.ts.
import { place } from "./api.js";

export { EngineStopped, Model, PeepholeError, load } from "./api.js";

place.base = import.meta.url;
place.startWorker = () => new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
