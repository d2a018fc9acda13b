#pragma once

// Internal: rows that ask a question, with or without options. Not for other folders.

#include "data_loaders/text/record.h"
#include "data_loaders/text/row_fields.h"

namespace graft::data {

/// Fills question, context, choices, gold, answers and the two turns. Throws RowProblem.
void parse_question(RowFields& fields, bool choices_required, Record& record);

/// The same fields without turns.
void take_question(RowFields& fields, bool choices_required, Record& record);

}  // namespace graft::data
