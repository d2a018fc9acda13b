#include "peft_core/methods/sequence/prompt_tuning.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "peft_core/methods/sequence/virtual_tokens.h"

namespace graft::peft {
namespace {

/// As many ids of the text as there are virtual tokens, from its beginning, again and again where it is shorter.
at::Tensor text_ids(const PromptTuningConfig& config, const AttachContext& context, int64_t vocabulary) {
  if (config.init_text.empty())
    throw InvalidArgument({.where = "method.init_text", .what = "is empty", .expected = "the text that init text starts from"});
  if (!context.token_ids)
    throw InvalidArgument({.where = "method.init", .what = "text needs a tokenizer, and none is at hand here", .expected = "random or sample_vocab"});
  const auto ids = context.token_ids(config.init_text);
  if (ids.empty()) throw InvalidArgument({.where = "method.init_text", .what = "has no tokens"});
  auto wanted = at::empty({config.num_virtual_tokens}, at::kLong);
  for (int64_t i = 0; i < config.num_virtual_tokens; ++i) {
    const auto id = ids[static_cast<size_t>(i) % ids.size()];
    GRAFT_ASSERT(id >= 0 && id < vocabulary);
    wanted[i] = id;
  }
  return wanted;
}

at::Tensor start_of(const FrozenLinear& embedding, const PromptTuningConfig& config, const AttachContext& context) {
  const int64_t count = config.num_virtual_tokens, vocabulary = embedding.out_features();
  if (context.restoring) return at::zeros({count, embedding.in_features()}, at::kFloat);
  auto random = at::make_generator<at::CPUGeneratorImpl>(context.seed);
  switch (config.init) {
    case PromptStart::kRandom: return at::empty({count, embedding.in_features()}, at::kFloat).normal_(0, 1, random);
    case PromptStart::kSampleVocab: return embedding.gather(at::empty({count}, at::kLong).random_(0, vocabulary, random), at::kFloat);
    case PromptStart::kText: break;
  }
  return embedding.gather(text_ids(config, context, vocabulary), at::kFloat);
}

class PromptAttachment final : public VirtualTokens {
 public:
  PromptAttachment(PromptSlot& slot, const FrozenLinear& embedding, const PromptTuningConfig& config, const AttachContext& context)
      : VirtualTokens(start_of(embedding, config, context)), slot_(slot), config_(config) {
    slot_.tokens() = table();
  }

  void detach() override { slot_.tokens() = at::Tensor(); }

  nlohmann::json published_config() const override {
    // A text start would oblige PEFT to find a tokenizer by name. It is over when a file is written, and `random` asks for nothing.
    return {{"peft_type", "PROMPT_TUNING"},
            {"num_virtual_tokens", config_.num_virtual_tokens},
            {"token_dim", table().size(1)},
            {"num_transformer_submodules", 1},
            {"prompt_tuning_init", config_.init == PromptStart::kSampleVocab ? "SAMPLE_VOCAB" : "RANDOM"}};
  }

 private:
  PromptSlot& slot_;
  PromptTuningConfig config_;
};

std::unique_ptr<Attachment> attach(Places& places, const ConfigNode& section, const AttachContext& context) {
  const auto config = read_config<PromptTuningConfig>(section);
  expect_virtual_tokens(config.num_virtual_tokens);
  if (places.prompt == nullptr || places.embedding == nullptr)
    throw InvalidArgument({.where = "method.name", .what = "prompt_tuning puts tokens before a text, and this model reads none", .expected = "a language model"});
  if (places.prompt->count() > 0)
    throw InvalidArgument({.where = "prompt", .what = "already has virtual tokens", .hint = "detach them first"});
  return std::make_unique<PromptAttachment>(*places.prompt, *places.embedding->base(), config, context);
}

std::optional<ConfigNode> from_published(const nlohmann::json& published) {
  if (published.value("peft_type", "") != "PROMPT_TUNING") return std::nullopt;
  const nlohmann::json method = {{"name", "prompt_tuning"},
                                 {"num_virtual_tokens", published.at("num_virtual_tokens")},
                                 {"init", published.value("prompt_tuning_init", "RANDOM") == "SAMPLE_VOCAB" ? "sample_vocab" : "random"}};
  return ConfigNode::parse(method.dump(), "adapter_config.json");
}

}  // namespace

MethodSpec prompt_tuning_method() {
  return {.name = "prompt_tuning",
          .paper = "arXiv:2104.08691",
          .use_when = "many tasks share one large model, each with a few kilobytes of its own",
          .parameters = "P C for P virtual tokens",
          .traits = {.identity_at_start = false, .mergeable = false, .exact_gradient = true},
          .attach = attach,
          .from_published = from_published,
          .resolved = [](const ConfigNode& config) { return write_config(read_config<PromptTuningConfig>(config), "method"); },
          .published = virtual_tokens_form("PROMPT_TUNING", {"prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs"})};
}

}  // namespace graft::peft
