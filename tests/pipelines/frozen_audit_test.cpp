#include "pipelines/frozen_audit.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "kernels/base/error.h"

namespace graft::pipelines {
namespace {

TEST(FrozenAudit, SeesASingleByteOfASmallModel) {
  const auto weight = at::rand({64, 33}), codes = at::zeros({1001}, at::kByte), none = at::zeros({0});
  const FrozenAudit audit({{"weight", weight}, {"codes", codes}, {"none", none}});
  EXPECT_TRUE(audit.changed().empty());
  codes[1000] = 1;
  EXPECT_EQ(audit.changed(), std::vector<std::string>{"codes"});
  EXPECT_THROW(audit.verify("step 1"), NumericalError);
  codes[1000] = 0;
  EXPECT_NO_THROW(audit.verify("step 1"));
}

TEST(FrozenAudit, SamplesALargeModelAndStillSeesAnUpdate) {
  const auto weight = at::rand({1000, 1000}), other = at::rand({1000, 1000});
  const FrozenAudit audit({{"weight", weight}, {"other", other}}, 1 << 20);
  EXPECT_TRUE(audit.changed().empty());
  weight.sub_(weight * 1e-3);
  EXPECT_EQ(audit.changed(), std::vector<std::string>{"weight"});
  other[0][0] += 1;  // the first and last blocks are always looked at
  EXPECT_EQ(audit.changed().size(), 2u);
}

TEST(FrozenAudit, LetsGoOfEachTensorWhenItWasRead) {
  std::vector<std::string> gone;
  const FrozenAudit audit({{"kept", at::zeros({3})}, {"first", at::zeros({3}), [&] { gone.push_back("first"); }},
                           {"second", at::zeros({5}), [&] { gone.push_back("second"); }}});
  EXPECT_EQ(gone, (std::vector<std::string>{"first", "second"}));
  audit.verify("step 1");
  EXPECT_EQ(gone.size(), 4u);
}

TEST(FrozenAudit, HashDependsOnEveryByteItsPlaceAndTheLength) {
  std::vector<std::byte> bytes(77);
  const auto base = hash_bytes(bytes);
  std::vector<uint64_t> seen = {base, hash_bytes({bytes.data(), 76}), hash_bytes(bytes, 1)};
  for (auto& byte : bytes) {
    byte = std::byte{1};
    seen.push_back(hash_bytes(bytes));
    byte = std::byte{0};
  }
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(std::unique(seen.begin(), seen.end()), seen.end());
}

TEST(FrozenAudit, LongListsOfNamesAreShortened) {
  EXPECT_EQ(name_some({"a", "b"}), "a, b");
  EXPECT_EQ(name_some(std::vector<std::string>(10, "x")), "x, x, x, x, x, x, x, x and 2 more");
}

}  // namespace
}  // namespace graft::pipelines
