#include "peft_core/backbones/decoder_config.h"

#include <gmock/gmock.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "tests/support/shared_data.h"

namespace graft::peft {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

json sizes(const std::string& model_type) {
  return {{"model_type", model_type}, {"hidden_size", 256},     {"num_hidden_layers", 3}, {"num_attention_heads", 8},
          {"num_key_value_heads", 2}, {"intermediate_size", 512}, {"vocab_size", 1000},     {"rms_norm_eps", 1e-6}};
}

DecoderConfig parsed(json config, const json& more = json::object()) {
  if (!more.is_null()) config.update(more);
  return parse_decoder_config(config, "config.json");
}

std::string refusal(json config, const json& more) {
  try {
    parsed(std::move(config), more);
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "accepted";
}

TEST(DecoderConfig, ReadsTheSizesOfEveryModelType) {
  for (const auto& type : supported_model_types()) {
    const auto config = parsed(sizes(type));
    EXPECT_EQ(config.model_type, type);
    EXPECT_EQ(config.hidden_size, 256);
    EXPECT_EQ(config.layers, 3);
    EXPECT_EQ(config.heads, 8);
    EXPECT_EQ(config.key_value_heads, 2);
    EXPECT_EQ(config.head_size, type == "qwen3" ? 128 : 32);  // Qwen3's default is no quotient
    EXPECT_EQ(config.intermediate_size, 512);
    EXPECT_EQ(config.vocabulary, 1000);
    EXPECT_EQ(config.norm_epsilon, 1e-6);
    EXPECT_EQ(config.rope_theta, 10000);
    EXPECT_EQ(config.query_key_norm, type == "qwen3");
    EXPECT_FALSE(config.tied_head);
    EXPECT_EQ(config.sliding_window, 0);
  }
  EXPECT_THAT(supported_model_types(), ::testing::UnorderedElementsAre("llama", "mistral", "qwen2", "qwen3"));
}

TEST(DecoderConfig, KeysThatAreThereOverrule) {
  EXPECT_EQ(parsed(sizes("llama"), {{"head_dim", 64}}).head_size, 64);
  EXPECT_EQ(parsed(sizes("llama"), {{"head_dim", nullptr}}).head_size, 32);
  EXPECT_TRUE(parsed(sizes("llama"), {{"tie_word_embeddings", true}}).tied_head);
  auto plain = sizes("llama");
  plain.erase("num_key_value_heads");
  EXPECT_EQ(parsed(plain).key_value_heads, 8);
}

TEST(DecoderConfig, SlidingWindowIsTheModelTypes) {
  EXPECT_EQ(parsed(sizes("mistral"), {{"sliding_window", 4096}}).sliding_window, 4096);
  EXPECT_EQ(parsed(sizes("mistral"), {{"sliding_window", nullptr}}).sliding_window, 0);
  // Qwen writes the width even where it is not used.
  EXPECT_EQ(parsed(sizes("qwen2"), {{"sliding_window", 4096}, {"use_sliding_window", false}}).sliding_window, 0);
}

TEST(DecoderConfig, AWindowInSomeLayersOnlyIsRefused) {
  // Qwen's layers from max_window_layers on are windowed: all, none, or a mixture that this decoder does not have.
  const json windowed = {{"sliding_window", 4096}, {"use_sliding_window", true}};
  auto with = [&](int64_t from) {
    auto more = windowed;
    more["max_window_layers"] = from;
    return more;
  };
  EXPECT_EQ(parsed(sizes("qwen2"), with(0)).sliding_window, 4096);
  EXPECT_EQ(parsed(sizes("qwen2"), with(3)).sliding_window, 0);
  EXPECT_THAT(refusal(sizes("qwen2"), with(2)), HasSubstr("max_window_layers"));
}

TEST(DecoderConfig, RopeScalingOldAndNewForm) {
  const json llama3 = {{"rope_type", "llama3"}, {"factor", 32.0}, {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 8192}};
  const auto old_form = parsed(sizes("llama"), {{"rope_theta", 500000.0}, {"rope_scaling", llama3}});
  auto with_theta = llama3;
  with_theta["rope_theta"] = 500000.0;
  const auto later_form = parsed(sizes("llama"), {{"rope_parameters", with_theta}});
  for (const auto* config : {&old_form, &later_form}) {
    EXPECT_EQ(config->rope_theta, 500000);
    ASSERT_TRUE(config->llama3_scaling.has_value());
    EXPECT_EQ(config->llama3_scaling->factor, 32);
    EXPECT_EQ(config->llama3_scaling->original_max_positions, 8192);
  }
  EXPECT_EQ(parsed(sizes("llama"), {{"rope_scaling", {{"type", "linear"}, {"factor", 4.0}}}}).linear_rope_factor, 4);
  EXPECT_EQ(parsed(sizes("llama"), {{"rope_scaling", nullptr}}).linear_rope_factor, 1);
  EXPECT_EQ(parsed(sizes("llama"), {{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 1e6}}}}).rope_theta, 1e6);
}

