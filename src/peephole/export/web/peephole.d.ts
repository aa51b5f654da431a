/** One target found for a source, as `peephole.Prediction` in Python. */
export interface Prediction {
  text: string;
  /** The target's symbols, U of them, without </s>. */
  tokens: string[];
  /** log p(Y | X), natural logarithm, </s> included. */
  logProb: number;
  /** log p of each symbol given those before it; the last is that of </s> if the prediction is finished. */
  symbolLogProbs: number[];
  /** False where the longest length allowed was reached before </s>. */
  finished: boolean;
  /** The source's symbols that were read, T of them. */
  sourceTokens: string[];
  /** U rows of T attention weights, each of sum 1; null for a model without attention, or if not wanted. */
  attention: Float32Array[] | null;
  /** The source's symbols that were not seen in training. */
  unknown: string[];
  /** Whether only the beginning of the source was read. */
  truncated: boolean;
}

/** A text; a list of symbols; or for a model of sound, images or numbers T × F numbers. */
export type Source = string | string[] | Float32Array;

export interface CallOptions {
  /** Cancels the call: its promise is rejected with the signal's reason. */
  signal?: AbortSignal;
  /** Called with the number of sources done. */
  onProgress?: (done: number) => void;
}

/** What is not given is taken from the model file's settings. Numbers have the ranges of section `search` in Python. */
export interface PredictOptions extends CallOptions {
  /** Hypotheses kept; 1 is greedy search. */
  beamSize?: number;
  /** Predictions for each source, at most beamSize. */
  nbest?: number;
  /** Most symbols of a target, </s> included, at most 1000000; usually maxLengthFactor × the source's length + maxLengthExtra. */
  maxLength?: number;
  maxLengthFactor?: number;
  maxLengthExtra?: number;
  /** What every target begins with: a text for all, or a list with a text or a list of symbols for each source. */
  prefix?: string | (string | string[])[];
  /** Whether predictions have their attention; true. */
  attention?: boolean;
  lengthPenalty?: number;
  lengthReward?: number;
  coveragePenalty?: number;
  ctcWeight?: number;
  minLength?: number;
  noRepeatNgram?: number;
  diverseGroups?: number;
  diversity?: number;
}

export interface TraceOptions extends Omit<PredictOptions, "onProgress"> {
  /** Attention weights, one for each output of the encoder, that a step (from 0) has in place of computed ones. */
  bend?: { step: number; weights: number[] | Float32Array } | null;
  /** Alternatives of each step, and extensions recorded of each hypothesis, at most 1000; 5. */
  top?: number;
}

/** Everything of one prediction; docs/traces.md of the package describes it. */
export interface Trace {
  text: string;
  /** The target's symbols, U of them, </s> included where it was predicted. */
  tokens: string[];
  ids: number[];
  finished: boolean;
  logProbs: number[];
  /** 1 for the most probable symbol of its step. */
  ranks: number[];
  topSymbols: number[][];
  topLogProbs: number[][];
  /** Gates, states, attention and more by name; rows one after the other. */
  arrays: Record<string, { shape: number[]; numbers: Float32Array }>;
  /** Every hypothesis that the search considered: one entry of each list. */
  beam: {
    parent: number[];
    step: number[];
    symbol: number[];
    logProb: number[];
    score: number[];
    fate: string[];
  } | null;
  /** The text of each symbol in `ids`, `topSymbols` and `beam`. */
  names: Record<number, string>;
  sourceTokens: string[];
  unknown: string[];
  truncated: boolean;
}

export interface Info {
  formatVersion: number;
  architecture: Record<string, unknown>;
  settings: Record<string, Record<string, unknown>>;
  sourceSymbols: { kind: string; size: number };
  targetSymbols: { kind: string; size: number };
  /** Bytes of the model files. */
  bytes: number;
  /** Models whose probabilities are averaged. */
  members: number;
}

export class Model {
  readonly info: Info;
  /** The predictions of each source, best first. An empty source has the empty target, with probability 1. */
  predict(sources: Source[], options?: PredictOptions): Promise<Prediction[][]>;
  /** log p(Y | X) of each target, a text or a list of symbols, given its source. */
  score(sources: Source[], targets: (string | string[])[], options?: CallOptions): Promise<number[]>;
  /** Everything of the prediction of one source, not empty, by one model: gates, attention, the search. */
  trace(source: Source, options?: TraceOptions): Promise<Trace>;
  /** Releases the memory; the model cannot be used afterwards. */
  free(): void;
}

/** A model, an argument or the browser is refused; the message says why, in one line. */
export class PeepholeError extends Error {}

/** The engine stopped, which is a defect. The next call starts a new one. */
export class EngineStopped extends Error {}

export interface LoadOptions {
  /** Whether to compute in a worker, which keeps the page usable; true where there are workers. */
  worker?: boolean;
  /** The engine's build; usually the fastest that the browser can run. */
  build?: "simd" | "plain";
}

type File = string | URL | ArrayBuffer | ArrayBufferView;

/** Load a model file, by its URL or its bytes, or several with the same symbols as an ensemble. */
export function load(from: File | File[], options?: LoadOptions): Promise<Model>;
