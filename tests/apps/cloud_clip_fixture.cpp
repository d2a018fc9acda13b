#include "tests/apps/cloud_clip_fixture.h"

#include <sstream>

#include "apps/cloud_clip/cloud_clip.h"
#include "peft_core/checkpoint/clip_files.h"
#include "tests/pipelines/cloud/tiny_clip.h"
#include "tests/support/temp_dir.h"

namespace graft::testing {
namespace {

/// A tokenizer of single letters that fits tiny_clip(): start 62, end 63.
void write_letter_tokenizer(const std::filesystem::path& folder) {
  std::string vocabulary;
  for (int i = 0; i < 26; ++i) vocabulary.append(1, '"').append(1, static_cast<char>('a' + i)).append("\":" + std::to_string(i) + ",");
  vocabulary += "\"\u0120\":26,\".\":27,\"D\":28,\"3\":29,\"<|startoftext|>\":62,\"<|endoftext|>\":63";
  const auto added = [](int id, const char* token) {
    return "{\"id\":" + std::to_string(id) + ",\"content\":\"" + token +
           "\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true}";
  };
  write_text(folder / "tokenizer.json",
             "{\"version\":\"1.0\",\"added_tokens\":[" + added(62, "<|startoftext|>") + "," + added(63, "<|endoftext|>") +
                 "],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true},"
                 "\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{" + vocabulary + "}}}");
  write_text(folder / "tokenizer_config.json", "{\"bos_token\":\"<|startoftext|>\",\"eos_token\":\"<|endoftext|>\"}");
}

}  // namespace

void write_tiny_clip(const std::filesystem::path& folder) {
  peft::write_clip(folder, *tiny_clip());
  write_letter_tokenizer(folder);
}

void write_clouds(const std::filesystem::path& folder, uint64_t seed, double noise, bool classes_in_names) {
  const auto set = shape_clouds(2, seed, noise);
  for (size_t i = 0; i < set.clouds.size(); ++i) {
    const auto place = folder / (classes_in_names ? set.classes[static_cast<size_t>(set.labels[i])] : "scans");
    std::filesystem::create_directories(place);
    std::ostringstream text;
    for (size_t p = 0; p < set.clouds[i].points.size(); p += 3)
      text << set.clouds[i].points[p] << " " << set.clouds[i].points[p + 1] << " " << set.clouds[i].points[p + 2] << "\n";
    write_text(place / (std::to_string(i) + ".xyz"), text.str());
  }
}

CloudClipOutcome cloud_clip(const std::vector<std::string>& arguments) {
  std::ostringstream out, err;
  const int code = pipelines::run_app(apps::cloud_clip(), arguments, out, err);
  return {code, out.str(), err.str()};
}

}  // namespace graft::testing
