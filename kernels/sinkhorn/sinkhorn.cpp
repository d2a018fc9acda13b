#include "kernels/sinkhorn/sinkhorn.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/sinkhorn/sinkhorn.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "kernels/sinkhorn/problem.h"

#ifndef GRAFT_SINKHORN_ROWS
#define GRAFT_SINKHORN_ROWS
namespace graft::kernels::detail {

constexpr int64_t kLanes = 8;      // rows are filled up to whole vectors of any length up to this, so that nothing has a tail
constexpr int64_t kBlockRows = 4;  // of costs that are computed together
constexpr double kNothing = -1e300;  // an exponent that no point has; finite, as differences of infinities are NaN

inline int64_t padded(int64_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

/// Rows of doubles, each filled up with zeros.
struct Rows {
  Rows(int64_t count_, int64_t width) : count(count_), stride(padded(width)), values(static_cast<size_t>(count * stride)) {}
  template <class Number>
  Rows(const Number* from, int64_t count_, int64_t width) : Rows(count_, width) {
    for (int64_t i = 0; i < count; ++i) std::copy(from + i * width, from + (i + 1) * width, row(i));
  }
  double* row(int64_t i) { return values.data() + i * stride; }
  const double* row(int64_t i) const { return values.data() + i * stride; }
  int64_t count, stride;
  std::vector<double> values;
};

}  // namespace graft::kernels::detail
#endif

HWY_BEFORE_NAMESPACE();
namespace graft::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::CappedTag<double, detail::kLanes>;
using V = hn::Vec<D>;

HWY_INLINE int64_t lanes() { return static_cast<int64_t>(hn::Lanes(D())); }
HWY_INLINE double sum_of(V v) { return hn::GetLane(hn::SumOfLanes(D(), v)); }

/// exp(v) for v <= 0, 0 far below; the bound keeps Highway's conversion to int32 inside its range.
HWY_INLINE V exponential(V v) { return hn::Exp(D(), hn::Max(v, hn::Set(D(), -2000.0))); }

/// to[i][j] = |a_i − b_j|²; each with one running sum, so that a pair's bits do not depend on its place.
template <int64_t kRows, int64_t kColumns>
HWY_INLINE void squared_block(const double* a, const double* b, int64_t width, double* to, int64_t stride) {
  V sums[kRows * kColumns];
  for (auto& sum : sums) sum = hn::Zero(D());
  for (int64_t c = 0; c < width; c += lanes()) {
    for (int64_t i = 0; i < kRows; ++i) {
      const V left = hn::LoadU(D(), a + i * width + c);
      for (int64_t j = 0; j < kColumns; ++j) {
        const V difference = hn::Sub(left, hn::LoadU(D(), b + j * width + c));
        sums[i * kColumns + j] = hn::MulAdd(difference, difference, sums[i * kColumns + j]);
      }
    }
  }
  for (int64_t i = 0; i < kRows; ++i)
    for (int64_t j = 0; j < kColumns; ++j) to[i * stride + j] = sum_of(sums[i * kColumns + j]);
}

/// Costs of the rows from `begin` on (kBlockRows, or what is left) to the points of b from `first` on.
void costs_of_block(const detail::Rows& a, const detail::Rows& b, int64_t begin, int64_t first, int power, detail::Rows& costs) {
  const int64_t end = std::min(begin + detail::kBlockRows, a.count), width = a.stride;
  int64_t j = first;
  if (end - begin == detail::kBlockRows)
    for (; j + 2 <= b.count; j += 2) squared_block<detail::kBlockRows, 2>(a.row(begin), b.row(j), width, costs.row(begin) + j, costs.stride);
  for (; j < b.count; ++j)
    for (int64_t i = begin; i < end; ++i) squared_block<1, 1>(a.row(i), b.row(j), width, costs.row(i) + j, costs.stride);
  for (int64_t i = begin; i < end; ++i)
    for (int64_t k = first; k < b.count; ++k) {
      double& cost = costs.row(i)[k];
      cost = power == 1 ? std::sqrt(cost) : cost / 2;
    }
}

/// log Σ_j exp(scores_j − costs_j / ε), the padding included, which counts for nothing.
double log_sum_exp(const double* scores, const double* costs, double inverse_epsilon, int64_t stride) {
  const D d;
  const V factor = hn::Set(d, inverse_epsilon);
  const auto exponent = [&](int64_t j) HWY_ATTR { return hn::NegMulAdd(factor, hn::LoadU(d, costs + j), hn::LoadU(d, scores + j)); };
  V most = exponent(0);
  for (int64_t j = lanes(); j < stride; j += lanes()) most = hn::Max(most, exponent(j));
  const V top = hn::MaxOfLanes(d, most);
  V sum = hn::Zero(d);
  for (int64_t j = 0; j < stride; j += lanes()) sum = hn::Add(sum, exponential(hn::Sub(exponent(j), top)));
  return hn::GetLane(top) + std::log(sum_of(sum));
}

/// A row of the plan times `share`, each entry times its cost's slope over the distance: what the points' differences are to be weighted with.
void weights_of(const double* scores, const double* costs, double inverse_epsilon, double log_sum, int power, double share, int64_t stride,
                double* weights) {
  const D d;
  const V factor = hn::Set(d, inverse_epsilon), total = hn::Set(d, log_sum);
  for (int64_t j = 0; j < stride; j += lanes()) {
    const V cost = hn::LoadU(d, costs + j);
    const V plan = hn::Mul(hn::Set(d, share), exponential(hn::Sub(hn::NegMulAdd(factor, cost, hn::LoadU(d, scores + j)), total)));
    const auto apart = hn::Gt(cost, hn::Zero(d));
    const V by_distance = hn::IfThenElseZero(apart, hn::Div(plan, hn::IfThenElse(apart, cost, hn::Set(d, 1.0))));
    hn::StoreU(power == 1 ? by_distance : plan, d, weights + j);
  }
}

/// sum += Σ_j weights_j (point − others_j)
void add_differences(const double* point, const detail::Rows& others, const double* weights, double* sum) {
  const D d;
  constexpr int64_t kTogether = 4;
  const int64_t width = others.stride, step = kTogether * lanes();
  int64_t c = 0;
  for (; c + step <= width; c += step) {
    V here[kTogether], so_far[kTogether];
    for (int64_t k = 0; k < kTogether; ++k) here[k] = hn::LoadU(d, point + c + k * lanes()), so_far[k] = hn::LoadU(d, sum + c + k * lanes());
    for (int64_t j = 0; j < others.count; ++j) {
      const V weight = hn::Set(d, weights[j]);
      const double* other = others.row(j) + c;
      for (int64_t k = 0; k < kTogether; ++k) so_far[k] = hn::MulAdd(weight, hn::Sub(here[k], hn::LoadU(d, other + k * lanes())), so_far[k]);
    }
    for (int64_t k = 0; k < kTogether; ++k) hn::StoreU(so_far[k], d, sum + c + k * lanes());
  }
  for (; c < width; c += lanes()) {
    const V here = hn::LoadU(d, point + c);
    V so_far = hn::LoadU(d, sum + c);
    for (int64_t j = 0; j < others.count; ++j) so_far = hn::MulAdd(hn::Set(d, weights[j]), hn::Sub(here, hn::LoadU(d, others.row(j) + c)), so_far);
    hn::StoreU(so_far, d, sum + c);
  }
}

}  // namespace graft::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "kernels/rows/highway_targets.h"

