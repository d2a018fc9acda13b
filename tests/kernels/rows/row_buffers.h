#pragma once

#include <gtest/gtest.h>
#include <hwy/targets.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/rows/bf16_element.h"
#include "kernels/rows/element.h"
#include "kernels/rows/highway_targets.h"

namespace graft::kernels {

// Tolerances. u is the unit roundoff: 2^-24 in fp32, 2^-8 in bf16. Kernel and reference each round their result once, so bf16 results
// differ by 2u at most where the fp32 work before agrees. A sum of n rounded terms errs like a random walk, about √n·u of its terms;
// sum_error allows twice that and eight roundings around it. exp is good to 3e-7, which is 5u.
constexpr double kUnit = 0x1p-24;
constexpr double sum_error(double root_n) { return (2 * root_n + 8) * kUnit; }
inline double rounding(Element type) { return type == Element::kFloat32 ? kUnit : 2 * 0x1p-8; }

/// n numbers of one element type, whose end is the end of the memory that may be touched: a read or write beyond it stops the program,
/// also one by masked instructions, which the sanitizers do not see.
class Buffer {
 public:
  Buffer(Element type, int64_t n) : type_(type), size_(n) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t open = (bytes() + page - 1) / page * page;
    auto* start = static_cast<unsigned char*>(mmap(nullptr, open + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (mprotect(start + open, page, PROT_NONE) != 0) throw std::bad_alloc();
    memory_ = {start, [=](unsigned char* p) { munmap(p, open + page); }};
    data_ = start + open - bytes();
  }
  Buffer(const Buffer& other) : Buffer(other.type_, other.size_) { std::memcpy(data_, other.data_, bytes()); }
  Buffer(Buffer&&) = default;
  Buffer& operator=(Buffer&&) = default;

  static Buffer normal(Element type, int64_t n, uint32_t seed, float scale = 1.0f) {
    Buffer buffer(type, n);
    std::mt19937 random(seed);
    std::normal_distribution<float> draw(0.0f, scale);
    for (int64_t i = 0; i < n; ++i) buffer.set(i, draw(random));
    return buffer;
  }

  void* data() { return data_; }
  float* floats() { return reinterpret_cast<float*>(data_); }
  int64_t size() const { return size_; }
  double operator[](int64_t i) const {
    if (type_ == Element::kFloat32) return reinterpret_cast<const float*>(data_)[i];
    return detail::load(reinterpret_cast<const detail::Bf16*>(data_)[i]);
  }
  void set(int64_t i, float value) {
    if (type_ == Element::kFloat32) {
      floats()[i] = value;
    } else {
      detail::store(reinterpret_cast<detail::Bf16*>(data_)[i], value);
    }
  }
  bool operator==(const Buffer& other) const { return size_ == other.size_ && std::memcmp(data_, other.data_, bytes()) == 0; }

 private:
  size_t bytes() const { return static_cast<size_t>(size_) * (type_ == Element::kFloat32 ? 4 : 2); }

  Element type_;
  int64_t size_;
  std::unique_ptr<unsigned char, std::function<void(unsigned char*)>> memory_;
  unsigned char* data_ = nullptr;
};

using Bound = std::function<double(int64_t)>;

/// Every element to within bound(element); NaN and infinities have to be the same ones.
inline void expect_close(const Buffer& actual, const Buffer& expected, const Bound& bound, const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size());
  for (int64_t i = 0; i < actual.size(); ++i) {
    if (std::isnan(expected[i]) && std::isnan(actual[i])) continue;
    if (std::isinf(expected[i]) && actual[i] == expected[i]) continue;
    ASSERT_LE(std::abs(actual[i] - expected[i]), bound(i)) << what << ", element " << i << ": " << actual[i] << " for " << expected[i];
  }
}

/// |expected| relative, plus an absolute part.
inline Bound within(const Buffer& expected, double relative, double absolute = 0) {
  return [&expected, relative, absolute](int64_t i) { return relative * std::abs(expected[i]) + absolute; };
}

/// Runs each case for both element types on every instruction set that this processor has and GRAFT_CPU allows.
class RowKernels : public ::testing::TestWithParam<std::tuple<Element, int64_t>> {
 protected:
  void SetUp() override { hwy::SetSupportedTargetsForTest(std::get<1>(GetParam())); }
  void TearDown() override { hwy::SetSupportedTargetsForTest(0); }

  Element type() const { return std::get<0>(GetParam()); }
  double unit() const { return rounding(type()); }
};

inline std::vector<int64_t> row_targets() {
  choose_highway_targets();
  hwy::SetSupportedTargetsForTest(0);
  auto targets = hwy::SupportedAndGeneratedTargets();
  if (targets.back() != HWY_STATIC_TARGET) targets.push_back(HWY_STATIC_TARGET);
  return targets;
}

inline std::string row_case_name(const ::testing::TestParamInfo<std::tuple<Element, int64_t>>& instance) {
  return std::string(std::get<0>(instance.param) == Element::kFloat32 ? "fp32_" : "bf16_") +
         hwy::TargetName(std::get<1>(instance.param));
}

#define GRAFT_EVERY_ROW_CASE(Suite)                                                                                         \
  INSTANTIATE_TEST_SUITE_P(Each, Suite,                                                                                     \
                           ::testing::Combine(::testing::Values(Element::kFloat32, Element::kBFloat16),                     \
                                              ::testing::ValuesIn(row_targets())),                                          \
                           row_case_name)

/// 0, 1, and around the lanes of every instruction set and their multiples; primes; widths of real models.
inline std::vector<int64_t> row_sizes() {
  std::vector<int64_t> sizes = {0};
  for (int64_t n = 1; n <= 18; ++n) sizes.push_back(n);
  for (const int64_t n : {31, 32, 33, 47, 48, 63, 64, 65, 97, 127, 129, 576, 577, 1536, 4099, 4864}) sizes.push_back(n);
  return sizes;
}

}  // namespace graft::kernels
