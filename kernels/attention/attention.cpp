#include "kernels/attention/attention.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "kernels/attention/variants.h"
#include "kernels/base/error.h"
#include "kernels/tiles/tiles.h"

namespace graft::kernels {
namespace {

using std::to_string;

void check_heads(const AttentionProblem& problem) {
  const bool fits = problem.heads > 0 && problem.key_heads > 0 && problem.heads % problem.key_heads == 0 && problem.width > 0;
  if (!fits) {
    throw InvalidArgument({.where = "attention", .what = "heads do not fit together",
                           .expected = "query heads that are a multiple of the key heads, and a width above 0",
                           .got = to_string(problem.heads) + ", " + to_string(problem.key_heads) + ", width " + to_string(problem.width)});
  }
  if (!(problem.scale > 0.0f) || !std::isfinite(problem.scale) || problem.window < 0) {
    throw InvalidArgument({.where = "attention", .what = "scale or window is out of range",
                           .expected = "a scale above 0 and a window of 0 or more",
                           .got = to_string(problem.scale) + ", " + to_string(problem.window)});
  }
}

void check_lengths(const AttentionProblem& problem) {
  const auto &queries = problem.lengths, &keys = problem.key_lengths.empty() ? problem.lengths : problem.key_lengths;
  if (queries.size() != keys.size()) {
    throw InvalidArgument({.where = "attention", .what = "has other sequences of keys than of queries",
                           .expected = to_string(queries.size()), .got = to_string(keys.size())});
  }
  for (size_t s = 0; s < queries.size(); ++s) {
    if (queries[s] < 0 || keys[s] < queries[s]) {
      throw InvalidArgument({.where = "attention", .what = "sequence " + to_string(s) + " has a wrong length",
                             .expected = "0 or more queries and at least as many keys",
                             .got = to_string(queries[s]) + " queries, " + to_string(keys[s]) + " keys"});
    }
  }
}

void check_stride(const char* name, int64_t stride, int64_t row) {
  if (stride >= row) return;
  throw InvalidArgument({.where = "attention", .what = std::string("rows of ") + name + " overlap",
                         .expected = "a stride of at least " + to_string(row), .got = to_string(stride)});
}

void check(const AttentionProblem& problem) {
  check_heads(problem);
  check_lengths(problem);
  check_stride("q", problem.q.stride, problem.heads * problem.width);
  check_stride("k", problem.k.stride, problem.key_heads * problem.width);
  check_stride("v", problem.v.stride, problem.key_heads * problem.width);
}

constexpr bool always(const AttentionProblem&) { return true; }

/// Tiles take 16 rows; the transposed copies are made 16 columns at a time.
bool fits_tiles(const AttentionProblem& problem) {
  constexpr int64_t kMostWidth = 256, kTileRows = 16;
  return problem.width % kTileRows == 0 && problem.width <= kMostWidth;
}
bool amx_supported(const AttentionProblem& problem) { return amx_tiles_supported() && fits_tiles(problem); }
bool avx512_bf16_supported(const AttentionProblem& problem) { return dot_tiles_supported() && fits_tiles(problem); }
bool avx2_supported(const AttentionProblem& problem) { return fma_tiles_supported() && fits_tiles(problem); }

constexpr std::array<detail::AttentionVariant, 4> kVariants = {{
    {"amx", amx_supported, detail::attention_forward_amx, detail::attention_backward_amx},
    {"avx512_bf16", avx512_bf16_supported, detail::attention_forward_avx512_bf16, detail::attention_backward_avx512_bf16},
    {"avx2", avx2_supported, detail::attention_forward_avx2, detail::attention_backward_avx2},
    {"reference", always, attention_forward_reference, attention_backward_reference},
}};

const detail::AttentionVariant& best_variant(const AttentionProblem& problem) {
  return *std::find_if(kVariants.begin(), kVariants.end(), [&](const auto& variant) { return variant.supported(problem); });
}

}  // namespace

namespace detail {

std::span<const AttentionVariant> attention_variants() { return kVariants; }

}  // namespace detail

bool attention_supported(const AttentionProblem& problem) { return tiles_pay() && fits_tiles(problem); }

void attention_forward(const AttentionProblem& problem, HeadRows<uint16_t> out, float* log_sum_exp) {
  check(problem);
  check_stride("out", out.stride, problem.heads * problem.width);
  best_variant(problem).forward(problem, out, log_sum_exp);
}

void attention_backward(const AttentionProblem& problem, const AttentionGradients& gradients) {
  check(problem);
  const int64_t row = problem.heads * problem.width, key_row = problem.key_heads * problem.width;
  check_stride("out", gradients.out.stride, row);
  check_stride("the gradient of out", gradients.out_gradient.stride, row);
  check_stride("dq", gradients.dq.stride, row);
  check_stride("dk", gradients.dk.stride, key_row);
  check_stride("dv", gradients.dv.stride, key_row);
  best_variant(problem).backward(problem, gradients);
}

}  // namespace graft::kernels
