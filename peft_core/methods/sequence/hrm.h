#pragma once

#include <cstdint>
#include <string>

#include "peft_core/base/config.h"
#include "peft_core/methods/activation_adapters.h"

namespace graft::peft {

enum class HrmMode { kReleased, kPaper };

inline EnumNames<HrmMode> config_names(HrmMode) { return {{"released", HrmMode::kReleased}, {"paper", HrmMode::kPaper}}; }

struct HrmConfig {
  std::string name = "hrm";
  int64_t state_size = 32;
  HrmMode mode = HrmMode::kReleased;
  double gate = 0.0;
  BlockChoice blocks;

  template <class Visitor>
  void visit(Visitor& v) {
    v("name", name, "adaptation method");
    v("state_size", state_size, "numbers d that each adapter remembers along a sequence");
    v("mode", mode, "released: reads what the block reads, as the authors' code does; paper: what the block puts out, as the equations say");
    v("gate", gate, "start of the scalar that the adapter's output is multiplied with; 0 changes nothing at first");
    blocks.visit(v);
  }
};

/// A linear state-space model along the sequence, beside or after a block, behind one scalar gate:
///     s_t = Ā ⊙ s_(t-1) + B̄ u_t,  h_t + α C s_t      Ā = e^(dt a), B̄ = (Ā − 1) / a ⊙ B, a = −e^log_a, dt = clamp(softplus(log_dt), 1e-4, 0.1)
/// Shapes   log_a, log_dt (d), B (d, C), C (C, d), α (1), fp32; states in fp32.
/// Start    a = −1 … −d, log_dt uniform in [log 1e-4, log 0.1], B Gaussian / √C, C Gaussian / √d.
/// Throws   InvalidArgument for a state size outside 1..4096 and an unknown kind of block.
/// Source   Thapliyal 2026, arXiv:2606.26290.
MethodSpec hrm_method();

}  // namespace graft::peft
