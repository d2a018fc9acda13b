#pragma once

// Internal: what of a record counts when two are compared. Not for other folders.

#include <string>

#include "data_loaders/text/record.h"

namespace graft::data {

/// The question with its options in alphabetical order, as comparison_form; for documents the text.
std::string question_form(const Record& record);

/// question_form and the answers; for dialogues all turns but the system's.
std::string whole_form(const Record& record);

/// Everything that a model would read or learn.
std::string full_text(const Record& record);

}  // namespace graft::data
