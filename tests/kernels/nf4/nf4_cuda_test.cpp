#include "kernels/nf4/nf4_cuda.h"

#include <gtest/gtest.h>

#include <bit>
#include <random>

#include "kernels/base/cuda_state.h"
#include "kernels/nf4/nf4_program.h"
#include "tests/kernels/base/places.h"

namespace graft::kernels {
namespace {

class Nf4Cuda : public ::testing::TestWithParam<Place> {
 protected:
  void SetUp() override {
    if (const auto why = why_not_at(GetParam()); !why.empty()) GTEST_SKIP() << why;
  }
};
INSTANTIATE_TEST_SUITE_P(Each, Nf4Cuda, kPlaces, [](const auto& instance) { return name_of(instance.param); });

std::vector<float> gaussian(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.05f);
  std::vector<float> values(count);
  for (auto& value : values) value = normal(random);
  return values;
}

template <class T>
T* or_null(Site& site, std::vector<T>& values) {
  return values.empty() ? nullptr : site.at(values);
}

/// Codes, too, lie in memory of their own size, so that reads past them are seen by the sanitizers; the first `skip` are none.
Nf4DeviceWeight place(Site& site, Nf4Weight& weight, int64_t skip = 0) {
  return {.codes = site.at(weight.codes) + skip, .count = weight.count, .block_size = weight.block_size, .absmax = or_null(site, weight.absmax),
          .absmax_codes = or_null(site, weight.absmax_codes), .nested_code = or_null(site, weight.nested_code),
          .nested_absmax = or_null(site, weight.nested_absmax), .nested_offset = weight.nested_offset,
          .nested_block_size = weight.nested_block_size};
}

/// `offset`: values that stay untouched before the expanded ones, and bytes before the codes, so that their places are not aligned.
template <class Out>
std::vector<Out> expanded(Place where, Nf4Weight weight, int64_t first, int64_t size, int64_t offset = 0) {
  std::vector<Out> out(static_cast<size_t>(offset + size));
  {
    Site site(where);
    weight.codes.insert(weight.codes.begin(), static_cast<size_t>(offset), uint8_t{0});
    const auto placed = place(site, weight, offset);
    Out* to = site.at(out) + offset;
    if (site.on_device()) {
      dequantize_nf4_cuda(placed, first, size, to, nullptr);
    } else {
      detail::launch_dequantize_nf4(site.host(), placed, first, size, to);
    }
  }
  return {out.begin() + offset, out.end()};
}

TEST_P(Nf4Cuda, GivesTheBitsOfTheReference) {
  for (const int64_t block_size : {32, 64, 256, 4096})
    for (const size_t count : sizes_at<size_t>(GetParam(), {0, 1, 2, 7, 8, 9, 31, 32, 33, 63, 64, 65, 2047, 2048, 2049, 4097, 16384, 20011},
                                               {1 << 21, (1 << 21) + 9}))
      for (const bool nested : {false, true}) {
        const auto weight = quantize_nf4(gaussian(count, count), block_size, nested);
        std::vector<float> expected(count);
        std::vector<uint16_t> narrow(count);
        dequantize_nf4_reference(weight, 0, expected);
        for (size_t i = 0; i < count; ++i) narrow[i] = float_to_bfloat16(expected[i]);
        const auto size = static_cast<int64_t>(count);
        ASSERT_TRUE(same_bytes(expanded<float>(GetParam(), weight, 0, size), expected)) << count << " in blocks of " << block_size;
        ASSERT_TRUE(same_bytes(expanded<uint16_t>(GetParam(), weight, 0, size), narrow)) << count << " in blocks of " << block_size;
      }
}

TEST_P(Nf4Cuda, APartGoesToAnyPlace) {
  const auto weight = quantize_nf4(gaussian(64 * 40 + 7, 5));
  std::vector<float> whole(static_cast<size_t>(weight.count));
  dequantize_nf4_reference(weight, 0, whole);
  for (const int64_t first : {0, 64, 64 * 13, 64 * 40})
    for (const int64_t size : {0, 1, 7, 100, 64 * 3})
      for (const int64_t offset : {0, 1, 4}) {
        if (first + size > weight.count) continue;
        const std::vector<float> expected(whole.begin() + first, whole.begin() + first + size);
        ASSERT_TRUE(same_bytes(expanded<float>(GetParam(), weight, first, size, offset), expected)) << first << " " << size << " " << offset;
      }
}

TEST_P(Nf4Cuda, NestedBlocksOfAnySize) {
  auto weight = quantize_nf4(gaussian(64 * 600, 6));
  weight.nested_block_size = 7;
  weight.nested_absmax = gaussian(600 / 7 + 1, 7);
  std::vector<float> expected(static_cast<size_t>(weight.count));
  dequantize_nf4_reference(weight, 0, expected);
  EXPECT_TRUE(same_bytes(expanded<float>(GetParam(), weight, 0, weight.count), expected));
}

TEST(Nf4CudaArguments, WrongOnesAreRefused) {
  auto weight = quantize_nf4(gaussian(1000, 1));
  Site site(Place::kForward);
  const auto placed = place(site, weight);
  std::vector<float> out(1000);
  const auto expand = [&](const Nf4DeviceWeight& w, int64_t first, int64_t size) {
    detail::launch_dequantize_nf4(HostLauncher(), w, first, size, out.data());
  };
  EXPECT_NO_THROW(expand(placed, 64, 936));
  EXPECT_THROW(expand(placed, 63, 1), InvalidArgument);
  EXPECT_THROW(expand(placed, 64, 937), InvalidArgument);
  EXPECT_THROW(expand(placed, -64, 1), InvalidArgument);
  EXPECT_THROW(expand(placed, 0, -1), InvalidArgument);
  auto wrong = placed;
  wrong.block_size = 48;
  EXPECT_THROW(expand(wrong, 0, 1), InvalidArgument);
  wrong = placed;
  wrong.nested_absmax = nullptr;
  EXPECT_THROW(expand(wrong, 0, 1), InvalidArgument);
}

TEST(Nf4CudaArguments, WithoutKernelsTheErrorSaysSo) {
  if (cuda_kernels_compiled()) GTEST_SKIP() << "this build has CUDA kernels";
  float* nowhere = nullptr;
  EXPECT_THROW(dequantize_nf4_cuda({}, 0, 0, nowhere, nullptr), Unavailable);
}

}  // namespace
}  // namespace graft::kernels
