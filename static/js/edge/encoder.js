// An encoder in the browser: ONNX Runtime as WebAssembly.

import { env, InferenceSession, Tensor } from "onnxruntime-web/wasm";

import { OutputDecoder, windowsOf } from "./decoding.js";
import { Tokenizer } from "./tokenizer.js";

/**
 * Loads the model.
 * @param {import("./contract.js").Encoder} contract @returns {Promise<import("./contract.js").Model>}
 */
export async function loadEncoder(contract) {
  env.wasm.wasmPaths = { wasm: new URL("runtime/ort.wasm", document.baseURI).href };
  env.wasm.proxy = true; // in a worker, so that the page can still be used
  env.wasm.numThreads = crossOriginIsolated ? navigator.hardwareConcurrency : 1;
  const response = await fetch(contract.tokenizer);
  if (!response.ok) throw new Error(`${contract.tokenizer} is missing.`);
  const tokenizer = new Tokenizer(await response.json());
  const session = await InferenceSession.create(contract.model, { executionProviders: ["wasm"] });
  const decoder = new OutputDecoder(contract);
  return {
    answer: async (text) => {
      if (!text.trim()) throw new Error("There is no text in the document.");
      const windows = windowsOf(tokenizer.encode(text), text, contract);
      const scores = [];
      for (const window of windows) scores.push(await scoresOf(session, window, contract.before.length));
      return decoder.decode(text, windows, scores);
    },
  };
}

/**
 * One window at a time: with others, the scales of its activations would depend on them.
 * @param {InferenceSession} session @param {import("./decoding.js").Window} window @param {number} first
 * @returns {Promise<import("./decoding.js").Scores>}
 */
async function scoresOf(session, { ids, tokens }, first) {
  const shape = [1, ids.length];
  const isInner = ids.map((_, at) => Number(at >= first && at < first + tokens.length));
  const outputs = await session.run({
    input_ids: new Tensor("int64", BigInt64Array.from(ids, BigInt), shape),
    attention_mask: new Tensor("int64", BigInt64Array.from(ids, () => 1n), shape),
    inner: new Tensor("bool", Uint8Array.from(isInner), shape),
  });
  return /** @type {any} */ (outputs);
}
