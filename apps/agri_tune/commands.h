#pragma once

#include <string>
#include <vector>

#include "pipelines/cli/invocation.h"

// One function a subcommand; each in the file of its name.
namespace graft::apps::agri {

void train(const pipelines::Invocation& call);
void eval(const pipelines::Invocation& call);
void predict(const pipelines::Invocation& call);
void chat(const pipelines::Invocation& call);
void prepare(const pipelines::Invocation& call);
void merge(const pipelines::Invocation& call);
void export_model(const pipelines::Invocation& call);
void combine(const pipelines::Invocation& call);
/// What --combination may be.
std::vector<std::string> combination_choices();
void convert(const pipelines::Invocation& call);
void inspect(const pipelines::Invocation& call);

}  // namespace graft::apps::agri
