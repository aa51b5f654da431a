// Loading and predicting, in this thread or in a worker; peephole.js says where the files are.

import { EngineStopped, PeepholeError, checkFiles, checkOptions, checkSources, checkTexts } from "./checks.js";
import { Engine, bestBuild, decodeBase64 } from "./engine.js";
import { LocalModel } from "./model.js";

export { PeepholeError, EngineStopped };

const IN_NODE = Boolean(globalThis.process?.versions?.node); // where some packages define a Worker of another kind
const GRACE = 100; // milliseconds in which a worker may end a cancelled request by itself

// Where the engine's builds and the worker are: next to this module. The script for file:// holds the builds itself.
export const place = { builds: null, startWorker: null, base: null };

async function readBytes(from) {
  if (from instanceof ArrayBuffer) return new Uint8Array(from);
  if (ArrayBuffer.isView(from)) return new Uint8Array(from.buffer, from.byteOffset, from.byteLength);
  try {
    const url = new URL(from, globalThis.location?.href ?? place.base ?? undefined);
    if (url.protocol === "file:" && IN_NODE) {
      return new Uint8Array(await (await import("node:fs/promises")).readFile(url));
    }
    const answer = await fetch(url);
    if (!answer.ok) throw new PeepholeError(`${url}: wanted a file, got status ${answer.status}`);
    return new Uint8Array(await answer.arrayBuffer());
  } catch (error) {
    if (error instanceof PeepholeError) throw error;
    throw new PeepholeError(`${from}: cannot be read: ${error.message}`);
  }
}

// Returns the bytes of the engine's build that suits this browser.
async function readBuild(build) {
  const name = build ?? bestBuild();
  if (place.builds) return decodeBase64(place.builds[name]);
  return readBytes(new URL(`${name}.wasm`, place.base));
}

// Load a model file, or several as an ensemble.
export async function load(from, options = {}) {
  const given = Array.isArray(from) ? from : [from];
  checkFiles(given);
  checkOptions("load", options);
  const { build } = options, worker = options.worker ?? (typeof Worker !== "undefined" && !IN_NODE);
  const files = await Promise.all(given.map(readBytes));
  const bytes = await readBuild(build);
  const module = await WebAssembly.compile(bytes);
  const model = new Model(worker ? new WorkerHost(module, files) : new LocalHost(module, files));
  try {
    await model.start();
  } catch (error) {
    model.free();
    throw error;
  }
  return model;
}

export class Model {
  #host;

  constructor(host) {
    this.#host = host;
  }

  async start() {
    this.info = await this.#host.call("info", [], {});
  }

  // The predictions of each source, best first.
  async predict(sources, options = {}) {
    checkSources(sources);
    checkOptions("predict", options);
    const { signal, onProgress, ...rest } = options;
    return this.#host.call("predict", [sources, rest], { signal, onProgress });
  }

  // log p(Y | X) of each target given its source.
  async score(sources, targets, options = {}) {
    checkSources(sources);
    checkTexts("targets", targets);
    checkOptions("score", options);
    const { signal, onProgress } = options;
    return this.#host.call("score", [sources, targets], { signal, onProgress });
  }

  // Everything of the prediction of one source: gates, states, attention, and every hypothesis of the search.
  async trace(source, options = {}) {
    checkSources([source]);
    checkOptions("trace", options);
    const { signal, bend, ...rest } = options;
    const bent = bend ? { step: bend.step, weights: Array.from(bend.weights) } : null;
    return this.#host.call("trace", [source, { ...rest, bend: bent }], { signal });
  }

  // Releases the memory; the model cannot be used afterwards.
  free() {
    this.#host.free();
  }
}

const FREED = "the model was freed";
const aborted = (signal) => signal.reason ?? new DOMException("This operation was aborted", "AbortError");
const nextTask = () => new Promise((resume) => setTimeout(resume, 0));

// Runs the engine on this thread. A new engine is made after a trap.
class LocalHost {
  constructor(module, files) {
    this.module = module;
    this.files = files;
  }

