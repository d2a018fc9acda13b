#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include "bench/kernels/cuda_bench.h"
#include "kernels/head_loss/head_loss_cuda.h"

namespace graft::bench {
namespace {

using kernels::HeadChunk;
using kernels::HeadElement;
using kernels::HeadRunning;

constexpr int64_t kChunk = 8192;

struct Head {
  int64_t rows, width, vocabulary;
  at::Tensor hidden, words, targets;

  Head(int64_t m, int64_t c, int64_t v)
      : rows(m), width(c), vocabulary(v), hidden(random_numbers({m, c}, at::kBFloat16)), words(random_numbers({v, c}, at::kBFloat16) / 16),
        targets(at::randint(v, {m}, at::TensorOptions().device(at::kCUDA).dtype(at::kLong))) {}
  std::string of(const std::string& kernel) const {
    return kernel + ", " + std::to_string(rows) + " x " + std::to_string(width) + ", " + std::to_string(vocabulary) + " words bf16";
  }
};

struct Running {
  at::Tensor numbers;  // (5, M)

  explicit Running(int64_t rows) : numbers(at::zeros({5, rows}, at::TensorOptions().device(at::kCUDA).dtype(at::kFloat))) {}
  HeadRunning of(const Head& h) {
    auto* p = numbers.mutable_data_ptr<float>();
    return {.rows = h.rows, .targets = h.targets.const_data_ptr<int64_t>(), .top = p, .sum = p + h.rows, .target_logit = p + 2 * h.rows,
            .target_rounding = p + 3 * h.rows, .rescale = p + 4 * h.rows};
  }
};

/// Loss and gradient in chunks of the vocabulary; products are LibTorch's. Returns the gradient.
at::Tensor in_chunks(const Head& h) {
  constexpr auto kType = HeadElement::kBFloat16;
  Running kept(h.rows);
  const auto running = kept.of(h);
  auto sums = at::empty({h.rows, h.width}, kept.numbers.options()), nll = at::empty({h.rows}, kept.numbers.options());
  auto target_words = at::empty_like(h.hidden), part = at::empty_like(h.hidden), room = at::empty({h.rows * kChunk}, h.hidden.options());
  kernels::begin_head_loss_cuda(running, h.width, sums.mutable_data_ptr<float>(), nullptr);
  for (int64_t first = 0; first < h.vocabulary; first += kChunk) {
    const HeadChunk chunk{first, std::min(kChunk, h.vocabulary - first)};
    const auto words = h.words.slice(0, first, first + chunk.count);
    auto logits = room.slice(0, 0, h.rows * chunk.count).view({h.rows, chunk.count});
    at::mm_out(logits, h.hidden, words.t());
    kernels::absorb_logits_cuda(kType, running, chunk, logits.mutable_data_ptr(), nullptr);
    at::mm_out(part, logits, words);
    kernels::add_head_chunk_cuda(kType, running, chunk, h.width, part.const_data_ptr(), words.const_data_ptr(), sums.mutable_data_ptr<float>(),
                                 target_words.mutable_data_ptr(), nullptr);
  }
  kernels::finish_head_loss_cuda(kType, running, h.width, sums.const_data_ptr<float>(), target_words.const_data_ptr(), nll.mutable_data_ptr<float>(),
                                 target_words.mutable_data_ptr(), nullptr);
  return target_words;
}

/// As models write it: all logits, widened, then cross entropy.
at::Tensor at_once(const Head& h) {
  const at::AutoGradMode with_gradient(true);
  const auto hidden = h.hidden.detach().requires_grad_();
  const auto loss = at::cross_entropy_loss(at::mm(hidden, h.words.t()).to(at::kFloat), h.targets, {}, at::Reduction::Sum);
  return torch::autograd::grad({loss}, {hidden})[0];
}

CudaCase whole(int64_t rows, int64_t width, int64_t vocabulary) {
  const Head h(rows, width, vocabulary);
  return {.name = h.of("head, loss and gradient"), .bytes = 0, .ours = [=] { return in_chunks(h); }, .libtorch = [=] { return at_once(h); },
          .operators = 7, .repetitions = 15};
}

/// The logits are read twice, once for the largest. LibTorch's softmax divides by the sum as well, which ours leaves for the end.
CudaCase absorb(int64_t rows, int64_t width) {
  const Head h(rows, width, kChunk);
  auto kept = std::make_shared<Running>(rows);
  const auto logits = at::mm(h.hidden, h.words.t());
  auto work = logits.clone();
  return {.name = h.of("logits to exponentials"), .bytes = bytes_of({logits, logits}),
          .ours = [=]() mutable {
            kernels::absorb_logits_cuda(HeadElement::kBFloat16, kept->of(h), {0, kChunk}, work.mutable_data_ptr(), nullptr);
            return work;
          },
          .libtorch = [=] { return at::softmax(logits, 1); },
          .before = [=]() mutable {
            work.copy_(logits);
            kernels::begin_head_loss_cuda(kept->of(h), 0, nullptr, nullptr);
          },
          .same_result = false};
}

CudaCase add_chunk(int64_t rows, int64_t width) {
  const Head h(rows, width, kChunk);
  auto kept = std::make_shared<Running>(rows);
  const auto part = random_numbers({rows, width}, at::kBFloat16);
  auto sums = at::zeros({rows, width}, kept->numbers.options()), sums_of_libtorch = at::zeros_like(sums), target_words = at::empty_like(part);
  kernels::begin_head_loss_cuda(kept->of(h), 0, nullptr, nullptr);
  const auto rescale = at::ones({rows, 1}, sums.options());
  return {.name = h.of("adding a chunk's part"), .bytes = bytes_of({sums, sums, part, target_words, target_words}),
          .ours = [=]() mutable {
            kernels::add_head_chunk_cuda(HeadElement::kBFloat16, kept->of(h), {0, kChunk}, width, part.const_data_ptr(), h.words.const_data_ptr(),
                                         sums.mutable_data_ptr<float>(), target_words.mutable_data_ptr(), nullptr);
            return sums;
          },
          .libtorch = [=]() mutable {
            const auto rows_of_targets = h.words.index_select(0, h.targets);
            return sums_of_libtorch.mul_(rescale).add_(part);
          },
          .operators = 3};
}

}  // namespace

std::vector<CaseMaker> head_cases() {
  return {[] { return absorb(16384, 2048); }, [] { return add_chunk(16384, 4096); }, [] { return whole(4096, 896, 151936); },
          [] { return whole(4096, 2048, 128256); }, [] { return whole(4096, 4096, 128256); }};
}

}  // namespace graft::bench
