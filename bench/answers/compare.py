#!/usr/bin/env python3
"""How fast an answer is written, token by token: agri_tune predict beside llama.cpp (and transformers) on the same weights, in turns.

usage: compare.py --gguf MODEL.gguf [--folder HF_FOLDER] [--program build/release/bin/agri_tune] [--tokens 384] [--repeats 5] [--threads 2]

llama.cpp takes part where its Python package llama_cpp is installed, transformers (in fp32) where --folder gives the same weights as a
Hugging Face folder. Each run is a process of its own; the prompt's reading and the start are left out on all sides: of agri_tune by the
difference between a long and a short answer, of the others by a clock between the first token and the last.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "bench"))

from peft_comparison.driver import commit, machine, sha256, spread  # noqa: E402

PROMPT = "Explain how to grow maize in a dry region, in detail."
SHORT = 16  # tokens of the answer whose time is taken off


def ours(arguments, words: int) -> tuple[float, str]:
    command = [arguments.program, "predict", "--model", arguments.gguf, "--prompt", PROMPT, "--max-new-tokens", words, "--quiet",
               "--set", f"run.threads={arguments.threads}"]
    begin = time.monotonic()
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    return time.monotonic() - begin, done.stdout


def check_length(arguments) -> None:
    """Greedy answers are the same in every round, so one look is enough."""
    whole, shorter = (ours(arguments, arguments.tokens + SHORT - less)[1] for less in (0, 1))
    if whole == shorter:
        raise SystemExit(f"the answer ends before {arguments.tokens + SHORT} tokens; ask for fewer with --tokens")


def speed_of_ours(arguments) -> dict:
    (long, answer), (short, _) = ours(arguments, arguments.tokens + SHORT), ours(arguments, SHORT)
    return {"tokens_per_second": arguments.tokens / (long - short), "words": answer[:60]}


def speed_of_peer(arguments, side: str) -> dict:
    command = [sys.executable, __file__, "--worker", side, "--gguf", arguments.gguf, "--tokens", arguments.tokens, "--threads", arguments.threads]
    command += ["--folder", arguments.folder] if arguments.folder else []
    return json.loads(subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True,
                                     env={**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}).stdout.splitlines()[-1])


def llama_cpp_worker(arguments) -> dict:
    import llama_cpp
    model = llama_cpp.Llama(str(arguments.gguf), n_ctx=1024, n_threads=arguments.threads, n_threads_batch=arguments.threads, verbose=False)
    prompt = f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n"
    tokens, begin = [], 0.0
    for token in model.generate(model.tokenize(prompt.encode(), special=True), temp=0.0, repeat_penalty=1.0):
        if not tokens:
            begin = time.monotonic()
        tokens.append(token)
        if len(tokens) > arguments.tokens:
            break
    return {"tokens_per_second": arguments.tokens / (time.monotonic() - begin), "words": model.detokenize(tokens).decode()[:60],
            "version": llama_cpp.__version__}


def transformers_worker(arguments) -> dict:
    import torch
    import transformers
    torch.set_num_threads(arguments.threads)
    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(arguments.folder, dtype=torch.float32).eval()
    ids = torch.tensor([tokenizer(f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n", add_special_tokens=False).input_ids])
    times = []

    class Clock(transformers.StoppingCriteria):
        def __call__(self, *_, **__):
            times.append(time.monotonic())
            return False

    made = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=arguments.tokens + 1, min_new_tokens=arguments.tokens + 1,
                          stopping_criteria=transformers.StoppingCriteriaList([Clock()]))
    return {"tokens_per_second": arguments.tokens / (times[-1] - times[0]), "words": tokenizer.decode(made[0][ids.shape[1]:])[:60],
            "version": transformers.__version__}


WORKERS = {"llama.cpp": llama_cpp_worker, "transformers": transformers_worker}


def peers(arguments) -> list[str]:
    has_llama = subprocess.run([sys.executable, "-c", "import llama_cpp"], capture_output=True).returncode == 0
    return (["llama.cpp"] if has_llama else []) + (["transformers"] if arguments.folder else [])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gguf", type=Path, required=True)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--program", type=Path, default=REPOSITORY / "build" / "release" / "bin" / "agri_tune")
    parser.add_argument("--tokens", type=int, default=384)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(WORKERS[arguments.worker](arguments)))
        return 0
    check_length(arguments)
    run_id = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    record = {"run_id": run_id, "commit": commit(), "machine": machine(arguments.threads), "model_sha256": sha256(arguments.gguf), "tokens": arguments.tokens,
              "runs": {side: [] for side in ["ours", *peers(arguments)]}}
    for _ in range(arguments.repeats):
        for side, runs in record["runs"].items():
            runs.append(speed_of_ours(arguments) if side == "ours" else speed_of_peer(arguments, side))
            print(f"{side}: {runs[-1]['tokens_per_second']:.1f} tokens/s: {runs[-1]['words']!r}", file=sys.stderr, flush=True)
    out = REPOSITORY / "build" / "bench" / "results" / f"{run_id}-answers.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n")
    print("| side | tokens/s | ours / theirs |\n|---|---|---|")
    speeds = {side: [run["tokens_per_second"] for run in runs] for side, runs in record["runs"].items()}
    for side, values in speeds.items():
        s, r = spread(values), spread([a / b for a, b in zip(speeds["ours"], values)])
        ratio = "" if side == "ours" else f"**{r['median']:.2f}** ({r['min']:.2f}–{r['max']:.2f})"
        print(f"| {side} {record['runs'][side][0].get('version', '')} | {s['median']:.0f} ({s['min']:.0f}–{s['max']:.0f}) | {ratio} |")
    print(f"\nRun {run_id}: commit {record['commit']}, {arguments.tokens} tokens, {arguments.threads} threads, SHA-256 of the model {record['model_sha256'][:16]}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
