#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "peft_core/base/config.h"

namespace graft::pipelines {

/// A class as a user describes it. The name is its label; synonyms and attributes only help the text tower.
struct CloudClass {
  std::string name;
  std::vector<std::string> synonyms;    ///< further names of the same thing
  std::vector<std::string> attributes;  ///< what one of them has: "four wheels"

  bool operator==(const CloudClass&) const = default;
};

/// "car,tree,pole" -> three classes without synonyms. Throws InvalidArgument for none, an empty name and one that comes twice.
std::vector<CloudClass> classes_in_list(const std::string& list);

/// A file of classes, one a line:
///     car
///     tree, bush, shrub
///     pole, lamp post: a thin long shaft, a round foot
/// The first name is the label, further ones behind commas are synonyms; behind a colon come attributes, separated by commas. Empty lines and
/// those that begin with # are passed over.
/// Throws   IoError if the file cannot be read or holds no class; InvalidArgument with file and line for a line that is wrong.
std::vector<CloudClass> classes_in_file(const std::filesystem::path& file);

/// The words around a class's name.
struct PromptConfig {
  std::string text = "point cloud depth map of a {}.";
  std::string attribute = "depth map of a {} 3D model which has {}.";

  template <class V>
  void visit(V& v) {
    v("text", text, "what CLIP reads for a class; {} stands for its name, and for each synonym");
    v("attribute", attribute, "what it reads for each attribute of a class; the second {} stands for the attribute");
  }
};

/// Throws InvalidArgument that names the key, unless `text` has one {} and `attribute` has two.
void check(const PromptConfig& config, const std::string& section);

/// All texts of a class: one for each of its names; and for each attribute one. Their features are averaged (PointCLIP V2).
std::vector<std::string> prompts_of(const CloudClass& which, const PromptConfig& config);

}  // namespace graft::pipelines
