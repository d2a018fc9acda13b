#include "kernels/sinkhorn/problem.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "kernels/base/error.h"

namespace graft::kernels::detail {
namespace {

constexpr auto kWhere = "sinkhorn_divergence";

template <class Number>
void check_points(const char* name, const Number* points, int64_t count, int64_t width) {
  if (count <= 0) throw InvalidArgument({.where = kWhere, .what = std::string("batch ") + name + " is empty", .expected = "at least one point", .got = "", .hint = ""});
  for (int64_t i = 0; i < count * width; ++i)
    if (!std::isfinite(points[i]))
      throw InvalidArgument({.where = kWhere,
                             .what = std::string("batch ") + name + ", row " + std::to_string(i / width) + ", column " + std::to_string(i % width),
                             .expected = "a finite number",
                             .got = std::to_string(points[i]),
                             .hint = ""});
}

void check_option(bool good, const char* what, const char* expected, double got) {
  if (!good) throw InvalidArgument({.where = kWhere, .what = what, .expected = expected, .got = std::to_string(got), .hint = ""});
}

}  // namespace

template <class Number>
void check(const TwoBatches<Number>& batches, const SinkhornOptions& options) {
  check_option(options.blur > 0 && std::isfinite(options.blur), "blur", "a positive number", options.blur);
  check_option(options.power == 1 || options.power == 2, "power of the distance", "1 or 2", options.power);
  check_option(options.scaling > 0 && options.scaling < 1, "scaling", "a number between 0 and 1", options.scaling);
  check_option(options.settling >= 0, "settling", "a number of updates", static_cast<double>(options.settling));
  check_option(batches.width > 0, "width of the points", "at least one column", static_cast<double>(batches.width));
  check_points("x", batches.x, batches.n, batches.width);
  check_points("y", batches.y, batches.m, batches.width);
}

template <class Number>
double diameter_of(const TwoBatches<Number>& batches) {
  std::vector<double> low(batches.x, batches.x + batches.width), high = low;
  const auto extend = [&](const Number* points, int64_t count) {
    for (int64_t i = 0; i < count; ++i)
      for (int64_t c = 0; c < batches.width; ++c) {
        const auto at = static_cast<size_t>(c);
        const double value = points[i * batches.width + c];
        low[at] = std::min(low[at], value), high[at] = std::max(high[at], value);
      }
  };
  extend(batches.x, batches.n), extend(batches.y, batches.m);
  double sum = 0;
  for (size_t c = 0; c < low.size(); ++c) sum += (high[c] - low[c]) * (high[c] - low[c]);
  return std::sqrt(sum);
}

std::vector<double> epsilons(double diameter, const SinkhornOptions& options) {
  const double p = options.power, first = p * std::log(diameter), last = p * std::log(options.blur), step = p * std::log(options.scaling);
  // The first stands twice: once for the potentials to come into being, once to settle.
  std::vector<double> all{std::pow(diameter, p)};
  const auto steps = static_cast<int64_t>(std::ceil((last - first) / step));  // negative where the blur is wider than the batches
  for (int64_t i = 0; i < steps; ++i) all.push_back(std::exp(first + static_cast<double>(i) * step));
  all.insert(all.end(), static_cast<size_t>(1 + options.settling), std::pow(options.blur, p));
  return all;
}

template void check(const TwoBatches<float>&, const SinkhornOptions&);
template void check(const TwoBatches<double>&, const SinkhornOptions&);
template double diameter_of(const TwoBatches<float>&);
template double diameter_of(const TwoBatches<double>&);

}  // namespace graft::kernels::detail
