#include "kernels/ops/head_loss_on_device.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "kernels/base/error.h"
#include "kernels/head_loss/head_loss_cuda.h"
#include "kernels/ops/on_device.h"

namespace graft::ops {
namespace {

constexpr int64_t kChunk = 8192;  // words whose logits are made at a time: products large enough for a GPU, 32 MiB for 2,048 rows in bf16

kernels::HeadElement head_element_of(const at::Tensor& t) {
  GRAFT_ASSERT(t.is_contiguous() && (t.scalar_type() == at::kFloat || t.scalar_type() == at::kBFloat16));
  return t.scalar_type() == at::kFloat ? kernels::HeadElement::kFloat32 : kernels::HeadElement::kBFloat16;
}

/// What is carried from chunk to chunk, one row of the tensor each.
struct Running {
  at::Tensor numbers;  // (5, M) fp32

  explicit Running(const at::Tensor& hidden) : numbers(at::empty({5, hidden.size(0)}, hidden.options().dtype(at::kFloat))) {}

  kernels::HeadRunning with(const at::Tensor& targets, at::Tensor* best) {
    const int64_t rows = numbers.size(1);
    auto* first = numbers.mutable_data_ptr<float>();
    return {.rows = rows, .targets = targets.const_data_ptr<int64_t>(), .top = first, .sum = first + rows, .target_logit = first + 2 * rows,
            .target_rounding = first + 3 * rows, .rescale = first + 4 * rows, .best = best == nullptr ? nullptr : best->mutable_data_ptr<int64_t>()};
  }
};

}  // namespace

int64_t head_loss_bytes_on_device(int64_t rows, int64_t width, int64_t vocabulary, at::ScalarType dtype) {
  const int64_t value = dtype == at::kFloat ? 4 : 2;
  // A chunk's logits and their softmax; the sum of its words, what a chunk adds to it, and the gradient.
  return rows * (2 * value * std::min(kChunk, vocabulary) + (4 + 4 + value) * width);
}

at::Tensor nll_on_device(const at::Tensor& hidden, const at::Tensor& targets, int64_t vocabulary, const HeadRows& rows, at::Tensor* gradient,
                         at::Tensor* best) {
  const auto input = hidden.contiguous(), wanted = targets.contiguous();
  const auto type = head_element_of(input);
  const int64_t width = input.size(1);
  auto* stream = stream_of(input);
  auto nll = at::empty({input.size(0)}, input.options().dtype(at::kFloat));
  at::Tensor sums;
  if (gradient != nullptr) {
    sums = at::empty(input.sizes(), input.options().dtype(at::kFloat));
    *gradient = at::empty_like(input);  // holds the targets' words until the end
  }
  if (best != nullptr) *best = at::empty_like(wanted);
  Running memory(input);
  const auto running = memory.with(wanted, best);
  auto* const sum_start = sums.defined() ? sums.mutable_data_ptr<float>() : nullptr;
  auto* const words_of_targets = gradient != nullptr ? gradient->mutable_data_ptr() : nullptr;

  kernels::begin_head_loss_cuda(running, width, sum_start, stream);
  for (int64_t begin = 0; begin < vocabulary; begin += kChunk) {
    const kernels::HeadChunk chunk{.first = begin, .count = std::min(kChunk, vocabulary - begin)};
    const auto words = rows(begin, chunk.count).contiguous();
    auto logits = at::mm(input, words.t());
    kernels::absorb_logits_cuda(type, running, chunk, logits.mutable_data_ptr(), stream);
    if (gradient == nullptr) continue;
    const auto part = at::mm(logits, words);
    kernels::add_head_chunk_cuda(type, running, chunk, width, part.const_data_ptr(), words.const_data_ptr(), sum_start, words_of_targets, stream);
  }
  kernels::finish_head_loss_cuda(type, running, width, sum_start, words_of_targets, nll.mutable_data_ptr<float>(), words_of_targets, stream);
  return nll;
}

}  // namespace graft::ops
