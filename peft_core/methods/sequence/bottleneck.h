#pragma once

#include <cstdint>
#include <string>

#include "peft_core/base/config.h"
#include "peft_core/methods/activation_adapters.h"

namespace graft::peft {

enum class BottleneckActivation { kRelu, kGelu, kSilu };

inline EnumNames<BottleneckActivation> config_names(BottleneckActivation) {
  return {{"silu", BottleneckActivation::kSilu}, {"gelu", BottleneckActivation::kGelu}, {"relu", BottleneckActivation::kRelu}};
}

struct BottleneckConfig {
  std::string name = "bottleneck";
  double reduction_factor = 16;
  BottleneckActivation activation = BottleneckActivation::kSilu;
  double scaling = 1.0;
  bool parallel = false;
  double dropout = 0.0;
  BlockChoice blocks;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("reduction_factor", reduction_factor, "the inner size is the hidden size divided by this, at least 1");
    v("activation", activation, "silu, gelu or relu");
    v("scaling", scaling, "the adapter's output is multiplied by this");
    v("parallel", parallel, "read what the block reads, not what it puts out");
    v("dropout", dropout, "probability of dropping an inner value while training, in [0, 1)");
    blocks.visit(v);
  }
};

/// h + scaling · (U act(D x + d) + u) after a block, x the block's output h or, parallel, its input.
/// Shapes   D (m, C), d (m), U (C, m), u (C), fp32; m = C / reduction_factor.
/// Start    D uniform in ±1/√C, the rest zero.
/// Throws   InvalidArgument for a factor that is not positive, a dropout outside [0, 1), an unknown kind of block.
/// Source   Houlsby et al. 2019, arXiv:1902.00751; Pfeiffer et al. 2020, arXiv:2005.00247; parallel: He et al. 2021, arXiv:2110.04366.
MethodSpec bottleneck_method();

}  // namespace graft::peft
