"""llama.cpp: GGUF files, a server in this process, and the parity check of exports."""
