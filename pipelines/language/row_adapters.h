#pragma once

#include "data_loaders/text/records.h"
#include "peft_core/operations/adapter_mixture.h"

namespace graft::pipelines {

/// Which adapters of a mixture a row of data asks for in its field `adapter`: a name; a list of names, each with weight 1; an object of names and
/// weights; null or "" for the base alone. Without the field: as the mixture has them.
/// Throws InvalidArgument that names the row: an adapter that is not there, or a field of another kind.
peft::AdapterWeights adapters_of_row(const peft::AdapterMixture& mixture, const data::Record& record);

/// True if a row says which adapter it wants.
bool names_adapter(const data::Record& record);

}  // namespace graft::pipelines
