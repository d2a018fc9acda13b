#pragma once

// Private to the references: one buffer of either element type, read and written as double.

#include <cstdint>

#include "kernels/rows/bf16_element.h"
#include "kernels/rows/element.h"

namespace graft::kernels::detail {

struct Values {
  Element type;
  void* data;

  double operator[](int64_t i) const {
    if (type == Element::kFloat32) return static_cast<const float*>(data)[i];
    return load(static_cast<const Bf16*>(data)[i]);
  }
  void set(int64_t i, double value) const {
    if (type == Element::kFloat32) {
      static_cast<float*>(data)[i] = static_cast<float>(value);
    } else {
      store(static_cast<Bf16*>(data)[i], static_cast<float>(value));
    }
  }
};

inline Values read(Element type, const void* data) { return {type, const_cast<void*>(data)}; }

}  // namespace graft::kernels::detail
