#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace graft::kernels::detail {

/// Finds the codes of the 8-bit dynamic map.
/// Source  Dettmers et al. 2021, arXiv:2110.02861; the rounding is that of bitsandbytes 0.50 on CPUs, which looks the code up in a table
///         of 65,536 steps.
class DynamicCoder {
 public:
  DynamicCoder();
  uint8_t code(float value) const;
  const std::vector<float>& map() const { return map_; }

 private:
  std::vector<float> map_;
  std::array<float, 255> borders_{};  ///< the middles between neighbours
};

/// The mean in the order in which torch adds on one thread of an x86 processor (8 lanes, 4 rows, cascaded): the offset that
/// bitsandbytes subtracts, to the bit. On several threads torch adds more than 32,768 values in another order.
float mean_in_torch_order(std::span<const float> values);

}  // namespace graft::kernels::detail
