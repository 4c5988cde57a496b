// A language model in the browser: llama.cpp as WebAssembly, with the prompt and the grammar of the package.

import { LoggerWithoutDebug, Wllama } from "@wllama/wllama";

import { problemsOf } from "./contract.js";

const RUNTIME = "runtime/wllama.wasm";

/**
 * Loads the model.
 * @param {import("./contract.js").Decoder} contract @returns {Promise<import("./contract.js").Model>}
 */
export async function loadDecoder(contract) {
  const wllama = new Wllama(
    { default: new URL(RUNTIME, document.baseURI).href },
    { logger: LoggerWithoutDebug, suppressNativeLog: true },
  );
  wllama.setCompat(null); // it would be loaded from another server
  const response = await fetch(contract.model);
  if (!response.ok) throw new Error(`${contract.model} is missing.`);
  // One processor for every document: a GPU rounds differently.
  await wllama.loadModel([await response.blob()], { n_ctx: contract.context, n_parallel: 1, n_gpu_layers: 0 });
  const start = startOf(wllama, contract.prompt);
  return { answer: (text) => answer(wllama, contract, start + promptOf(contract.prompt, text)) };
}

/**
 * @param {Wllama} wllama @param {import("./contract.js").Decoder} contract @param {string} prompt
 * @returns {Promise<import("./contract.js").Answer>}
 */
async function answer(wllama, contract, prompt) {
  const { choices, usage } = await wllama.createCompletion({
    prompt,
    max_tokens: contract.maximum,
    temperature: 0,
    top_k: 1,
    seed: contract.seed,
    ...(contract.grammar ? { grammar: contract.grammar } : {}),
  });
  if (usage.prompt_tokens + contract.reserved > contract.context) throw new Error("The document is too long for the model.");
  const [choice] = choices;
  if (choice.finish_reason !== "stop") throw new Error("The output is too long: the model did not end it.");
  const output = JSON.parse(choice.text);
  return { output, text: choice.text, confidence: {}, problems: problemsOf(contract.schema, output) };
}

/**
 * The text of the first token, where llama.cpp does not add it by itself.
 * @param {Wllama} wllama @param {import("./contract.js").PromptTemplate} template
 */
function startOf(wllama, { first, start }) {
  const isAdded = wllama.mustAddBosToken();
  if (isAdded ? first !== wllama.getBOS() : first !== null && !start) {
    throw new Error("The model file does not begin a text as the package does.");
  }
  return isAdded ? "" : start;
}

/**
 * The prompt of a document, as the package's server makes it.
 * @param {import("./contract.js").PromptTemplate} template @param {string} text
 */
export function promptOf({ prefix, suffix, strip, special }, text) {
  const safe = special.reduce((kept, token) => kept.replaceAll(token, `${token[0]} ${token.slice(1)}`), text);
  return `${prefix}${strip ? safe.trim() : safe}${suffix}`;
}