  async call(method, args, { signal, onProgress }) {
    if (!this.files) throw new PeepholeError(FREED);
    signal?.throwIfAborted();
    try {
      this.model ??= new LocalModel(new Engine(this.module), this.files);
      return await perform(this.model, method, args, async (done) => {
        if (done) onProgress?.(done);
        await nextTask();
        signal?.throwIfAborted();
        if (!this.files) throw new PeepholeError(FREED);
      });
    } catch (error) {
      if (error instanceof EngineStopped) this.model = null;
      throw error;
    }
  }

  free() {
    this.model?.free();
    this.model = this.files = null;
  }
}

function perform(model, method, args, between) {
  return method === "info" ? model.info : model[method](...args, between);
}

// Runs the engine in a worker. A worker that does not answer a cancellation soon, or that fails, is replaced.
class WorkerHost {
  constructor(module, files) {
    this.module = module;
    this.files = files;
    this.calls = new Map();
    this.last = 0;
  }

  call(method, args, { signal, onProgress }) {
    return new Promise((resolve, reject) => {
      if (!this.files) return reject(new PeepholeError(FREED));
      if (signal?.aborted) return reject(aborted(signal));
      const id = ++this.last;
      const message = { id, method, args };
      const abort = () => {
        this.#finish(id)?.reject(aborted(signal));
        this.worker?.postMessage({ cancel: id });
        this.#awaitEnd(id);
      };
      signal?.addEventListener("abort", abort, { once: true });
      const release = () => signal?.removeEventListener("abort", abort);
      this.calls.set(id, { resolve, reject, onProgress, release, message });
      this.#start().postMessage(message);
    });
  }

  free() {
    this.worker?.terminate();
    this.worker = this.files = null;
    this.#failAll(new PeepholeError(FREED));
  }

  #start() {
    if (this.worker) return this.worker;
    const worker = (this.worker = place.startWorker());
    this.ended = new Set();
    worker.onmessage = ({ data }) => this.worker === worker && this.#receive(data);
    worker.onerror = (event) => {
      event.preventDefault?.();
      if (this.worker !== worker) return;
      this.#replace();
      this.#failAll(new EngineStopped(`the worker stopped: ${event.message ?? "it could not be started"}`));
    };
    worker.postMessage({ module: this.module, files: this.files });
    return worker;
  }

  #receive({ id, done, value, error, ended }) {
    if (ended) this.ended.add(id);
    if (done !== undefined) return this.calls.get(id)?.onProgress?.(done);
    const call = this.#finish(id);
    if (error?.name === "EngineStopped") this.#replace();
    if (error) call?.reject(revive(error));
    else call?.resolve(value);
  }

  #finish(id) {
    const call = this.calls.get(id);
    this.calls.delete(id);
    call?.release();
    return call;
  }

  // Replaces the worker unless it ends a cancelled request in time. Other requests start again.
  #awaitEnd(id) {
    const worker = this.worker;
    setTimeout(() => {
      if (this.worker !== worker || this.ended?.has(id)) return;
      this.#replace();
      for (const { message } of this.calls.values()) this.#start().postMessage(message);
    }, GRACE);
  }

  #replace() {
    this.worker?.terminate();
    this.worker = null;
  }

  #failAll(error) {
    for (const id of [...this.calls.keys()]) this.#finish(id).reject(error);
  }
}

function revive({ name, message }) {
  const kind = { PeepholeError, EngineStopped }[name] ?? Error;
  return new kind(message);
}

// Answers the requests of a WorkerHost; the worker calls it once.
export function serve(port) {
  let module, files, model;
  const cancelled = new Set();
  let queue = Promise.resolve(); // one request after the other: an engine runs one search at a time
  const answer = async ({ id, method, args }) => {
    const between = async (done) => {
      if (done) port.postMessage({ id, done });
      await nextTask();
      if (cancelled.has(id)) throw new DOMException("cancelled", "AbortError");
    };
    try {
      if (cancelled.has(id)) return port.postMessage({ id, ended: true });
      model ??= new LocalModel(new Engine(module), files);
      port.postMessage({ id, ended: true, value: await perform(model, method, args, between) });
    } catch ({ name, message }) {
      port.postMessage({ id, ended: true, error: { name, message } });
    } finally {
      cancelled.delete(id);
    }
  };
  port.onmessage = ({ data }) => {
    if (data.module) ({ module, files } = data);
    else if (data.cancel) cancelled.add(data.cancel);
    else queue = queue.then(() => answer(data));
  };
}
