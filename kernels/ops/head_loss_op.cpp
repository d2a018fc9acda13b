#include "kernels/ops/head_loss_op.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/base/error.h"
#include "kernels/head_loss/head_loss.h"
#include "kernels/ops/apply.h"
#include "kernels/ops/element_of.h"
#include "kernels/ops/head_loss_on_device.h"
#include "kernels/ops/on_device.h"
#include "kernels/ops/products.h"
#include "kernels/rows/softmax_block_rows.h"

namespace graft::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

constexpr int64_t kVocabularyBlock = 4096;  // a block's logits for 2,048 rows are 32 MiB in fp32

/// What is known about each row's softmax after some blocks of the vocabulary.
class OnlineSoftmax {
 public:
  OnlineSoftmax(int64_t rows, const at::TensorOptions& options)
      : top_(at::full({rows}, -std::numeric_limits<float>::infinity(), options)),
        sum_(at::zeros({rows}, options)),
        target_logit_(at::zeros({rows}, options)),
        rescale_(at::empty({rows}, options)) {}

  /// Turns the block's logits (M, words from `begin`) into exp(logit − top so far), in place; rescale() then brings old sums to that top.
  void absorb(at::Tensor& logits, const at::Tensor& targets, int64_t begin) {
    kernels::absorb_logits(element_of(logits), {.rows = logits.size(0), .count = logits.size(1), .stride = logits.stride(0), .first = begin},
                           logits.mutable_data_ptr(), targets.const_data_ptr<int64_t>(),
                           {top_.mutable_data_ptr<float>(), sum_.mutable_data_ptr<float>(), target_logit_.mutable_data_ptr<float>()},
                           rescale_.mutable_data_ptr<float>());
  }

  const at::Tensor& top() const { return top_; }          // (M)
  const at::Tensor& sum() const { return sum_; }          // (M), Σ exp(logit − top)
  const at::Tensor& rescale() const { return rescale_; }  // (M), exp(top before − top after) of the last block
  at::Tensor nll() const { return top_ + sum_.log() - target_logit_; }

 private:
  at::Tensor top_, sum_, target_logit_, rescale_;  // fp32
};

struct LossAndGradient {
  at::Tensor nll, gradient;  // (M) fp32, (M, C) in the dtype of hidden
};

uint16_t* mutable_bits(at::Tensor& t) { return reinterpret_cast<uint16_t*>(t.mutable_data_ptr<at::BFloat16>()); }

/// On tiles, without logits in memory. `gradient` and `best` may be null.
at::Tensor nll_on_tiles(const at::Tensor& hidden, const at::Tensor& targets, int64_t vocabulary, const HeadRows& rows,
                        at::Tensor* gradient, at::Tensor* best) {
  const auto input = hidden.contiguous(), wanted = targets.contiguous();
  auto nll = at::empty({input.size(0)}, input.options().dtype(at::kFloat));
  at::Tensor block;  // stays alive until the next one is asked for
  kernels::HeadLoss loss{.rows = input.size(0), .width = input.size(1), .vocabulary = vocabulary,
                         .hidden = reinterpret_cast<const uint16_t*>(input.const_data_ptr<at::BFloat16>()),
                         .hidden_stride = input.size(1), .targets = wanted.const_data_ptr<int64_t>(),
                         .words = [&](int64_t first, int64_t count) -> kernels::WordRows {
                           block = rows(first, count);
                           return {reinterpret_cast<const uint16_t*>(block.const_data_ptr<at::BFloat16>()), block.stride(0)};
                         },
                         .nll = nll.mutable_data_ptr<float>()};
  if (gradient != nullptr) {
    *gradient = at::empty_like(input);
    loss.gradient = mutable_bits(*gradient);
    loss.gradient_stride = input.size(1);
  }
  if (best != nullptr) {
    *best = at::empty_like(wanted);
    loss.best = best->mutable_data_ptr<int64_t>();
  }
  kernels::head_loss(loss);
  return nll;
}

