#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/attention/variants.h"
#include "kernels/base/bfloat16.h"

namespace graft::kernels {
namespace {

/// One query of one head: its place among the queries and the keys it sees, both counted over all sequences.
struct Row {
  int64_t query, head, first_key, end_key;
};

template <class Body>
void over_rows(const AttentionProblem& problem, const Body& body) {
  int64_t first_query = 0, first_key = 0;
  for (size_t s = 0; s < problem.lengths.size(); ++s) {
    const int64_t queries = problem.lengths[s], keys = problem.key_lengths.empty() ? queries : problem.key_lengths[s];
    for (int64_t t = 0; t < queries; ++t) {
      const int64_t position = keys - queries + t;
      const int64_t end = problem.causal ? position + 1 : keys;
      const int64_t begin = problem.causal && problem.window > 0 ? std::max<int64_t>(0, end - problem.window) : 0;
      for (int64_t head = 0; head < problem.heads; ++head) body(Row{first_query + t, head, first_key + begin, first_key + end});
    }
    first_query += queries;
    first_key += keys;
  }
}

double dot(const double* a, const double* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void add_scaled(double* to, double factor, const double* from, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] += factor * from[i];
}

int64_t total(std::span<const int32_t> lengths) {
  int64_t sum = 0;
  for (const auto length : lengths) sum += length;
  return sum;
}

struct Sizes {
  int64_t queries, keys, heads, key_heads, width;
  explicit Sizes(const AttentionProblem& p)
      : queries(total(p.lengths)), keys(total(p.key_lengths.empty() ? p.lengths : p.key_lengths)), heads(p.heads), key_heads(p.key_heads),
        width(p.width) {}
};

std::vector<double> widened(HeadRows<const uint16_t> rows, int64_t tokens, int64_t columns) {
  std::vector<double> values(static_cast<size_t>(tokens * columns));
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t c = 0; c < columns; ++c) values[static_cast<size_t>(t * columns + c)] = bfloat16_to_float(rows.data[t * rows.stride + c]);
  return values;
}

void write_rounded(const std::vector<double>& values, HeadRows<uint16_t> rows, int64_t tokens, int64_t columns) {
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t c = 0; c < columns; ++c)
      rows.data[t * rows.stride + c] = float_to_bfloat16(static_cast<float>(values[static_cast<size_t>(t * columns + c)]));
}

struct WideInputs {
  std::vector<double> q, k, v;
  WideInputs(const AttentionProblem& p, const Sizes& s)
      : q(widened(p.q, s.queries, s.heads * s.width)), k(widened(p.k, s.keys, s.key_heads * s.width)),
        v(widened(p.v, s.keys, s.key_heads * s.width)) {}
  detail::ExactAttention view() const { return {q.data(), k.data(), v.data()}; }
};

}  // namespace

namespace detail {

void attention_forward_exact(const AttentionProblem& problem, const ExactAttention& in, double* out, double* log_sum_exp) {
  const int64_t width = problem.width, group = problem.heads / problem.key_heads;
  std::vector<double> scores;
  over_rows(problem, [&](const Row& row) {
    const int64_t place = row.query * problem.heads + row.head;
    const auto key_at = [&](const double* of, int64_t key) { return of + (key * problem.key_heads + row.head / group) * width; };
    scores.clear();
    for (int64_t key = row.first_key; key < row.end_key; ++key)
      scores.push_back(problem.scale * dot(in.q + place * width, key_at(in.k, key), width));
    const double top = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (const double score : scores) sum += std::exp(score - top);
    log_sum_exp[place] = top + std::log(sum);
    std::fill_n(out + place * width, width, 0.0);
    for (int64_t key = row.first_key; key < row.end_key; ++key) {
      const double p = std::exp(scores[static_cast<size_t>(key - row.first_key)] - log_sum_exp[place]);
      add_scaled(out + place * width, p, key_at(in.v, key), width);
    }
  });
}

void attention_backward_exact(const AttentionProblem& problem, const ExactAttention& in, const double* out, const double* out_gradient,
                              const double* log_sum_exp, double* dq, double* dk, double* dv) {
  const int64_t width = problem.width, group = problem.heads / problem.key_heads;
  const Sizes sizes(problem);
  std::fill_n(dq, sizes.queries * sizes.heads * width, 0.0);
  std::fill_n(dk, sizes.keys * sizes.key_heads * width, 0.0);
  std::fill_n(dv, sizes.keys * sizes.key_heads * width, 0.0);
  over_rows(problem, [&](const Row& row) {
    const int64_t place = row.query * problem.heads + row.head;
    const double *query = in.q + place * width, *gradient = out_gradient + place * width;
    const double delta = dot(gradient, out + place * width, width);
    for (int64_t key = row.first_key; key < row.end_key; ++key) {
      const int64_t at = (key * problem.key_heads + row.head / group) * width;
      const double p = std::exp(problem.scale * dot(query, in.k + at, width) - log_sum_exp[place]);
      const double ds = problem.scale * p * (dot(gradient, in.v + at, width) - delta);
      add_scaled(dv + at, p, gradient, width);
      add_scaled(dk + at, ds, query, width);
      add_scaled(dq + place * width, ds, in.k + at, width);
    }
  });
}

}  // namespace detail

void attention_forward_reference(const AttentionProblem& problem, HeadRows<uint16_t> out, float* log_sum_exp) {
  const Sizes sizes(problem);
  const WideInputs in(problem, sizes);
  std::vector<double> result(in.q.size()), statistics(static_cast<size_t>(sizes.queries * sizes.heads));
  detail::attention_forward_exact(problem, in.view(), result.data(), statistics.data());
  write_rounded(result, out, sizes.queries, sizes.heads * sizes.width);
  if (log_sum_exp == nullptr) return;
  for (size_t i = 0; i < statistics.size(); ++i) log_sum_exp[i] = static_cast<float>(statistics[i]);
}

void attention_backward_reference(const AttentionProblem& problem, const AttentionGradients& gradients) {
  const Sizes sizes(problem);
  const WideInputs in(problem, sizes);
  const int64_t columns = sizes.heads * sizes.width, key_columns = sizes.key_heads * sizes.width;
  const auto out = widened(gradients.out, sizes.queries, columns), gradient = widened(gradients.out_gradient, sizes.queries, columns);
  const std::vector<double> statistics(gradients.log_sum_exp, gradients.log_sum_exp + sizes.queries * sizes.heads);
  std::vector<double> dq(in.q.size()), dk(in.k.size()), dv(in.v.size());
  detail::attention_backward_exact(problem, in.view(), out.data(), gradient.data(), statistics.data(), dq.data(), dk.data(), dv.data());
  write_rounded(dq, gradients.dq, sizes.queries, columns);
  write_rounded(dk, gradients.dk, sizes.keys, key_columns);
  write_rounded(dv, gradients.dv, sizes.keys, key_columns);
}

}  // namespace graft::kernels
