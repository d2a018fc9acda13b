#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data_loaders/text/data_config.h"
#include "data_loaders/text/packing.h"
#include "data_loaders/text/records.h"
#include "data_loaders/text/token_cache.h"
#include "data_loaders/text/token_set.h"
#include "pipelines/language/language_model.h"

namespace graft::pipelines {

/// How dialogues become tokens: the chat format and the choices of the section `data`.
struct TextEncoding {
  std::optional<data::ChatFormat> format;  ///< none: the data are plain documents
  data::ChatOptions options;
  bool answers_only = true;
  data::TokenCache cache;                 ///< `data.cache`; nowhere by default
  std::filesystem::path tokenizer_files;  ///< where the tokenizer was read; a cache needs it

  /// Resolves `data.template` against the model; documents (`format: text`) need none.
  static TextEncoding of(const LanguageModel& language, const data::DataConfig& config, const std::vector<data::Record>& records);
};

/// One record as tokens. A document is its text and the end token; a dialogue is what the chat format writes.
data::TokenSample encode_record(const data::Tokenizer& tokenizer, const TextEncoding& encoding, const data::Record& record);

/// All records in order, cut to max_length (documents are split, so one record may give several samples, and one without anything to
/// learn none).
struct EncodedRecords {
  data::TokenSet samples;
  std::vector<int64_t> samples_of;  ///< how many samples each record gave
  data::FitReport fit;
};

/// From `encoding.cache` if the same records were encoded in the same way by the same program before, else made and kept there.
EncodedRecords encode_records(const data::Tokenizer& tokenizer, const TextEncoding& encoding, const std::vector<data::Record>& records,
                              int64_t max_length);

/// The prompt that asks for a record's answer: all turns but the last, or the question with its options in `order`.
std::vector<data::TokenId> encode_prompt(const data::Tokenizer& tokenizer, const TextEncoding& encoding,
                                         const std::vector<data::Message>& turns);
std::vector<data::TokenId> encode_prompt(const data::Tokenizer& tokenizer, const TextEncoding& encoding, const data::Record& record,
                                         const std::vector<int>& order = {});

}  // namespace graft::pipelines
