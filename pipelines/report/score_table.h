#pragma once

#include <string>
#include <vector>

#include "pipelines/report/report.h"

namespace graft::pipelines {

/// "<from> → <to>" as HTML; a dash for what was not measured.
std::string score_value_html(const Score& score);
/// "29.0 points better", "−0.89 (−39%), better", or "" if one side is missing.
std::string score_change_text(const Score& score);
/// The whole table; empty for no scores.
std::string score_table(const std::vector<Score>& scores);

}  // namespace graft::pipelines