/// A block of words at a time with LibTorch's products; what lies between them in one pass over the logits.
LossAndGradient with_libtorch(const at::Tensor& hidden, const at::Tensor& targets, int64_t vocabulary, const HeadRows& rows) {
  const int64_t count_rows = hidden.size(0), width = hidden.size(1);
  const auto wanted = targets.contiguous();
  OnlineSoftmax softmax(count_rows, hidden.options().dtype(at::kFloat));
  auto expected = at::zeros({count_rows, width}, hidden.options().dtype(at::kFloat));  // Σ exp(…) · W row
  auto target_weights = at::empty_like(hidden);
  for (int64_t begin = 0; begin < vocabulary; begin += kVocabularyBlock) {
    const int64_t count = std::min(kVocabularyBlock, vocabulary - begin);
    const auto weight = rows(begin, count);
    auto logits = at::mm(hidden, weight.t());
    softmax.absorb(logits, wanted, begin);
    const auto part = at::mm(logits, weight);
    kernels::rescale_and_add(element_of(part), part.const_data_ptr(), softmax.rescale().const_data_ptr<float>(), count_rows, width,
                             expected.mutable_data_ptr<float>());
    const auto here = at::logical_and(wanted.ge(begin), wanted.lt(begin + count)).nonzero().squeeze(1);
    if (here.numel() > 0)
      target_weights.index_copy_(0, here, weight.index_select(0, wanted.index_select(0, here) - begin));
  }
  return {softmax.nll(), expected.div_(softmax.sum().unsqueeze(1)).sub_(target_weights).to(hidden.scalar_type())};
}

struct HeadLoss : public torch::autograd::Function<HeadLoss> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& hidden, const at::Tensor& targets, int64_t vocabulary,
                            const HeadRows& rows) {
    LossAndGradient result;
    if (on_device(hidden)) {
      result.nll = nll_on_device(hidden, targets, vocabulary, rows, &result.gradient, nullptr);
    } else if (runs_on_tiles(hidden)) {
      result.nll = nll_on_tiles(hidden, targets, vocabulary, rows, &result.gradient, nullptr);
    } else {
      result = with_libtorch(hidden, targets, vocabulary, rows);
    }
    ctx->save_for_backward({result.gradient});
    return result.nll.sum();
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list gradients) {
    const auto gradient = ctx->get_saved_variables()[0];
    return {gradient * gradients[0].to(gradient.scalar_type()), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor head_loss(const at::Tensor& hidden, const at::Tensor& targets, int64_t vocabulary, const HeadRows& rows) {
  GRAFT_ASSERT(hidden.size(0) == targets.size(0));
  return apply<HeadLoss>(hidden, targets, vocabulary, rows);
}

int64_t head_loss_bytes(int64_t rows, int64_t width, int64_t vocabulary, at::ScalarType dtype) {
  if (runs_on_tiles(dtype)) return kernels::head_loss_scratch(rows, width, /*gradient=*/true) + 2 * rows * width;
  // A block's logits, its share of Σ p W, that sum, the targets' rows and the gradient.
  return rows * (4 * std::min(kVocabularyBlock, vocabulary) + 4 * 4 * width);
}

at::Tensor head_nll(const at::Tensor& hidden, const at::Tensor& targets, int64_t vocabulary, const HeadRows& rows,
                    at::Tensor* best) {
  at::NoGradGuard no_gradient;
  if (on_device(hidden)) return nll_on_device(hidden, targets, vocabulary, rows, nullptr, best);
  if (runs_on_tiles(hidden)) return nll_on_tiles(hidden, targets, vocabulary, rows, nullptr, best);
  const auto wanted = targets.contiguous();
  OnlineSoftmax softmax(hidden.size(0), hidden.options().dtype(at::kFloat));
  if (best != nullptr) *best = at::zeros({hidden.size(0)}, targets.options());
  for (int64_t begin = 0; begin < vocabulary; begin += kVocabularyBlock) {
    auto logits = at::mm(hidden, rows(begin, std::min(kVocabularyBlock, vocabulary - begin)).t());
    if (best != nullptr) {
      const auto [top, at] = logits.max(1);
      *best = at::where(top > softmax.top(), at + begin, *best);
    }
    softmax.absorb(logits, wanted, begin);
  }
  return softmax.nll();
}

}  // namespace graft::ops
