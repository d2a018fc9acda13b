#pragma once

#include <cmath>

#include "pipelines/report/report.h"

namespace graft::testing {

/// A run that never was, with texts that would break a page that does not escape them.
inline pipelines::ReportContent sample_report() {
  using pipelines::Score;
  pipelines::ReportContent content;
  content.title = "SmolLM2-135M-Instruct learns farm questions & answers";
  content.summary = "LoRA of rank 16 on all linear layers, 300 steps on 320 questions; 64 questions were kept out of training.";
  content.facts = {{"Model", "SmolLM2-135M-Instruct (GGUF, 134,515,008 parameters)"},
                   {"Method", "LoRA, rank 16, alpha 32, all-linear"},
                   {"Trained parameters", "4,884,480 (3.5%)"},
                   {"Training data", "train.jsonl, sha256 9f86d081884c7d65…"},
                   {"Held-out data", "heldout.jsonl, 64 questions"},
                   {"Hardware", "AMD EPYC, 2 threads, AVX-512 BF16"},
                   {"LibTorch", "2.13.0"},
                   {"Commit", "05069d675a85"},
                   {"Run id", "20261125-195632-3f9a2c"},
                   {"Seed", "7"}};
  content.scores = {{"Held-out loss", "nats a token, answers only", 2.871, 1.642, Score::Kind::kNumber, Score::Better::kLower},
                    {"Multiple choice", "32 questions, by option likelihood", 0.344, 0.531, Score::Kind::kShare},
                    {"Token F1", "64 answers", 0.182, 0.417, Score::Kind::kShare},
                    {"ROUGE-L", "64 answers", 0.165, 0.388, Score::Kind::kShare},
                    {"Exact match", "64 answers", 0.0, 0.0, Score::Kind::kShare},
                    {"Perplexity, general text", "what was forgotten", 21.4, 22.1, Score::Kind::kNumber, Score::Better::kLower}};
  for (int64_t step = 1; step <= 300; ++step) {
    const double s = static_cast<double>(step);
    const double noise = std::sin(s * 12.9898) * 0.18 + std::sin(s * 3.7) * 0.1;
    content.steps.push_back({.step = step, .loss = 1.5 + 1.5 * std::exp(-s / 60) + noise, .learning_rate = 2e-4,
                             .tokens_per_second = 1180 + 60 * std::sin(s / 9) - (step % 50 == 0 ? 240 : 0),
                             .peak_memory_bytes = static_cast<int64_t>((1.05 + 0.25 * (1 - std::exp(-s / 4))) * (1 << 30))});
  }
  content.held_out = {{0, 2.871}, {100, 1.93}, {200, 1.70}, {300, 1.642}};
  content.samples = {
      {"When should wheat be sown in the north-western plains, and what does late sowing cost?",
       "From the first to the third week of November. Each day of delay after that costs some 25 to 30 kg of grain a hectare.",
       "Wheat is a popular crop in the north-western plains. It is important to sow wheat at the right time, because wheat needs the right "
       "temperature. There are many factors to consider, such as soil, rainfall and the variety.",
       "Sow timely varieties in the first three weeks of November. After that, every day of delay lowers the yield by about 25 kg a hectare."},
      {"How is <b>neem</b> seed extract made & used?", "Soak 5 kg of crushed kernels in 100 L of water overnight, strain, add 100 g of soap; spray in the evening.",
       "</script><script>alert('never')</script>", "Crush 5 kg of kernels, soak them overnight in 100 litres of water, strain,\nadd soap and spray in the evening."},
      {"Which pest makes \"dead hearts\" in rice?", "Yellow stem borer.", "", "The yellow stem borer (Scirpophaga incertulas)."}};
  content.data.counts = {{"Rows read", "331"}, {"Bad rows left out", "2"}, {"Exact duplicates left out", "6"}, {"Near duplicates left out", "3"},
                         {"Overlap with held-out data", "0"}, {"Rows used", "320"}};
  content.data.problems = {"train.jsonl:17: no answer", "train.jsonl:204: is not JSON (line 1, byte 55)"};
  content.recipes = {{"Ask a question", "build/release/bin/agri_tune predict --model SmolLM2-135M-Instruct.Q8_0.gguf --adapter runs/demo --prompt \"When is wheat sown?\""},
                     {"Merge it into the model", "build/release/bin/agri_tune merge --model SmolLM2-135M-Instruct.Q8_0.gguf --adapter runs/demo --out merged"},
                     {"Load it in Python", "from peft import PeftModel\nmodel = PeftModel.from_pretrained(base, \"runs/demo\")"}};
  return content;
}

}  // namespace graft::testing
