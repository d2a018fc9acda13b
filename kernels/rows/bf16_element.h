#pragma once

// Private to this folder and its tests: one number of either element type.

#include <cstdint>

#include "kernels/base/bfloat16.h"

namespace graft::kernels::detail {

struct Bf16 {
  uint16_t bits;
};

inline float load(float v) { return v; }
inline float load(Bf16 v) { return bfloat16_to_float(v.bits); }
inline void store(float& to, float v) { to = v; }
inline void store(Bf16& to, float v) { to.bits = float_to_bfloat16(v); }

}  // namespace graft::kernels::detail