namespace graft::kernels {
namespace {

using namespace detail;

HWY_EXPORT(costs_of_block);
HWY_EXPORT(log_sum_exp);
HWY_EXPORT(weights_of);
HWY_EXPORT(add_differences);

constexpr int64_t kWorthThreads = 4096;  // exponentials; below, starting the threads takes longer than the work

Rows costs_between(const Rows& a, const Rows& b, int power) {
  Rows costs(a.count, b.count);
  const bool same = &a == &b;
#pragma omp parallel for schedule(dynamic, 1) if (a.count * b.count * a.stride > 16 * kWorthThreads)
  for (int64_t begin = 0; begin < a.count; begin += kBlockRows) HWY_DYNAMIC_DISPATCH(costs_of_block)(a, b, begin, same ? begin : 0, power, costs);
  if (same)
    for (int64_t i = 0; i < a.count; ++i)
      for (int64_t j = 0; j < i; ++j) costs.row(i)[j] = costs.row(j)[i];
  return costs;
}

Rows turned(const Rows& costs, int64_t columns) {
  Rows result(columns, costs.count);
  for (int64_t i = 0; i < costs.count; ++i)
    for (int64_t j = 0; j < columns; ++j) result.row(j)[i] = costs.row(i)[j];
  return result;
}

/// One of the four transports: potentials on its rows' points are made from those on its columns' points.
struct Transport {
  Transport(Rows costs_, int64_t columns_, const Transport* partner_)
      : costs(std::move(costs_)), columns(columns_), partner(partner_ != nullptr ? partner_ : this), potential(static_cast<size_t>(costs.count)),
        scores(static_cast<size_t>(costs.stride), kNothing) {}
  void take_scores(double inverse_epsilon) {
    const double share = std::log(static_cast<double>(columns));
    for (size_t j = 0; j < static_cast<size_t>(columns); ++j) scores[j] = partner->potential[j] * inverse_epsilon - share;
  }
  double mean() const {
    double sum = 0;
    for (const double value : potential) sum += value;
    return sum / static_cast<double>(potential.size());
  }
  Rows costs;
  int64_t columns;
  const Transport* partner;  ///< the one that makes the potentials on the columns' points; itself within a batch
  std::vector<double> potential, scores;
};

class Divergence {
 public:
  Divergence(const TwoBatches<float>& batches, const SinkhornOptions& options)
      : x_(batches.x, batches.n, batches.width), y_(batches.y, batches.m, batches.width), width_(batches.width), power_(options.power),
        xy_(costs_between(x_, y_, power_), y_.count, &yx_), yx_(turned(xy_.costs, y_.count), x_.count, &xy_),
        xx_(costs_between(x_, x_, power_), x_.count, nullptr), yy_(costs_between(y_, y_, power_), y_.count, nullptr) {}
  Divergence(const Divergence&) = delete;
  Divergence& operator=(const Divergence&) = delete;

