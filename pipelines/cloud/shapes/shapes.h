#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data_loaders/cloud/point_cloud.h"

namespace graft::pipelines {

/// One kind of object that the program can make, and the words for it: its own first, then others, then those of the kinds above it.
struct ShapeFamily {
  std::string name;
  std::vector<std::string> words;
};

/// What is around in streets, rooms and buildings, and plain solids. The order is part of what a seed means.
const std::vector<ShapeFamily>& shape_families();

/// True if `word` names objects of this family: "building" names houses and towers alike.
bool names_family(const std::string& word, int64_t family);

struct ShapeOptions {
  int64_t points = 2048;
  /// Seen by a sensor and not drawn from the whole surface: few points (100 or more of `points`; fewer for things that cover less ground),
  /// noise, strays, and what lies under something else, or behind it, left out but for a share.
  bool scan = false;
};

/// An object of random proportions turned by a random angle about the vertical, z up, centred, its longest side 1. Never empty, always
/// finite. A pure function of its arguments. Throws InvalidArgument for a family that is not there and for fewer than 100 points.
data::PointCloud make_shape(int64_t family, uint64_t seed, const ShapeOptions& options = {});

/// The cloud as a sensor might have seen it: what ShapeOptions::scan does, for a cloud from anywhere. Never empty unless `cloud` is.
data::PointCloud as_scanned(data::PointCloud cloud, uint64_t seed);

/// A sentence about an object, and the word for it that it uses.
struct Caption {
  std::string text, word;
};
Caption caption_of(int64_t family, uint64_t seed);

/// All words of all captions, sorted: what a small tokenizer should know.
std::vector<std::string> caption_words();

}  // namespace graft::pipelines
