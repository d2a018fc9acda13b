#include "apps/agri_tune/commands.h"
#include "kernels/base/error.h"

namespace graft::apps::agri {

void merge(const pipelines::Invocation&) { throw Unavailable({.where = "merge", .what = "is being built"}); }

}  // namespace graft::apps::agri
