#pragma once
// Precompiled for every target that links LibTorch. torch/torch.h is never needed, and what few sources need (custom_function.h) they
// include themselves: a file that uses nothing of it would still pay 3 s for its templates.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>
