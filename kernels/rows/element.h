#pragma once

namespace graft::kernels {

/// Type of the numbers that a row kernel reads and writes; it computes in fp32.
enum class Element { kFloat32, kBFloat16 };

}  // namespace graft::kernels
