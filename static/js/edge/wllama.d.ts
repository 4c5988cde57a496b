// What is used of llama.cpp in WebAssembly; its own types need those of Node.

export const LoggerWithoutDebug: object;
interface Completion {
  choices: { text: string; finish_reason: string | null }[];
  usage: { prompt_tokens: number };
}
export class Wllama {
  constructor(paths: { default: string }, config: { logger: object; suppressNativeLog: boolean });
  setCompat(compat: null): void;
  loadModel(files: Blob[], parameters: Record<string, number>): Promise<void>;
  mustAddBosToken(): boolean;
  getBOS(): number;
  createCompletion(parameters: {
    prompt: string;
    max_tokens: number;
    temperature: number;
    top_k: number;
    seed: number;
    grammar?: string;
  }): Promise<Completion>;
}