  double value(std::span<const double> epsilons) {
    update(epsilons.front(), Update::kReplace);
    for (const double epsilon : epsilons) update(epsilon, Update::kAverage);
    update(epsilons.back(), Update::kReplace);
    return (xy_.mean() - xx_.mean()) + (yx_.mean() - yy_.mean());
  }
  void gradient_for_x(float* dx) const { gradient(x_, y_, xy_, xx_, dx); }
  void gradient_for_y(float* dy) const { gradient(y_, x_, yx_, yy_, dy); }

 private:
  enum class Update { kReplace, kAverage };

  /// All four potentials from what they were before.
  void update(double epsilon, Update kind) {
    Transport* const all[] = {&xy_, &yx_, &xx_, &yy_};
    inverse_epsilon_ = 1 / epsilon;
    for (auto* one : all) one->take_scores(inverse_epsilon_);
    const int64_t points = x_.count + y_.count;
#pragma omp parallel for schedule(static) if (points * points > kWorthThreads)
    for (int64_t i = 0; i < 2 * points; ++i) {
      int64_t row = i;
      auto* const* one = all;
      while (row >= (*one)->costs.count) row -= (*one++)->costs.count;
      auto& potential = (*one)->potential[static_cast<size_t>(row)];
      const double fresh = -epsilon * log_sum(**one, row);
      potential = kind == Update::kReplace ? fresh : (potential + fresh) / 2;
    }
  }
  double log_sum(const Transport& of, int64_t row) const {
    return HWY_DYNAMIC_DISPATCH(log_sum_exp)(of.scores.data(), of.costs.row(row), inverse_epsilon_, of.costs.stride);
  }

  void gradient(const Rows& points, const Rows& others, const Transport& between, const Transport& within, float* to) const {
#pragma omp parallel if (points.count * (points.count + others.count) * points.stride > 16 * kWorthThreads)
    {
      std::vector<double> weights(static_cast<size_t>(std::max(between.costs.stride, within.costs.stride)));
      std::vector<double> sum(static_cast<size_t>(points.stride));
      const auto add = [&](int64_t i, const Transport& transport, const Rows& others_, double share) {
        HWY_DYNAMIC_DISPATCH(weights_of)
        (transport.scores.data(), transport.costs.row(i), inverse_epsilon_, log_sum(transport, i), power_, share, transport.costs.stride, weights.data());
        HWY_DYNAMIC_DISPATCH(add_differences)(points.row(i), others_, weights.data(), sum.data());
      };
#pragma omp for schedule(static)
      for (int64_t i = 0; i < points.count; ++i) {
        std::fill(sum.begin(), sum.end(), 0.0);
        const double share = 1 / static_cast<double>(points.count);
        add(i, between, others, share), add(i, within, points, -share);
        for (int64_t c = 0; c < width_; ++c) to[i * width_ + c] = static_cast<float>(sum[static_cast<size_t>(c)]);
      }
    }
  }

  Rows x_, y_;
  int64_t width_;
  int power_;
  Transport xy_, yx_, xx_, yy_;
  double inverse_epsilon_ = 0;
};

}  // namespace

double sinkhorn_divergence(const TwoBatches<float>& batches, const SinkhornOptions& options, float* dx, float* dy) {
  check(batches, options);
  choose_highway_targets();
  const double diameter = diameter_of(batches);
  if (diameter == 0) {
    if (dx != nullptr) std::fill_n(dx, batches.n * batches.width, 0.0f);
    if (dy != nullptr) std::fill_n(dy, batches.m * batches.width, 0.0f);
    return 0;
  }
  Divergence divergence(batches, options);
  const double value = divergence.value(epsilons(diameter, options));
  if (dx != nullptr) divergence.gradient_for_x(dx);
  if (dy != nullptr) divergence.gradient_for_y(dy);
  return value;
}

}  // namespace graft::kernels
#endif
