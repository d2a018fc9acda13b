"""Which adapters cross between here and Hugging Face PEFT: a method that PEFT has brings a line for each table."""

from peft import LNTuningConfig, LoraConfig

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ALL = "all-linear"

# name: (kind of model, PEFT's configuration). PEFT saves it with random values, agri_tune must give PEFT's logits.
MADE_BY_PEFT = {
    "lora": ("llama3", LoraConfig(r=8, lora_alpha=16, target_modules=LINEARS)),
    "lora-all-linear": ("mistral", LoraConfig(r=4, lora_alpha=4, target_modules=ALL)),
    "lora-two-targets": ("smollm2", LoraConfig(r=4, target_modules=["q_proj", "down_proj"])),
    "lora-regex": ("qwen3", LoraConfig(r=4, target_modules=r".*\.layers\.[02]\..*(q_proj|up_proj)")),
    "lora-layers": ("llama2", LoraConfig(r=4, target_modules=["v_proj"], layers_to_transform=[1, 2])),
    "lora-exclude": ("llama2", LoraConfig(r=4, target_modules=ALL, exclude_modules=["o_proj"])),
    "rslora": ("qwen2", LoraConfig(r=16, lora_alpha=8, use_rslora=True, target_modules=LINEARS)),
    "dora": ("qwen2", LoraConfig(r=8, lora_alpha=16, use_dora=True, target_modules=LINEARS)),
    "dora-two-targets": ("mistral", LoraConfig(r=4, use_dora=True, use_rslora=True, target_modules=["q_proj", "down_proj"])),
    "patterns": ("llama3", LoraConfig(r=8, lora_alpha=16, target_modules=LINEARS,
                                      rank_pattern={"q_proj": 4, r"layers\.1\.mlp\.up_proj": 12, "^model.layers.2.mlp.down_proj": 2},
                                      alpha_pattern={"v_proj": 3, r"layers\.1\..*up_proj": 20})),
    "patterns-rslora": ("qwen3", LoraConfig(r=8, lora_alpha=16, use_rslora=True, target_modules=ALL, rank_pattern={"k_proj": 2},
                                            alpha_pattern={"down_proj": 5})),
    "bias-all": ("qwen2", LoraConfig(r=4, target_modules=["q_proj", "up_proj"], bias="all")),
    "bias-lora-only": ("qwen2", LoraConfig(r=4, target_modules=["q_proj", "up_proj"], bias="lora_only")),
    "bitfit": ("qwen2", LoraConfig(target_modules="dummy-target-modules", bias="all")),
    "saved-norms": ("llama3", LoraConfig(r=4, target_modules=["up_proj"], modules_to_save=["input_layernorm", "norm"])),
    "saved-linears": ("qwen2", LoraConfig(r=4, target_modules=["up_proj"], modules_to_save=["q_proj", "v_proj"])),
    "norm-tuning": ("llama3", LNTuningConfig(target_modules=["input_layernorm", "post_attention_layernorm", "norm"])),
}

# name: (kind of model, settings). agri_tune trains it, PEFT must give agri_tune's logits. "method.name" is lora where it is not given.
TRAINED_HERE = {
    "lora": ("llama3", {"method.rank": 8}),
    "rslora": ("qwen2", {"method.rank": 4, "method.use_rslora": True, "method.targets": ["q_proj", "v_proj"]}),
    "patterns": ("qwen3", {"method.rank": 4, "method.rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 8},
                           "method.alpha_pattern": {"down_proj": 3}}),
    "patterns-rslora": ("mistral", {"method.rank": 4, "method.use_rslora": True, "method.rank_pattern": {"q_proj": 2}}),
    "targets-regex": ("llama2", {"method.targets": r".*layers\.[01]\.mlp\.(up|down)_proj", "method.dropout": 0.1}),
    "dora": ("qwen2", {"method.name": "dora", "method.rank": 4, "method.alpha": 16}),
    "bitfit": ("qwen2", {"method.name": "bitfit"}),
    "norm-tuning": ("llama3", {"method.name": "norm_tuning"}),
}

# method: (kind of model, PEFT's configuration, without dropout). Both train from the start that PEFT saved, and their losses must agree.
CURVES = {
    "lora": ("llama3", LoraConfig(r=8, lora_alpha=16, target_modules=ALL)),
    "dora": ("llama3", LoraConfig(r=8, lora_alpha=16, use_dora=True, target_modules=ALL)),
    "norm_tuning": ("llama3", LNTuningConfig(target_modules=["input_layernorm", "post_attention_layernorm", "norm"])),
}
