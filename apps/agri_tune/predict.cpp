#include <unistd.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "apps/agri_tune/chosen_adapters.h"
#include "apps/agri_tune/commands.h"
#include "apps/agri_tune/data_sets.h"
#include "apps/agri_tune/settings.h"
#include "data_loaders/text/streaming_decoder.h"
#include "peft_core/base/json_files.h"
#include "pipelines/device.h"
#include "pipelines/language/evaluation.h"

namespace graft::apps::agri {
namespace {

using namespace pipelines;

struct Speaker {
  LanguageModel language;
  TextEncoding encoding;
  SamplingOptions sampling;
};

Speaker load_speaker(const Invocation& call, const std::vector<data::Record>& records) {
  const auto device = device_for(call.kernels);
  const auto settings = read_settings(call);
  Speaker speaker{load_language_model(call.model, settings.base), {}, {}};
  load_chosen_adapters(speaker.language, call, settings);
  speaker.language.move_to(device);
  speaker.encoding = TextEncoding::of(speaker.language, settings.data, records);
  speaker.sampling = {.max_new_tokens = call.max_new_tokens.value_or(256), .temperature = call.temperature.value_or(0.0),
                      .seed = static_cast<uint64_t>(call.seed.value_or(settings.train.seed)),
                      .vocabulary = speaker.language.tokenizer->vocabulary_size()};
  return speaker;
}

/// Writes the answer as it is made; returns all of it.
std::string speak(const Speaker& speaker, const std::vector<data::TokenId>& prompt, std::ostream& out) {
  const auto& tokenizer = *speaker.language.tokenizer;
  std::vector<data::TokenId> stop;
  if (speaker.encoding.format) stop = data::stop_tokens(tokenizer, *speaker.encoding.format);
  data::StreamingDecoder decoder(speaker.language.tokenizer);
  std::string answer;
  const auto emit = [&](const std::string& text) {
    answer += text;
    out << text << std::flush;
  };
  generate(*speaker.language.model, {prompt}, stop, speaker.sampling, [&](size_t, data::TokenId id) {
    emit(decoder.push(id));
    return true;
  });
  emit(decoder.finish());
  return answer;
}

void predict_rows(const Speaker& speaker, const std::vector<data::Record>& records, std::ostream& out) {
  const auto& tokenizer = *speaker.language.tokenizer;
  std::vector<data::TokenId> stop;
  if (speaker.encoding.format) stop = data::stop_tokens(tokenizer, *speaker.encoding.format);
  const auto adapters = adapters_of_rows(speaker.language, records);
  for (const auto& record : records) {
    const auto prompt = encode_prompt(tokenizer, speaker.encoding, record);
    auto sampling = speaker.sampling;
    if (adapters) sampling.adapters = {adapters(record)};
    const auto ids = generate(*speaker.language.model, {prompt}, stop, sampling).front();
    const nlohmann::ordered_json line = {{"id", record.id.empty() ? data::place_of(record) : record.id},
                                         {"question", data::question_of(record)},
                                         {"answer", tokenizer.decode(ids, /*skip_special=*/true)}};
    out << to_json_line(line) << "\n" << std::flush;
  }
}

}  // namespace

void predict(const Invocation& call) {
  if (!call.data.empty()) {
    const auto settings = read_settings(call);
    const auto read = data::read_records(call.data, read_options(settings.data));
    return predict_rows(load_speaker(call, read.records), read.records, *call.out);
  }
  const auto speaker = load_speaker(call, {});
  speak(speaker, encode_prompt(*speaker.language.tokenizer, speaker.encoding, {{"user", call.prompt}}), *call.out);
  *call.out << "\n";
}

void chat(const Invocation& call) {
  const auto speaker = load_speaker(call, {});
  const bool person = isatty(STDIN_FILENO) != 0;
  if (person) *call.err << "Write a question; an empty line or Ctrl-D ends, /new starts over.\n";
  std::vector<data::Message> turns;
  for (std::string line; (person ? (*call.err << "> " << std::flush, true) : true) && std::getline(std::cin, line) && !line.empty();) {
    if (line == "/new") {
      turns.clear();
      continue;
    }
    turns.push_back({"user", line});
    turns.push_back({"assistant", speak(speaker, encode_prompt(*speaker.language.tokenizer, speaker.encoding, turns), *call.out)});
    *call.out << "\n";
  }
}

}  // namespace graft::apps::agri
