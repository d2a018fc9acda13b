#pragma once

#include <cstdint>
#include <string>

#include "peft_core/base/config.h"
#include "peft_core/methods/method.h"

namespace graft::peft {

enum class PromptStart { kRandom, kSampleVocab, kText };

inline EnumNames<PromptStart> config_names(PromptStart) {
  return {{"random", PromptStart::kRandom}, {"sample_vocab", PromptStart::kSampleVocab}, {"text", PromptStart::kText}};
}

struct PromptTuningConfig {
  std::string name = "prompt_tuning";
  int64_t num_virtual_tokens = 20;
  PromptStart init = PromptStart::kRandom;
  std::string init_text;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("num_virtual_tokens", num_virtual_tokens, "trained vectors that stand before every sequence");
    v("init", init, "random (Gaussian), sample_vocab (embeddings of random tokens) or text (embeddings of init_text)");
    v("init_text", init_text, "for init text: repeated or cut to num_virtual_tokens tokens");
  }
};

/// Trained vectors (P, C) fp32 enter the model before every sequence's first token; the tokens' positions begin after them.
/// Throws   InvalidArgument for a count outside 1..65536, and for init text without a text or where no tokenizer is at hand.
/// Source   Lester et al. 2021, arXiv:2104.08691; starts and file layout of PEFT's PROMPT_TUNING.
MethodSpec prompt_tuning_method();

}  // namespace graft::peft
