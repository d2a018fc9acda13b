#pragma once

#include <cstdint>
#include <string>

#include "peft_core/base/config.h"
#include "peft_core/methods/method.h"

namespace graft::peft {

enum class PrefixStart { kRandom, kZero };

inline EnumNames<PrefixStart> config_names(PrefixStart) { return {{"random", PrefixStart::kRandom}, {"zero", PrefixStart::kZero}}; }

struct PrefixTuningConfig {
  std::string name = "prefix_tuning";
  int64_t num_virtual_tokens = 20;
  PrefixStart init = PrefixStart::kRandom;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("num_virtual_tokens", num_virtual_tokens, "trained keys and values that stand before every sequence in every layer");
    v("init", init, "random (Gaussian) or zero");
  }
};

/// Trained keys and values stand before every sequence's own in every layer, unrotated; the tokens' positions begin after them.
/// One table (P, layers · 2 · Hk · D) fp32: for every layer its keys, then its values.
/// Throws   InvalidArgument for a count outside 1..65536.
/// Source   Li and Liang 2021, arXiv:2101.00190; file layout of PEFT's PREFIX_TUNING.
MethodSpec prefix_tuning_method();

}  // namespace graft::peft
