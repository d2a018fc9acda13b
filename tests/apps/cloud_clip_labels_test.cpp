#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include <cstring>
#include <sstream>

#include "apps/cloud_clip/cloud_clip.h"
#include "data_loaders/cloud/cloud_folder.h"
#include "kernels/base/error.h"
#include "peft_core/checkpoint/clip_files.h"
#include "tests/pipelines/cloud/tiny_clip.h"
#include "tests/support/temp_dir.h"

namespace graft::apps {
namespace {

using graft::testing::read_text;
using graft::testing::TempDir;
using graft::testing::write_text;

/// A tokenizer of single letters that fits tiny_clip(): start 62, end 63.
void write_letter_tokenizer(const std::filesystem::path& folder) {
  std::string vocabulary;
  for (int i = 0; i < 26; ++i) vocabulary += "\"" + std::string(1, static_cast<char>('a' + i)) + "\":" + std::to_string(i) + ",";
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

/// Two clouds of each shape as text files: <class>/<number>.xyz.
void write_clouds(const std::filesystem::path& folder, uint64_t seed, double noise, bool classes_in_names) {
  const auto set = graft::testing::shape_clouds(2, seed, noise);
  for (size_t i = 0; i < set.clouds.size(); ++i) {
    const auto place = folder / (classes_in_names ? set.classes[static_cast<size_t>(set.labels[i])] : "scans");
    std::filesystem::create_directories(place);
    std::ostringstream text;
    for (size_t p = 0; p < set.clouds[i].points.size(); p += 3)
      text << set.clouds[i].points[p] << " " << set.clouds[i].points[p + 1] << " " << set.clouds[i].points[p + 2] << "\n";
    write_text(place / (std::to_string(i) + ".xyz"), text.str());
  }
}

class AdaptLabels : public ::testing::Test {
 protected:
  void SetUp() override {
    peft::write_clip(folder / "model", *graft::testing::tiny_clip());
    write_letter_tokenizer(folder / "model");
    write_clouds(folder / "source", 1, 0, true);
    write_clouds(folder / "target", 2, 0.3, false);
  }
  /// The adapter's numbers after two steps of adaptation: its file without the header, which holds the run's id.
  std::string adapted(const std::string& run) {
    std::ostringstream out, err;
    const int code = pipelines::run_app(cloud_clip(), {"adapt", "--model", folder / "model", "--source", folder / "source", "--target", folder / "target", "--out",
                                                       folder / run, "--set", "train.max_steps=2", "train.batch_size=4", "cloud.prompts=text",
                                                       "input.up=z", "run.rollback=false"}, out, err);
    EXPECT_EQ(code, 0) << err.str();
    const auto file = read_text(folder / run / "adapter_model.safetensors");
    uint64_t header = 0;
    if (file.size() < sizeof header) return "";
    std::memcpy(&header, file.data(), sizeof header);
    return file.substr(sizeof header + header);
  }

  TempDir folder;
};

TEST_F(AdaptLabels, AnIndexOfTheTargetIsNeverOpened) {
  const auto without = adapted("without");
  ASSERT_FALSE(without.empty());
  const std::string garbage = std::string("file,label\nno/such/file.xyz,\"\n") + '\0' + '\xff';
  int run = 0;
  for (const auto& index : {garbage, std::string("file,label\nscans/0.xyz,ball\n")}) {
    write_text(folder / "target" / "index.csv", index);
    EXPECT_TRUE(adapted("with" + std::to_string(++run)) == without);
  }
  // The same garbage stops whoever does open it.
  write_text(folder / "target" / "index.csv", garbage);
  EXPECT_ANY_THROW(data::labelled_clouds(folder / "target"));
}

TEST_F(AdaptLabels, AnIndexThatCannotBeReadDoesNoHarm) {
  const auto without = adapted("without");
  std::filesystem::create_directory(folder / "target" / "index.csv");  // opening it as a file fails for every user, root too
  EXPECT_TRUE(adapted("with") == without);
}

}  // namespace
}  // namespace graft::apps