TEST(DecoderConfig, WhatIsNotSupportedIsRefusedWithWhatIs) {
  EXPECT_THAT(refusal(sizes("gemma2"), {}), AllOf(HasSubstr("gemma2"), HasSubstr("llama, mistral, qwen2, qwen3"), HasSubstr("config.json")));
  EXPECT_THAT(refusal(sizes("llama"), {{"rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}}}}), AllOf(HasSubstr("yarn"), HasSubstr("llama3")));
  EXPECT_THAT(refusal(sizes("llama"), {{"hidden_act", "gelu"}}), AllOf(HasSubstr("gelu"), HasSubstr("silu")));
  EXPECT_THAT(refusal(sizes("llama"), {{"quantization_config", {{"quant_method", "gptq"}}}}), HasSubstr("gptq"));
}

TEST(DecoderConfig, MissingAndContradictingSizesAreNamed) {
  for (const auto* key : {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size"}) {
    auto config = sizes("llama");
    config.erase(key);
    EXPECT_THAT(refusal(config, {}), HasSubstr(key));
    for (const json& wrong : {json(0), json(-3), json(2.5), json("many"), json(nullptr), json(uint64_t{1} << 63)})
      EXPECT_THAT(refusal(sizes("llama"), {{key, wrong}}), HasSubstr(key)) << wrong.dump();
  }
  EXPECT_THAT(refusal(sizes("llama"), {{"num_key_value_heads", 3}}), HasSubstr("num_key_value_heads"));
  EXPECT_THAT(refusal(sizes("llama"), {{"head_dim", 33}}), HasSubstr("head_dim"));
  EXPECT_THAT(refusal(sizes("llama"), {{"num_hidden_layers", 100000}}), HasSubstr("layers"));
  EXPECT_NE(refusal(sizes("llama"), {{"rms_norm_eps", 0}}), "accepted");
  EXPECT_NE(refusal(sizes("llama"), {{"rms_norm_eps", "small"}}), "accepted");
  EXPECT_NE(refusal(sizes("llama"), {{"rope_theta", -1}}), "accepted");
}

TEST(DecoderConfig, ValuesOfTheWrongKindAreRefusedNotThrownThrough) {
  // Every key in turn as text, number, list, object: InvalidArgument or accepted, nothing else.
  auto full = sizes("qwen2");
  full.update({{"hidden_act", "silu"}, {"head_dim", 32}, {"rope_theta", 1e4}, {"rope_scaling", nullptr}, {"rope_parameters", nullptr},
               {"tie_word_embeddings", true}, {"use_sliding_window", true}, {"sliding_window", 5}, {"max_window_layers", 0},
               {"quantization_config", nullptr}, {"max_position_embeddings", 100}});
  for (const auto& [key, value] : full.items())
    for (const json& wrong : {json("text"), json(7), json(-1.5), json(true), json(nullptr), json::array({1}), json{{"rope_type", 3}},
                              json{{"type", nullptr}, {"factor", "x"}}, json{{"quant_method", 4}}})
      EXPECT_NO_THROW(refusal(full, {{key, wrong}})) << key << ": " << wrong.dump();
  for (const json& whole : {json(nullptr), json(3), json::array(), json("text")}) EXPECT_THROW(parse_decoder_config(whole, "x"), InvalidArgument);
}

TEST(RotaryFrequencies, AreTheFormulas) {
  auto config = parsed(sizes("llama"));  // head size 32
  const auto frequencies = rotary_frequencies(config);
  ASSERT_EQ(frequencies.size(), 16u);
  EXPECT_EQ(frequencies[0], 1.0f);
  EXPECT_FLOAT_EQ(frequencies[8], 0.01f);  // 10000^(-16/32)
  config.linear_rope_factor = 4;
  EXPECT_FLOAT_EQ(rotary_frequencies(config)[8], 0.0025f);
  config.frequency_divisors = std::vector<double>(16, 2.0);
  EXPECT_FLOAT_EQ(rotary_frequencies(config)[8], 0.00125f);
}

TEST(RotaryFrequencies, AreThoseOfTransformers) {
  std::ifstream file(testing::source_dir() / "tests/fixtures/rotary/rotary.json");
  for (const auto& fixture : json::parse(file)) {
    const auto frequencies = rotary_frequencies(parse_decoder_config(fixture.at("config"), fixture.at("name")));
    const auto expected = fixture.at("frequencies").get<std::vector<double>>();
    ASSERT_EQ(frequencies.size(), expected.size());
    // transformers works in fp32: the exponent is rounded, which log(theta) <= 14 carries into the power, then three roundings more.
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_NEAR(frequencies[i] / expected[i], 1.0, (14 + 4) * 0x1p-24) << fixture.at("name") << " " << i;
  }
}

}  // namespace
}  // namespace graft::peft
