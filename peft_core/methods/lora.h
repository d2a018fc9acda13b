#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "peft_core/methods/layer_choice.h"
#include "peft_core/methods/method.h"

namespace graft::peft {

struct LoraConfig {
  std::string name = "lora";
  int64_t rank = 16;
  double alpha = 32.0;
  double dropout = 0.0;
  LayerChoice choice;
  bool use_rslora = false;
  std::map<std::string, int64_t> rank_pattern;
  std::map<std::string, double> alpha_pattern;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("rank", rank, "inner size r of the update; 1 <= r <= min(in, out) of every layer");
    v("alpha", alpha, "the update is scaled by alpha / r (alpha / sqrt(r) with use_rslora)");
    v("dropout", dropout, "probability of dropping an input of the update while training, in [0, 1)");
    choice.visit(v);
    v("use_rslora", use_rslora, "rank-stabilised scaling");
    v("rank_pattern", rank_pattern, "rank of single layers: expression over the name's end -> rank");
    v("alpha_pattern", alpha_pattern, "alpha of single layers: expression over the name's end -> alpha");
  }
};

/// Low-rank adaptation: y = W x + b + (alpha / r) · B A drop(x).
///
/// Shapes   x (N, in) -> y (N, out); A (r, in), B (out, r), both fp32 whatever the base is.
/// Init     A uniform in ±1/√in (Kaiming with a = √5, as PEFT does), B = 0, so attaching changes no output.
/// Gradient exact.
/// Throws   InvalidArgument if a rank is below 1 or above min(in, out), a pattern or target matches nothing.
/// Source   Hu et al. 2021, arXiv:2106.09685; rsLoRA: Kalajdzievski 2023, arXiv:2312.03732; file layout of Hugging Face PEFT.
MethodSpec lora_method();

/// What the update of one layer is multiplied with: its own alpha, where alpha_pattern names it, over its rank or the root of it.
double lora_scale(const LoraConfig& config, const std::string& layer, int64_t rank);

}  // namespace graft::peft
