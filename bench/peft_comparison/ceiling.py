"""What the machine allows by arithmetic alone: time of the products that a LoRA step cannot do without, with LibTorch's own operators.

Each frozen matrix is multiplied twice a token (forward and input gradient; no weight gradient), the head likewise. Random data:
zeros run faster than real numbers on some processors.
"""

import argparse
import json
import time

import torch
from transformers import AutoConfig


def shapes(config) -> dict:
    """(in, out) -> how often a token passes it."""
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    query, key = head_dim * config.num_attention_heads, head_dim * config.num_key_value_heads
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    counts: dict = {}
    for shape, times in (((hidden, query), layers), ((hidden, key), 2 * layers), ((query, hidden), layers), ((hidden, inner), 2 * layers),
                         ((inner, hidden), layers), ((hidden, config.vocab_size), 1)):
        counts[shape] = counts.get(shape, 0) + times
    return counts


def best_time(call, least_runs: int = 3, least_seconds: float = 0.3, most_seconds: float = 4.0) -> float:
    best, begin, runs = float("inf"), time.perf_counter(), 0
    while runs < least_runs or time.perf_counter() - begin < least_seconds:
        start = time.perf_counter()
        call()
        best, runs = min(best, time.perf_counter() - start), runs + 1
        if time.perf_counter() - begin > most_seconds:
            break
    return best


def product_time(inside: int, outside: int, rows: int, dtype) -> float:
    """Seconds of forward and input gradient."""
    weight, x, g = (torch.randn(*s).to(dtype) for s in ((outside, inside), (rows, inside), (rows, outside)))
    return best_time(lambda: torch.nn.functional.linear(x, weight)) + best_time(lambda: g @ weight)


def measure(config, tokens: int, dtype) -> dict:
    seconds, operations, detail = 0.0, 0, []
    for (inside, outside), times in shapes(config).items():
        rows = 64
        both = product_time(inside, outside, rows, dtype)
        if both < 1.0:  # where a processor lacks the type, the small product says enough and the whole one takes minutes
            rows = tokens if outside < 20000 else min(tokens, 256)
            both = product_time(inside, outside, rows, dtype)
        work = 4 * inside * outside * rows
        detail.append({"in": inside, "out": outside, "times": times, "rows": rows, "gflops": work / both / 1e9})
        seconds += both * tokens / rows * times
        operations += 4 * inside * outside * tokens * times
    return {"tokens_per_second": tokens / seconds, "gflops": operations / seconds / 1e9, "products": detail}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = AutoConfig.from_pretrained(arguments.model)
    print(json.dumps({str(dtype).split(".")[1]: measure(config, arguments.tokens, dtype) for dtype in (torch.float32, torch.bfloat16)}))


if __name__ == "__main__":
    main()
