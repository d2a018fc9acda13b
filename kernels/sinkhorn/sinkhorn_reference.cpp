#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/sinkhorn/problem.h"

namespace graft::kernels {
namespace {

using Row = std::vector<double>;

struct Batch {
  const double* points;
  int64_t count, width;
  const double* point(int64_t i) const { return points + i * width; }
};

double distance(const Batch& a, int64_t i, const Batch& b, int64_t j) {
  double sum = 0;
  for (int64_t c = 0; c < a.width; ++c) sum += (a.point(i)[c] - b.point(j)[c]) * (a.point(i)[c] - b.point(j)[c]);
  return std::sqrt(sum);
}

/// Costs of moving points of one batch to those of another, one row for each of the first.
struct Costs {
  Costs(const Batch& from, const Batch& to, int power) : rows(from.count), columns(to.count) {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) {
        const double r = distance(from, i, to, j);
        values.push_back(power == 1 ? r : r * r / 2);
      }
  }
  double at(int64_t i, int64_t j) const { return values[static_cast<size_t>(i * columns + j)]; }
  int64_t rows, columns;
  Row values;
};

/// log Σ_j exp((potential_j − cost_ij) / ε) / columns
double log_mean_exp(const Costs& costs, const Row& potential, double epsilon, int64_t i) {
  double top = -INFINITY, sum = 0;
  const auto exponent = [&](int64_t j) { return (potential[static_cast<size_t>(j)] - costs.at(i, j)) / epsilon; };
  for (int64_t j = 0; j < costs.columns; ++j) top = std::max(top, exponent(j));
  for (int64_t j = 0; j < costs.columns; ++j) sum += std::exp(exponent(j) - top);
  return top + std::log(sum / static_cast<double>(costs.columns));
}

Row soft_minimum(const Costs& costs, const Row& potential, double epsilon) {
  Row result;
  for (int64_t i = 0; i < costs.rows; ++i) result.push_back(-epsilon * log_mean_exp(costs, potential, epsilon, i));
  return result;
}

Row middle(const Row& a, const Row& b) {
  Row result;
  for (size_t i = 0; i < a.size(); ++i) result.push_back((a[i] + b[i]) / 2);
  return result;
}

double mean(const Row& values) { return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size()); }

/// Potentials on `from` and `to` before the last update, at the last ε.
struct Potentials {
  Row on_from, on_to;
};

Potentials anneal(const Costs& there, const Costs& back, const Row& steps) {
  Potentials now{soft_minimum(there, Row(static_cast<size_t>(there.columns)), steps[0]), soft_minimum(back, Row(static_cast<size_t>(back.columns)), steps[0])};
  for (const double epsilon : steps)
    now = {middle(now.on_from, soft_minimum(there, now.on_to, epsilon)), middle(now.on_to, soft_minimum(back, now.on_from, epsilon))};
  return now;
}

/// dx_i += sign / rows · Σ_j plan_ij ∂cost(x_i, y_j) / ∂x_i
void add_pull(const Batch& from, const Batch& to, const Costs& costs, const Row& potential, double epsilon, int power, double sign, double* dx) {
  for (int64_t i = 0; i < costs.rows; ++i) {
    const double total = log_mean_exp(costs, potential, epsilon, i);
    for (int64_t j = 0; j < costs.columns; ++j) {
      const double cost = costs.at(i, j);
      const double share = std::exp((potential[static_cast<size_t>(j)] - cost) / epsilon - total) / static_cast<double>(costs.columns * costs.rows);
      const double slope = power == 2 ? 1 : cost > 0 ? 1 / cost : 0;
      for (int64_t c = 0; c < from.width; ++c) dx[i * from.width + c] += sign * share * slope * (from.point(i)[c] - to.point(j)[c]);
    }
  }
}

}  // namespace

double sinkhorn_divergence_reference(const TwoBatches<double>& batches, const SinkhornOptions& options, double* dx, double* dy) {
  detail::check(batches, options);
  const Batch x{batches.x, batches.n, batches.width}, y{batches.y, batches.m, batches.width};
  if (dx != nullptr) std::fill_n(dx, x.count * x.width, 0.0);
  if (dy != nullptr) std::fill_n(dy, y.count * y.width, 0.0);
  const double diameter = detail::diameter_of(batches);
  if (diameter == 0) return 0;
  const int power = options.power;
  const Costs xy(x, y, power), yx(y, x, power), xx(x, x, power), yy(y, y, power);
  const auto steps = detail::epsilons(diameter, options);
  const double last = steps.back();
  const auto between = anneal(xy, yx, steps), within_x = anneal(xx, xx, steps), within_y = anneal(yy, yy, steps);
  if (dx != nullptr) {
    add_pull(x, y, xy, between.on_to, last, power, 1, dx);
    add_pull(x, x, xx, within_x.on_to, last, power, -1, dx);
  }
  if (dy != nullptr) {
    add_pull(y, x, yx, between.on_from, last, power, 1, dy);
    add_pull(y, y, yy, within_y.on_to, last, power, -1, dy);
  }
  const double on_x = mean(soft_minimum(xy, between.on_to, last)) - mean(soft_minimum(xx, within_x.on_to, last));
  const double on_y = mean(soft_minimum(yx, between.on_from, last)) - mean(soft_minimum(yy, within_y.on_to, last));
  return on_x + on_y;
}

}  // namespace graft::kernels
