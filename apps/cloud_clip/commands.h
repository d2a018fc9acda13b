#pragma once

#include "pipelines/cli/invocation.h"

// One function a subcommand; each in the file of its name.
namespace graft::apps::cloud {

void pretrain(const pipelines::Invocation& call);
std::string pretrain_settings_help();
void prepare(const pipelines::Invocation& call);
void train(const pipelines::Invocation& call);
void adapt(const pipelines::Invocation& call);
void predict(const pipelines::Invocation& call);
void eval(const pipelines::Invocation& call);
void shapes(const pipelines::Invocation& call);
std::string shapes_settings_help();
void views(const pipelines::Invocation& call);
void export_model(const pipelines::Invocation& call);
void inspect(const pipelines::Invocation& call);

}  // namespace graft::apps::cloud
