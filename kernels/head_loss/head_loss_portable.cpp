#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/base/bfloat16.h"
#include "kernels/base/vectorised.h"
#include "kernels/head_loss/layout.h"
#include "kernels/head_loss/variants.h"
#include "kernels/tiles/aligned_buffer.h"

namespace graft::kernels::detail {
namespace {

constexpr int64_t kLanes = 16;  // partial sums of a dot product, so that it can be vectorised without changing its order

GRAFT_VECTORISED float dot(const uint16_t* a, const uint16_t* b, int64_t count) {
  float sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) sums[lane] += bfloat16_to_float(a[i + lane]) * bfloat16_to_float(b[i + lane]);
  }
  for (; i < count; ++i) sums[i % kLanes] += bfloat16_to_float(a[i]) * bfloat16_to_float(b[i]);
  float total = 0.0f;
  for (const float sum : sums) total += sum;
  return total;
}

GRAFT_VECTORISED void add_scaled(const uint16_t* row, int64_t count, float factor, float* sums) {
  for (int64_t i = 0; i < count; ++i) sums[i] += factor * bfloat16_to_float(row[i]);
}

GRAFT_VECTORISED void scale(float* values, int64_t count, float factor) {
  for (int64_t i = 0; i < count; ++i) values[i] *= factor;
}

/// What is known about a row after some of the words.
struct RowState {
  float top = -std::numeric_limits<float>::infinity(), target_logit = 0.0f;
  double sum = 0.0;
  int64_t best = 0;
  bool finite = true;
};

class Row {
 public:
  Row(const HeadLoss& p, int64_t row, RowState& state, float* sums)
      : p_(p), state_(state), hidden_(p.hidden + row * p.hidden_stride), target_(p.targets[row]), sums_(sums),
        gradient_(p.gradient != nullptr ? p.gradient + row * p.gradient_stride : nullptr), row_(row) {}

  void begin() {
    state_ = {};
    for (int64_t i = 0; i < p_.width; ++i) state_.finite = state_.finite && std::isfinite(bfloat16_to_float(hidden_[i]));
    if (sums_ != nullptr) std::fill_n(sums_, p_.width, 0.0f);
  }

  void take(const WordRows& words, int64_t first, int64_t count) {
    if (!state_.finite) return;
    float logits[kParts * kMostWords];
    float top = state_.top;
    for (int64_t v = 0; v < count; ++v) {
      logits[v] = dot(hidden_, words.values + v * words.stride, p_.width);
      if (!(logits[v] > top)) continue;
      top = logits[v];
      state_.best = first + v;
    }
    if (target_ >= first && target_ < first + count) keep_target(words, logits, target_ - first);
    if (top > state_.top && std::isfinite(state_.top)) shrink(std::exp(state_.top - top));
    state_.top = top;
    for (int64_t v = 0; v < count; ++v) {
      const float probability = std::exp(logits[v] - top);
      state_.sum += static_cast<double>(probability);
      if (sums_ != nullptr && !(probability == 0.0f)) add_scaled(words.values + v * words.stride, p_.width, probability, sums_);
    }
  }

  void finish() {
    constexpr float kNothing = std::numeric_limits<float>::quiet_NaN();
    const double loss = static_cast<double>(state_.top) + std::log(state_.sum) - static_cast<double>(state_.target_logit);
    p_.nll[row_] = state_.finite ? static_cast<float>(loss) : kNothing;
    if (p_.best != nullptr) p_.best[row_] = state_.best;
    if (gradient_ == nullptr) return;
    const auto factor = static_cast<float>(1.0 / state_.sum);
    for (int64_t i = 0; i < p_.width; ++i) {
      gradient_[i] = float_to_bfloat16(state_.finite ? sums_[i] * factor - bfloat16_to_float(gradient_[i]) : kNothing);
    }
  }

 private:
  void keep_target(const WordRows& words, const float* logits, int64_t place) {
    state_.target_logit = logits[place];
    if (gradient_ == nullptr) return;
    std::memcpy(gradient_, words.values + place * words.stride, static_cast<size_t>(p_.width) * sizeof(uint16_t));
  }

  void shrink(float factor) {
    state_.sum *= static_cast<double>(factor);
    if (sums_ != nullptr) scale(sums_, p_.width, factor);
  }

  const HeadLoss& p_;
  RowState& state_;
  const uint16_t* hidden_;
  int64_t target_;
  float* sums_;
  uint16_t* gradient_;
  int64_t row_;
};

}  // namespace

void head_loss_portable(const HeadLoss& p) {
  static thread_local AlignedBuffer<float> memory;
  float* sums = p.gradient != nullptr ? memory.reserve(static_cast<size_t>(p.rows * p.width)) : nullptr;
  std::vector<RowState> states(static_cast<size_t>(p.rows));
  const auto row = [&](int64_t m) { return Row(p, m, states[static_cast<size_t>(m)], sums != nullptr ? sums + m * p.width : nullptr); };
  for (int64_t m = 0; m < p.rows; ++m) row(m).begin();
  const int64_t at_once = head_loss_words_at_once(p.width);
  for (int64_t first = 0; first < p.vocabulary; first += at_once) {
    const int64_t count = std::min(at_once, p.vocabulary - first);
    const WordRows words = p.words(first, count);
#pragma omp parallel for schedule(static)
    for (int64_t m = 0; m < p.rows; ++m) row(m).take(words, first, count);
  }
  for (int64_t m = 0; m < p.rows; ++m) row(m).finish();
}

}  // namespace graft::kernels::detail
