#include "tests/kernels/attention/attention_case.h"

#include <algorithm>
#include <cmath>

#include "kernels/attention/variants.h"
#include "kernels/base/bfloat16.h"

namespace graft::kernels::testing {
namespace {

constexpr uint16_t kMark = 0x7fc1;  // a NaN that no rounding makes

// bf16 has 8 significant bits, so rounding a probability, a gradient of a score or a result adds at most this, relative to it.
constexpr double kHalfUnit = 1.0 / 256;
// The exponential (7.5e-5 once for the value, once for the sum it is divided by) and fp32 sums of up to a few hundred products.
constexpr double kArithmetic = 2.5e-4;

int64_t total(const std::vector<int32_t>& lengths) {
  int64_t sum = 0;
  for (const auto length : lengths) sum += length;
  return sum;
}

std::vector<uint16_t> random_rows(int64_t rows, int64_t columns, int64_t stride, std::mt19937_64& random) {
  std::normal_distribution<float> normal;
  std::vector<uint16_t> values(static_cast<size_t>(rows * stride), kMark);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) values[static_cast<size_t>(r * stride + c)] = float_to_bfloat16(normal(random));
  return values;
}

std::string joined(const std::vector<int32_t>& values) {
  std::string text;
  for (const auto value : values) text += std::to_string(value) + " ";
  return text;
}

/// One query of one head and one key that it sees, as offsets of their rows.
template <class Body>
void over_pairs(const CaseShape& shape, const Body& body) {
  int64_t first_query = 0, first_key = 0;
  for (size_t s = 0; s < shape.lengths.size(); ++s) {
    const int64_t queries = shape.lengths[s], keys = shape.key_lengths.empty() ? queries : shape.key_lengths[s];
    for (int64_t t = 0; t < queries; ++t)
      for (int64_t key = 0; key < keys; ++key) {
        const int64_t position = keys - queries + t;
        if (shape.mask.causal && (key > position || (shape.mask.window > 0 && key <= position - shape.mask.window))) continue;
        for (int64_t head = 0; head < shape.heads; ++head)
          body((first_query + t) * shape.heads + head, (first_key + key) * shape.key_heads + head / (shape.heads / shape.key_heads));
      }
    first_query += queries;
    first_key += keys;
  }
}

double dot(const double* a, const double* b, int64_t n, bool absolute = false) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += absolute ? std::fabs(a[i] * b[i]) : a[i] * b[i];
  return sum;
}

void add_absolute(double* to, double factor, const double* from, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] += factor * std::fabs(from[i]);
}

/// sums: of absolute values of the products whose left factor was rounded to bf16.
void set_errors(Expected& expected, const std::vector<double>& sums) {
  expected.errors.resize(sums.size());
  for (size_t i = 0; i < sums.size(); ++i)
    expected.errors[i] = (kHalfUnit + kArithmetic) * sums[i] * (1 + kHalfUnit) + kHalfUnit * std::fabs(expected.values[i]) + 1e-30;
}

struct Wide {
  std::vector<double> q, k, v;
  explicit Wide(const AttentionCase& of) {
    const auto problem = of.problem();
    q = widened(problem.q, of.queries(), problem.heads * problem.width);
    k = widened(problem.k, of.keys(), problem.key_heads * problem.width);
    v = widened(problem.v, of.keys(), problem.key_heads * problem.width);
  }
};

}  // namespace

std::string CaseShape::text() const {
  return "lengths " + joined(lengths) + (key_lengths.empty() ? "" : " keys " + joined(key_lengths)) + ", heads " +
         std::to_string(heads) + "/" + std::to_string(key_heads) + " x " + std::to_string(width) + (mask.causal ? ", causal" : "") +
         ", window " + std::to_string(mask.window) + ", gap " + std::to_string(gap);
}

AttentionCase::AttentionCase(CaseShape shape, uint64_t seed) : shape_(std::move(shape)) {
  queries_ = total(shape_.lengths);
  keys_ = total(shape_.key_lengths.empty() ? shape_.lengths : shape_.key_lengths);
  query_stride_ = shape_.heads * shape_.width + shape_.gap;
  key_stride_ = shape_.key_heads * shape_.width + shape_.gap;
  std::mt19937_64 random(seed);
  q_ = random_rows(queries_, shape_.heads * shape_.width, query_stride_, random);
  k_ = random_rows(keys_, shape_.key_heads * shape_.width, key_stride_, random);
  v_ = random_rows(keys_, shape_.key_heads * shape_.width, key_stride_, random);
  out_gradient_ = random_rows(queries_, shape_.heads * shape_.width, query_stride_, random);
}

