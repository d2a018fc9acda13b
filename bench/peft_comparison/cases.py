"""What is compared. Each case is one job, told twice: to PEFT and to agri_tune."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    name: str
    model: str            # a folder made by prepare.py
    data: str             # "random": rows of exactly 512 tokens; "questions": short real texts of uneven length
    batch_size: int
    peft: dict            # dtype, compile, nf4: what peft_worker.py is told
    ours: dict            # settings of agri_tune
    loss_tolerance: float  # largest difference of our losses from the reference's, beyond which no speed is quoted
    note: str = ""
    default: bool = True
    settings: dict = field(default_factory=dict)

    def reference(self) -> dict:
        """PEFT's options for the losses that both sides are held against."""
        return {"dtype": "float32", **({"nf4": True} if self.peft.get("nf4") else {})}


# Losses are held against the same job done by PEFT in fp32, eager (for NF4 bases: with bitsandbytes computing in fp32). fp32 on both sides
# differs by rounding in the order of sums: 1e-3 of a loss near 10 is a hundred times that, and far below what any mistake in data, masks,
# scaling or schedule makes. bf16 keeps 8 bits; a sound bf16 program stays within some 1e-2 on such losses. PEFT's own bf16 is no reference:
# it rounds a layer's output before it adds the adapter's term, and so loses most of the first, small updates (0.1 in the second loss).
_FP32, _BF16 = 1e-3, 0.05

CASES = [
    Case("peft-fp32-eager", "smollm2-135m", "random", 4, {"dtype": "float32"}, {"base.dtype": "fp32"}, _FP32),
    Case("peft-bf16-eager", "smollm2-135m", "random", 4, {"dtype": "bfloat16"}, {"base.dtype": "bf16"}, _BF16),
    Case("peft-bf16-compile", "smollm2-135m", "random", 4, {"dtype": "bfloat16", "compile": True}, {"base.dtype": "bf16"}, _BF16),
    Case("peft-fp32-compile", "smollm2-135m", "random", 4, {"dtype": "float32", "compile": True}, {"base.dtype": "fp32"}, _FP32),
    Case("bf16-beside-fp32", "smollm2-135m", "random", 4, {"dtype": "float32"}, {"base.dtype": "bf16"}, _BF16,
         "PEFT computing in fp32: the stronger peer where the processor has no bf16 products"),
    Case("bnb-nf4", "smollm2-135m", "random", 4, {"dtype": "bfloat16", "nf4": True}, {"base.dtype": "bf16", "base.quantize": "nf4"}, _BF16),
    Case("bnb-nf4-fp32", "smollm2-135m", "random", 4, {"dtype": "float32", "nf4": True}, {"base.dtype": "fp32", "base.quantize": "nf4"},
         _FP32, "bitsandbytes computing in fp32: the stronger peer where the processor has no bf16 products"),
    Case("questions-fp32", "smollm2-135m", "questions", 8, {"dtype": "float32"}, {"base.dtype": "fp32"}, _FP32,
         "icar-qna: PEFT pads each batch of 8, agri_tune lays the same 8 rows end to end; real tokens counted"),
    Case("questions-bf16", "smollm2-135m", "questions", 8, {"dtype": "bfloat16"}, {"base.dtype": "bf16"}, _BF16,
         "icar-qna: PEFT pads each batch of 8, agri_tune lays the same 8 rows end to end; real tokens counted"),
    Case("qwen05b-fp32", "qwen2.5-0.5b-shape", "random", 4, {"dtype": "float32"}, {"base.dtype": "fp32"}, _FP32, "random weights"),
    Case("qwen05b-bf16", "qwen2.5-0.5b-shape", "random", 4, {"dtype": "bfloat16"}, {"base.dtype": "bf16"}, _BF16, "random weights"),
]
BY_NAME = {case.name: case for case in CASES}

LORA = {"rank": 16, "alpha": 32}
LEARNING_RATE = 2e-4
SEQUENCE = 512
SEED = 20251

# agri_tune's side of "the same job": what PEFT's plain loop does, spelled out.
SETTINGS = {
    "method.rank": LORA["rank"], "method.alpha": LORA["alpha"], "method.dropout": 0, "method.targets": "all-linear",
    "train.max_length": SEQUENCE, "train.accumulation": 1, "train.learning_rate": LEARNING_RATE, "train.weight_decay": 0,
    "train.schedule": "constant", "train.warmup_ratio": 0, "train.clip_norm": 0, "train.packing": "false", "train.seed": SEED,
    "train.shuffle": "false", "train.save_every": 0, "data.format": "text", "data.template": "plain", "data.loss_on": "all",
}
