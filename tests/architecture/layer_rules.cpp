#include "tests/architecture/layer_rules.h"

#include <algorithm>
#include <set>

namespace graft::testing {
namespace {

using Prefixes = std::vector<std::string>;

bool matches(const std::string& path, const Prefixes& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](const auto& prefix) { return starts_with(path, prefix); });
}

struct Layer {
  std::string folder;
  Prefixes may_see;  ///< besides the folder itself
  Prefixes never;    ///< exceptions to may_see
};

const Prefixes kBelowPipelines = {"kernels/", "peft_core/", "data_loaders/"};

// The first folder that matches a file is its layer, so the narrow ones come first.
const std::vector<Layer> kLayers = {
    {"kernels/ops/", {"kernels/"}, {}},
    {"kernels/", {}, {"kernels/ops/"}},
    {"peft_core/base/", {"kernels/"}, {"kernels/ops/"}},
    {"peft_core/formats/", {"kernels/", "peft_core/base/"}, {"kernels/ops/"}},
    {"peft_core/memory/", {"kernels/", "peft_core/base/"}, {}},
    {"peft_core/slots/", {"kernels/", "peft_core/base/", "peft_core/formats/", "peft_core/memory/"}, {}},
    {"peft_core/methods/", {"kernels/", "peft_core/base/", "peft_core/formats/", "peft_core/memory/", "peft_core/slots/"}, {}},
    {"peft_core/operations/", {"kernels/", "peft_core/base/", "peft_core/formats/", "peft_core/memory/", "peft_core/slots/", "peft_core/methods/"}, {}},
    {"peft_core/backbones/", {"kernels/", "peft_core/base/", "peft_core/formats/", "peft_core/memory/", "peft_core/slots/"}, {}},
    {"peft_core/checkpoint/", {"kernels/", "peft_core/"}, {}},
    {"data_loaders/", {"kernels/", "peft_core/base/", "peft_core/formats/"}, {"kernels/ops/"}},
    {"pipelines/", kBelowPipelines, {}},
};

// An application sees everything below and itself, no other application. Tests and benchmarks see everything.
bool may_include(const std::string& file, const std::string& target) {
  if (matches(file, {"tests/", "bench/"})) return true;
  if (starts_with(file, "apps/")) {
    const auto own_folder = file.substr(0, file.find('/', 5) + 1);
    return matches(target, kBelowPipelines) || matches(target, {"pipelines/", own_folder});
  }
  for (const auto& layer : kLayers) {
    if (!starts_with(file, layer.folder)) continue;
    return starts_with(target, layer.folder) ? !matches(target, layer.never)
                                             : matches(target, layer.may_see) && !matches(target, layer.never);
  }
  return false;
}

struct Library {
  std::string name;
  Prefixes headers;
  Prefixes visible_in;
};

const Prefixes kTorchFolders = {"kernels/ops/",         "peft_core/slots/",  "peft_core/methods/", "peft_core/backbones/",
                                "peft_core/checkpoint/", "peft_core/memory/", "peft_core/operations/", "pipelines/",         "apps/",
                                "bench/",                "tests/",            "cmake/"};

const std::vector<Library> kLibraries = {
    {"LibTorch", {"ATen/", "torch/", "c10/", "caffe2/"}, kTorchFolders},
    {"yaml-cpp", {"yaml-cpp/"}, {"peft_core/base/config"}},
    {"CLI11", {"CLI/"}, {"pipelines/cli/"}},
    {"spdlog", {"spdlog/"}, {"peft_core/base/log"}},
    {"OpenSSL", {"openssl/"}, {"peft_core/base/"}},
    {"SentencePiece", {"sentencepiece"}, {"data_loaders/text/"}},
    {"PCRE2", {"pcre2.h"}, {"data_loaders/text/"}},
    {"utf8proc", {"utf8proc.h"}, {"data_loaders/text/"}},
    {"PCL", {"pcl/"}, {"data_loaders/cloud/"}},
    {"Open3D", {"open3d/"}, {"data_loaders/cloud/", "tests/data_loaders/cloud/"}},
    {"HDF5", {"hdf5.h"}, {"data_loaders/cloud/", "tests/data_loaders/cloud/"}},
    {"minizip", {"minizip/"}, {"data_loaders/cloud/", "tests/data_loaders/cloud/"}},
    {"xtensor", {"xtensor/"}, {"data_loaders/cloud/"}},
    {"libpng", {"png.h"}, {"pipelines/cloud/", "tests/pipelines/cloud/"}},
    {"Highway", {"hwy/"}, {"kernels/", "tests/kernels/", "bench/kernels/"}},
    {"OpenMP", {"omp.h"}, {"kernels/", "peft_core/", "pipelines/", "bench/", "tests/"}},
    {"GoogleTest", {"gtest/", "gmock/"}, {"tests/"}},
    {"CUDA", {"cuda", "cublas"}, {"kernels/"}},
};

std::string place(const SourceFile& file, const Include& include) { return file.path + ":" + std::to_string(include.line); }

}  // namespace

std::vector<std::string> broken_arrows(const std::vector<SourceFile>& files) {
  std::vector<std::string> findings;
  for (const auto& file : files) {
    for (const auto& include : includes_of(file)) {
      if (include.quoted && !may_include(file.path, include.target)) {
        findings.push_back(place(file, include) + ": may not include " + include.target + " (docs/architecture.md, levels)");
      }
    }
  }
  return findings;
}

std::vector<std::string> misplaced_libraries(const std::vector<SourceFile>& files) {
  std::vector<std::string> findings;
  for (const auto& file : files) {
    for (const auto& include : includes_of(file)) {
      for (const auto& library : kLibraries) {
        if (matches(include.target, library.headers) && !matches(file.path, library.visible_in)) {
          findings.push_back(place(file, include) + ": " + library.name + " is not visible here (" + include.target + ")");
        }
      }
      if (include.target == "torch/torch.h" && ends_with(file.path, ".h")) {
        findings.push_back(place(file, include) + ": torch/torch.h in a header; it costs 11 s in every file that includes it");
      }
    }
  }
  return findings;
}

std::vector<std::string> unknown_includes(const std::vector<SourceFile>& files) {
  std::set<std::string> known;
  for (const auto& file : files) known.insert(file.path);
  std::vector<std::string> findings;
  for (const auto& file : files) {
    for (const auto& include : includes_of(file)) {
      if (include.quoted && known.count(include.target) == 0) {
        findings.push_back(place(file, include) + ": no file " + include.target + "; paths start at the repository's root");
      }
    }
  }
  return findings;
}

std::vector<std::string> own_header_not_first(const std::vector<SourceFile>& files) {
  std::set<std::string> known;
  for (const auto& file : files) known.insert(file.path);
  std::vector<std::string> findings;
  for (const auto& file : files) {
    if (!ends_with(file.path, ".cpp")) continue;
    const auto header = file.path.substr(0, file.path.size() - 4) + ".h";
    if (known.count(header) == 0) continue;
    const auto includes = includes_of(file);
    if (includes.empty() || includes.front().target != header) findings.push_back(file.path + ": does not include " + header + " first");
  }
  return findings;
}

}  // namespace graft::testing