AttentionProblem AttentionCase::problem() const {
  AttentionProblem problem;
  problem.lengths = shape_.lengths;
  problem.key_lengths = shape_.key_lengths;
  problem.heads = shape_.heads;
  problem.key_heads = shape_.key_heads;
  problem.width = shape_.width;
  problem.causal = shape_.mask.causal;
  problem.window = shape_.mask.window;
  problem.scale = 1.0f / std::sqrt(static_cast<float>(shape_.width));
  problem.q = {q_.data(), query_stride_};
  problem.k = {k_.data(), key_stride_};
  problem.v = {v_.data(), key_stride_};
  return problem;
}

void AttentionCase::spoil_token(int64_t token) {
  for (auto* matrix : {&q_, &out_gradient_}) std::fill_n(matrix->begin() + token * query_stride_, query_stride_, kMark);
  for (auto* matrix : {&k_, &v_}) std::fill_n(matrix->begin() + token * key_stride_, key_stride_, kMark);
}

std::vector<uint16_t> AttentionCase::empty_queries() const { return std::vector<uint16_t>(q_.size(), kMark); }
std::vector<uint16_t> AttentionCase::empty_keys() const { return std::vector<uint16_t>(k_.size(), kMark); }
std::vector<float> AttentionCase::empty_statistics() const { return std::vector<float>(static_cast<size_t>(queries_ * shape_.heads), NAN); }

bool AttentionCase::gaps_are_untouched(const std::vector<uint16_t>& matrix, int64_t columns, int64_t stride) const {
  for (size_t i = 0; i < matrix.size(); ++i)
    if (static_cast<int64_t>(i) % stride >= columns && matrix[i] != kMark) return false;
  return true;
}

std::vector<double> widened(HeadRows<const uint16_t> rows, int64_t tokens, int64_t columns) {
  std::vector<double> values(static_cast<size_t>(tokens * columns));
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t c = 0; c < columns; ++c) values[static_cast<size_t>(t * columns + c)] = bfloat16_to_float(rows.data[t * rows.stride + c]);
  return values;
}

ExpectedForward expected_forward(const AttentionCase& of) {
  const Wide in(of);
  ExpectedForward expected;
  expected.out.values.resize(in.q.size());
  expected.log_sum_exp.resize(static_cast<size_t>(of.queries() * of.shape().heads));
  detail::attention_forward_exact(of.problem(), {in.q.data(), in.k.data(), in.v.data()}, expected.out.values.data(),
                                  expected.log_sum_exp.data());
  // The same softmax over |v| sums the absolute values of the products.
  auto absolute = in.v;
  for (auto& value : absolute) value = std::fabs(value);
  std::vector<double> sums(in.q.size()), unused(expected.log_sum_exp.size());
  detail::attention_forward_exact(of.problem(), {in.q.data(), in.k.data(), absolute.data()}, sums.data(), unused.data());
  set_errors(expected.out, sums);
  return expected;
}

ExpectedBackward expected_backward(const AttentionCase& of, const std::vector<double>& out, const std::vector<double>& log_sum_exp) {
  const Wide in(of);
  const auto problem = of.problem();
  const int64_t width = problem.width;
  const auto gradient = widened(of.out_gradient(), of.queries(), problem.heads * width);
  ExpectedBackward expected;
  expected.dq.values.resize(in.q.size());
  expected.dk.values.resize(in.k.size());
  expected.dv.values.resize(in.v.size());
  detail::attention_backward_exact(problem, {in.q.data(), in.k.data(), in.v.data()}, out.data(), gradient.data(), log_sum_exp.data(),
                                   expected.dq.values.data(), expected.dk.values.data(), expected.dv.values.data());
  std::vector<double> dq(in.q.size()), dk(in.k.size()), dv(in.v.size());
  over_pairs(of.shape(), [&](int64_t query, int64_t key) {
    const double *q = in.q.data() + query * width, *k = in.k.data() + key * width, *v = in.v.data() + key * width;
    const double *g = gradient.data() + query * width, *o = out.data() + query * width;
    const double p = std::exp(problem.scale * dot(q, k, width) - log_sum_exp[static_cast<size_t>(query)]);
    // dP - delta may cancel; what is left then is the error of two fp32 sums.
    const double lost = std::ldexp(dot(g, v, width, true) + dot(g, o, width, true), -18);
    const double ds = problem.scale * p * (std::fabs(dot(g, v, width) - dot(g, o, width)) + lost);
    add_absolute(dv.data() + key * width, p, g, width);
    add_absolute(dk.data() + key * width, ds + problem.scale * p * lost / kHalfUnit, q, width);
    add_absolute(dq.data() + query * width, ds + problem.scale * p * lost / kHalfUnit, k, width);
  });
  set_errors(expected.dq, dq);
  set_errors(expected.dk, dk);
  set_errors(expected.dv, dv);
  return expected;
}

}  // namespace graft::kernels::testing
