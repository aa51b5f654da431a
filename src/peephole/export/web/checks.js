// The errors of the module, and the checks of what a caller gives: they run before anything is sent to a worker.

// The engine refused a model or a request; the message says why.
export class PeepholeError extends Error {
  name = "PeepholeError";
}

// The engine stopped and cannot go on: a defect. Its memory is lost.
export class EngineStopped extends Error {
  name = "EngineStopped";
}

const MOST_AT_A_TIME = 1e6, LONGEST_TARGET = 1e6, HIGHEST_COUNT = 1e9, MOST_ALTERNATIVES = 1000;

const whole = (low, high) => ({ kind: "a whole number", isOne: Number.isInteger, low, high });
const real = (low, high) => ({ kind: "a number", isOne: Number.isFinite, low, high });

// The options of `predict`: their names in section `search` of the settings, their defaults and ranges there.
export const OPTIONS = {
  beamSize: ["beam_size", 5, whole(1, MOST_AT_A_TIME)],
  nbest: ["nbest", 1, whole(1, MOST_AT_A_TIME)],
  lengthPenalty: ["length_penalty", 0, real(0, 10)],
  lengthReward: ["length_reward", 0, real(0, 1000)],
  coveragePenalty: ["coverage_penalty", 0, real(0, 1000)],
  ctcWeight: ["ctc_weight", null, real(0, 1)],
  minLength: ["min_length", 0, whole(0, LONGEST_TARGET)],
  noRepeatNgram: ["no_repeat_ngram", 0, whole(0, HIGHEST_COUNT)],
  diverseGroups: ["diverse_groups", 1, whole(1, MOST_AT_A_TIME)],
  diversity: ["diversity", 0.5, real(0, HIGHEST_COUNT)],
  maxLengthFactor: ["max_length_factor", 3, real(0, 1000)],
  maxLengthExtra: ["max_length_extra", 20, whole(1, LONGEST_TARGET)],
};
const MAX_LENGTH = whole(1, LONGEST_TARGET); // as maxLengthExtra, which bounds the target of a short source
const SEARCH = [...Object.keys(OPTIONS), "maxLength", "prefix", "attention"];
const KNOWN = {
  load: ["worker", "build"],
  predict: [...SEARCH, "signal", "onProgress"],
  score: ["signal", "onProgress"],
  trace: [...SEARCH, "bend", "top", "signal"],
};

// What is undefined or null is not given.
export const isGiven = (value) => value !== undefined && value !== null;
const isString = (value) => typeof value === "string";
const isText = (value) => isString(value) || (Array.isArray(value) && Array.from(value).every(isString));

function refuse(what, wanted, got) {
  throw new PeepholeError(`${what}: wanted ${wanted}, got ${got}`);
}

// Returns a value, or what it is, for a message of one line.
function shown(value) {
  if (isString(value)) return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (["number", "boolean", "undefined"].includes(typeof value) || value === null) return String(value);
  return Array.isArray(value) ? "a list" : `a value of type ${typeof value}`;
}

export function checkNumber(name, value, { kind, isOne, low, high }) {
  if (!isOne(value) || value < low || value > high) refuse(name, `${kind} from ${low} to ${high}`, shown(value));
}

// Checks all that can be wrong with the options of a call without its model.
export function checkOptions(call, options) {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    refuse(`${call}: options`, "an object", shown(options));
  }
  for (const name of Object.keys(options)) {
    if (!KNOWN[call].includes(name)) {
      throw new PeepholeError(`${call}: unknown option ${shown(name)}; wanted ${KNOWN[call].join(", ")}`);
    }
  }
  for (const [name, value] of Object.entries(options)) {
    if (isGiven(value)) checkOption(name, value);
  }
  const { minLength, maxLength } = options;
  if (isGiven(minLength) && isGiven(maxLength) && minLength >= maxLength) {
    refuse("minLength", `fewer than maxLength = ${maxLength}`, minLength);
  }
}

function checkOption(name, value) {
  if (name in OPTIONS) return checkNumber(name, value, OPTIONS[name][2]);
  const checks = {
    maxLength: () => checkNumber(name, value, MAX_LENGTH),
    top: () => checkNumber(name, value, whole(1, MOST_ALTERNATIVES)),
    prefix: () => isString(value) || checkTexts(name, value),
    attention: () => checkBoolean(name, value),
    worker: () => checkBoolean(name, value),
    build: () => value === "simd" || value === "plain" || refuse(name, "simd or plain", shown(value)),
    signal: () => isSignal(value) || refuse(name, "an AbortSignal", shown(value)),
    onProgress: () => typeof value === "function" || refuse(name, "a function", shown(value)),
    bend: () => checkBend(value),
  };
  checks[name]();
}

function checkBoolean(name, value) {
  if (typeof value !== "boolean") refuse(name, "true or false", shown(value));
}

// Also of another window.
const isSignal = (value) => typeof value.aborted === "boolean" && typeof value.addEventListener === "function";

function checkBend(bend) {
  if (!Number.isSafeInteger(bend.step) || bend.step < 0 || !(Array.isArray(bend.weights) || ArrayBuffer.isView(bend.weights))) {
    refuse("bend", "a step from 0 and a list of attention weights", shown(bend));
  }
  const weights = Array.from(bend.weights);
  if (!weights.every((weight) => Number.isFinite(weight) && weight >= 0) || !weights.some(Boolean)) {
    throw new PeepholeError("bend: wanted weights from 0, not all 0");
  }
}

// Texts or lists of symbols, in a list.
export function checkTexts(name, texts) {
  checkList(name, texts, isText);
}

// What some model can read.
export function checkSources(sources) {
  checkList("sources", sources, (source) => isText(source) || source instanceof Float32Array);
}

function checkList(name, list, isOne) {
  if (!Array.isArray(list)) refuse(name, "a list", shown(list));
  Array.from(list).forEach((item, index) => {
    if (!isOne(item)) refuse(name, "texts or lists of symbols", `${item === null ? item : typeof item} at index ${index}`);
  });
}

// URLs or bytes.
export function checkFiles(files) {
  if (!files.length) refuse("load", "a model file, or several in a list", "an empty list");
  for (const file of files) {
    const isFile = isString(file?.href ?? file) || file instanceof ArrayBuffer || ArrayBuffer.isView(file);
    if (!isFile) refuse("load", "the URL or the bytes of a model file", shown(file));
  }
}
