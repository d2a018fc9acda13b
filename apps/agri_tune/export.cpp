#include "apps/agri_tune/commands.h"
#include "kernels/base/error.h"

namespace graft::apps::agri {

void export_model(const pipelines::Invocation&) { throw Unavailable({.where = "export", .what = "is being built"}); }

}  // namespace graft::apps::agri
