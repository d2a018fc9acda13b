#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/base/bfloat16.h"
#include "kernels/head_loss/variants.h"

namespace graft::kernels::detail {
namespace {

std::vector<double> widen_rows(const uint16_t* values, int64_t stride, int64_t rows, int64_t width) {
  std::vector<double> result;
  result.reserve(static_cast<size_t>(rows * width));
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < width; ++i) result.push_back(static_cast<double>(bfloat16_to_float(values[row * stride + i])));
  }
  return result;
}

std::vector<double> widen_words(const HeadLoss& p) {
  std::vector<double> result;
  for (int64_t first = 0; first < p.vocabulary; first += head_loss_words_at_once(p.width)) {
    const int64_t count = std::min(head_loss_words_at_once(p.width), p.vocabulary - first);
    const WordRows words = p.words(first, count);
    const auto values = widen_rows(words.values, words.stride, count, p.width);
    result.insert(result.end(), values.begin(), values.end());
  }
  return result;
}

double dot(const double* a, const double* b, int64_t count) {
  double sum = 0.0;
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

void head_loss_exact(const ExactHeadLoss& p, double* nll, double* gradient, int64_t* best) {
  std::vector<double> logits(static_cast<size_t>(p.vocabulary));
  for (int64_t m = 0; m < p.rows; ++m) {
    const double* row = p.hidden + m * p.width;
    for (int64_t v = 0; v < p.vocabulary; ++v) logits[static_cast<size_t>(v)] = dot(row, p.weight + v * p.width, p.width);
    const auto top = std::max_element(logits.begin(), logits.end());
    best[m] = top - logits.begin();
    double sum = 0.0;
    for (const double logit : logits) sum += std::exp(logit - *top);
    nll[m] = *top + std::log(sum) - logits[static_cast<size_t>(p.targets[m])];
    if (gradient == nullptr) continue;
    for (int64_t i = 0; i < p.width; ++i) gradient[m * p.width + i] = -p.weight[p.targets[m] * p.width + i];
    for (int64_t v = 0; v < p.vocabulary; ++v) {
      const double probability = std::exp(logits[static_cast<size_t>(v)] - *top) / sum;
      for (int64_t i = 0; i < p.width; ++i) gradient[m * p.width + i] += probability * p.weight[v * p.width + i];
    }
  }
}

void head_loss_reference(const HeadLoss& p) {
  const auto hidden = widen_rows(p.hidden, p.hidden_stride, p.rows, p.width), weight = widen_words(p);
  std::vector<double> nll(static_cast<size_t>(p.rows)), gradient(p.gradient != nullptr ? hidden.size() : 0);
  std::vector<int64_t> best(static_cast<size_t>(p.rows));
  head_loss_exact({p.rows, p.width, p.vocabulary, hidden.data(), weight.data(), p.targets}, nll.data(),
                  p.gradient != nullptr ? gradient.data() : nullptr, best.data());
  for (int64_t m = 0; m < p.rows; ++m) {
    const double* row = hidden.data() + m * p.width;
    const bool finite = std::all_of(row, row + p.width, [](double value) { return std::isfinite(value); });
    p.nll[m] = finite ? static_cast<float>(nll[static_cast<size_t>(m)]) : std::numeric_limits<float>::quiet_NaN();
    if (p.best != nullptr) p.best[m] = finite ? best[static_cast<size_t>(m)] : 0;
    for (int64_t i = 0; p.gradient != nullptr && i < p.width; ++i) {
      const auto value = static_cast<float>(gradient[static_cast<size_t>(m * p.width + i)]);
      p.gradient[m * p.gradient_stride + i] = float_to_bfloat16(finite ? value : std::numeric_limits<float>::quiet_NaN());
    }
  }
}

}  // namespace graft::kernels::detail
