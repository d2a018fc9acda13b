#include "kernels/gguf_blocks/gguf_blocks_cuda.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "kernels/gguf_blocks/gguf_blocks_program.h"
#include "kernels/gguf_blocks/variants.h"
#include "tests/kernels/base/places.h"

namespace graft::kernels {
namespace {

constexpr GgmlType kTypes[] = {GgmlType::kF32,  GgmlType::kF16,  GgmlType::kBF16, GgmlType::kQ8_0, GgmlType::kQ4_0, GgmlType::kQ4_1,
                               GgmlType::kQ5_0, GgmlType::kQ5_1, GgmlType::kQ4_K, GgmlType::kQ5_K, GgmlType::kQ6_K};

class GgufBlocksCuda : public ::testing::TestWithParam<Place> {
 protected:
  void SetUp() override {
    if (const auto why = why_not_at(GetParam()); !why.empty()) GTEST_SKIP() << why;
  }
};
INSTANTIATE_TEST_SUITE_P(Each, GgufBlocksCuda, kPlaces, [](const auto& instance) { return name_of(instance.param); });

std::vector<uint8_t> random_bytes(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<uint8_t> bytes(count);
  for (auto& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

/// `offset`: values before the expanded ones, and bytes before the blocks, so that their places are not aligned.
template <class Out>
std::vector<Out> expanded(Place where, GgmlType type, std::vector<uint8_t> blocks, size_t count, size_t offset) {
  std::vector<Out> out(offset + count * block_layout(type).elements);
  {
    Site site(where);
    blocks.insert(blocks.begin(), offset, uint8_t{0});
    const uint8_t* from = site.at(blocks) + offset;
    Out* to = site.at(out) + offset;
    if (site.on_device()) {
      dequantize_blocks_cuda(type, from, static_cast<int64_t>(count), to, nullptr);
    } else {
      detail::launch_dequantize_blocks(site.host(), type, from, static_cast<int64_t>(count), to);
    }
  }
  return {out.begin() + static_cast<std::ptrdiff_t>(offset), out.end()};
}

float widened(float v) { return v; }
float widened(uint16_t v) { return bfloat16_to_float(v); }

/// Random bytes make every kind of scale: subnormal, infinite, NaN. Bits must be equal; only a NaN may be another NaN.
template <class Out>
void expect_same(const std::vector<Out>& actual, const std::vector<Out>& expected, const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    if (std::isnan(widened(expected[i])) && std::isnan(widened(actual[i]))) continue;
    ASSERT_EQ(std::memcmp(&actual[i], &expected[i], sizeof(Out)), 0) << what << ", weight " << i;
  }
}

TEST_P(GgufBlocksCuda, EveryTypeGivesTheBitsOfTheReference) {
  for (const auto type : kTypes) {
    const auto layout = block_layout(type);
    for (const size_t count : sizes_at<size_t>(GetParam(), {0, 1, 2, 7, 8, 9, 15, 17, 63, 64, 65, 127, 500, 2049}, {20011})) {
      const auto blocks = random_bytes(count * layout.bytes, count + 1);
      std::vector<float> wide(count * layout.elements);
      std::vector<uint16_t> narrow(wide.size());
      detail::dequantize_reference(type, blocks.data(), count, wide.data());
      detail::dequantize_reference(type, blocks.data(), count, narrow.data());
      const auto what = std::string(layout.name) + " x " + std::to_string(count);
      for (const size_t offset : {0, 1}) {
        expect_same(expanded<float>(GetParam(), type, blocks, count, offset), wide, what);
        expect_same(expanded<uint16_t>(GetParam(), type, blocks, count, offset), narrow, what + " in bf16");
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(GgufBlocksCudaArguments, WrongOnesAreRefused) {
  std::vector<float> out(32);
  const auto expand = [&](GgmlType type, int64_t count) {
    detail::launch_dequantize_blocks(HostLauncher(), type, nullptr, count, out.data());
  };
  EXPECT_THROW(expand(GgmlType::kQ4_0, -1), InvalidArgument);
  EXPECT_THROW(expand(static_cast<GgmlType>(99), 0), InvalidArgument);
}

}  // namespace
}  // namespace graft::kernels
