#include "peft_core/checkpoint/mixture_files.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>

#include "kernels/base/error.h"
#include "tests/peft_core/checkpoint/adapted_decoder.h"
#include "tests/peft_core/checkpoint/random_adapter.h"
#include "tests/support/temp_dir.h"

namespace graft::testing {
namespace {

namespace fs = std::filesystem;
using namespace peft;

TEST(MixtureFiles, ComeBackAsTheyWereWritten) {
  const TempDir dir;
  write_random(dir.path() / "x", "lora", "rank: 4", 1);
  write_random(dir.path() / "y", "dora", "rank: 2\ntargets: [q_proj]", 2);
  const auto first = tiny_model("llama"), second = tiny_model("llama");
  const auto mixture = attach_mixture({{"wheat", dir.path() / "x", 0.25}, {"rice", dir.path() / "y", -1.5}}, first->places(), "tiny", false);
  fs::create_directories(dir.path() / "both");
  write_mixture(dir.path() / "both", *mixture, {.base_model = "tiny", .base_fingerprint = "tiny"});
  ASSERT_TRUE(is_mixture(dir.path() / "both"));
  EXPECT_FALSE(is_mixture(dir.path() / "x"));
  const auto again = attach_mixture(read_mixture(dir.path() / "both"), second->places(), "tiny", false);
  EXPECT_EQ(again->names(), (std::vector<std::string>{"wheat", "rice"}));
  EXPECT_EQ(again->weights(), (AdapterWeights{0.25, -1.5}));
  EXPECT_TRUE(logits_of(*first).equal(logits_of(*second)));
  EXPECT_GT((logits_of(*first) - logits_of(*tiny_model("llama"))).abs().max().item<double>(), 0.02);
  const auto part = read_adapter(dir.path() / "both" / "rice");
  EXPECT_EQ(part.method->name, "dora") << "a part is an adapter by itself";
}

TEST(MixtureFiles, AreRefusedInWords) {
  const TempDir dir;
  const auto refusal_of = [&](const std::string& json) {
    std::ofstream(dir.path() / kMixtureFile) << json;
    try {
      read_mixture(dir.path());
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_NE(refusal_of("[]").find("format graft-mixture-1"), std::string::npos);
  EXPECT_NE(refusal_of(R"({"format":"graft-mixture-1","adapters":[]})").find("lists no adapter"), std::string::npos);
  EXPECT_NE(refusal_of(R"({"format":"graft-mixture-1"})").find("lacks a key"), std::string::npos);
  EXPECT_NE(refusal_of(R"({"format":"graft-mixture-1","adapters":[{"name":"a","weight":"x"}]})").find("wrong type"), std::string::npos);
  EXPECT_NE(refusal_of(R"({"format":"graft-mixture-1","adapters":[{"name":"a","folder":"../a"}]})").find("cannot be the name"), std::string::npos);
  EXPECT_NE(refusal_of("{").find(kMixtureFile), std::string::npos);
}

}  // namespace
}  // namespace graft::testing
