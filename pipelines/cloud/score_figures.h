#pragma once

#include <string>

#include "pipelines/cloud/cloud_scores.h"

namespace graft::pipelines {

// Figures as SVG, to stand in a page or in a file of their own.

/// Rows: the right class, columns: the label given; each row shaded by its shares, with the counts written in.
std::string confusion_svg(const LabelTally& tally);
/// A bar a class: the share that got the right label, with its 95 % interval.
std::string per_class_svg(const LabelTally& tally);
/// How often a label is right against how sure the program was; the diagonal is the honest program. Dots grow with the clouds in their bin.
std::string reliability_svg(const LabelTally& tally);

}  // namespace graft::pipelines
