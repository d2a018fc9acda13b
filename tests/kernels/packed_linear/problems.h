#pragma once

// What the tests of this folder share: matrices with poisoned gaps, products with all their memory, tolerances.

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <new>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/base/bfloat16.h"
#include "kernels/packed_linear/packed_linear.h"
#include "kernels/packed_linear/variants.h"

namespace graft::kernels {

constexpr uint16_t kUntouched = 0x4321;

/// A matrix in memory of exactly its size, so that AddressSanitizer sees a read past its end; what lies between the rows is NaN,
/// so that using it shows.
struct Matrix {
  int64_t rows, columns, stride;
  std::vector<uint16_t> values;

  Matrix(int64_t r, int64_t c, int64_t gap, uint32_t seed, bool fill = true) : rows(r), columns(c), stride(c + gap) {
    values.assign(static_cast<size_t>(rows == 0 ? 0 : (rows - 1) * stride + columns), fill ? uint16_t{0x7fc0} : kUntouched);
    std::mt19937 random(seed);
    for (int64_t row = 0; fill && row < rows; ++row) {
      for (int64_t column = 0; column < columns; ++column) {
        at(row, column) = float_to_bfloat16(static_cast<float>(static_cast<int32_t>(random())) * 0x1p-31f);
      }
    }
  }
  uint16_t& at(int64_t row, int64_t column) { return values[static_cast<size_t>(row * stride + column)]; }
  float value(int64_t row, int64_t column) { return bfloat16_to_float(at(row, column)); }
};

inline std::vector<float> random_floats(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (auto& value : values) value = static_cast<float>(static_cast<int32_t>(random())) * 0x1p-31f;
  return values;
}

/// All values lie in [-1, 1], so a sum of n products is added up from partial sums of at most n. Each of the n additions and products rounds
/// by at most 2^-24 of that (AMX rounds products and additions of a pair apart: 2 n in all); taken as a walk of random signs with a
/// typical size of sqrt(n), far inside 2^-22 n. Then both sides are rounded to bf16 once; where their fp32 sums lie on two sides of a
/// middle, that makes them neighbours, at most 2^-7 of their size apart.
inline double tolerance(double expected, int64_t terms) { return std::fabs(expected) * 0x1p-7 + static_cast<double>(terms + 4) * 0x1p-22; }

inline std::vector<uint16_t> packed(Matrix& w) {
  std::vector<uint16_t> out(static_cast<size_t>(packed_weight_size(w.rows, w.columns)), kUntouched);
  if (w.rows > 0 && w.columns > 0) detail::pack_weight_reference({w.values.data(), w.stride, 0, w.rows}, w.rows, w.columns, out.data());
  return out;
}

inline Factor factor_of(Matrix& matrix) { return {.bf16 = matrix.values.data(), .row_stride = matrix.stride}; }

struct LinearCase {
  int64_t rows, in, out;
  int64_t gap = 0, rank = 0;
  bool bias = false, accumulate = false;
};

inline std::string name_of(const LinearCase& c) {
  return std::to_string(c.rows) + " x " + std::to_string(c.in) + " -> " + std::to_string(c.out) + ", gap " + std::to_string(c.gap) + ", rank " +
         std::to_string(c.rank) + (c.bias ? ", bias" : "") + (c.accumulate ? ", accumulates" : "");
}

/// Memory and arguments of one product.
struct LinearProblem {
  Matrix x, w, down, up, y;
  std::vector<uint16_t> weight;
  std::vector<float> bias;
  PackedLinear p;

  explicit LinearProblem(const LinearCase& c)
      : x(c.rows, c.in, c.gap, 1), w(c.out, c.in, c.gap, 2), down(c.rows, c.rank, c.gap, 3), up(c.out, c.rank, c.gap, 4),
        y(c.rows, c.out, c.gap, 5, c.accumulate), weight(packed(w)), bias(random_floats(c.out, 6)) {
    p.rows = c.rows, p.in = c.in, p.out = c.out, p.rank = c.rank;
    p.x = x.values.data(), p.x_stride = x.stride;
    p.weight = weight.data();
    p.bias = c.bias ? bias.data() : nullptr;
    p.down = down.values.data(), p.down_stride = down.stride, p.up = factor_of(up);
    p.accumulate = c.accumulate;
    p.y_stride = y.stride;
  }
  template <class Function>
  std::vector<uint16_t> run(Function&& function) {
    auto result = y.values;
    p.y = result.data();
    if (p.rows > 0 && p.out > 0) function(p);
    return result;
  }
};

inline void expect_close(const std::vector<uint16_t>& got, const std::vector<uint16_t>& expected, int64_t rows, int64_t columns, int64_t stride,
                  int64_t terms, const std::string& name) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < stride; ++column) {
      const auto place = static_cast<size_t>(row * stride + column);
      if (place >= got.size()) break;
      if (column >= columns) {
        ASSERT_EQ(got[place], expected[place]) << name << ": wrote between rows, at " << row << " " << column;
        continue;
      }
      const double a = static_cast<double>(bfloat16_to_float(got[place])), b = static_cast<double>(bfloat16_to_float(expected[place]));
      ASSERT_LE(std::fabs(a - b), tolerance(b, terms)) << name << " at " << row << " " << column;
    }
  }
}

/// Values right before memory that may not be touched: tile loads are invisible to AddressSanitizer.
class Guarded {
 public:
  explicit Guarded(std::span<const uint16_t> values) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t used = (values.size_bytes() + page - 1) / page * page;
    size_ = used + page;
    memory_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory_ == MAP_FAILED || mprotect(static_cast<char*>(memory_) + used, page, PROT_NONE) != 0) throw std::bad_alloc();
    values_ = static_cast<char*>(memory_) + used - values.size_bytes();
    if (!values.empty()) std::memcpy(values_, values.data(), values.size_bytes());
  }
  ~Guarded() { munmap(memory_, size_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  uint16_t* data() { return reinterpret_cast<uint16_t*>(values_); }
  float* floats() { return reinterpret_cast<float*>(values_); }

 private:
  void* memory_ = nullptr;
  char* values_ = nullptr;
  size_t size_ = 0;
};

}  // namespace graft::kernels
