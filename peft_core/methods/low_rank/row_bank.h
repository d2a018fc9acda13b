#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace graft::peft {

/// Representative rows of a weight: its rows are put into `clusters` groups by k-means, and of each group the `rows` rows nearest to its
/// centre are taken.
///   start by k-means++, at most 100 rounds; then the cheapest rows of larger groups go over to any group with fewer than `rows`
/// Shapes   weight (out, in) fp32, clusters · rows <= out; result (clusters, rows) int64, no number twice, by rising distance, ties by number.
/// Random   only the start; distances are in float64, so that the number of threads changes nothing.
at::Tensor clustered_rows(const at::Tensor& weight, int64_t clusters, int64_t rows, at::Generator& random);

/// The same shape from random rows, no number twice.
at::Tensor random_rows(int64_t out, int64_t clusters, int64_t rows, at::Generator& random);

}  // namespace graft::peft
