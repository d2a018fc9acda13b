#pragma once

#include <string>
#include <vector>

#include "tests/architecture/source_tree.h"

namespace graft::testing {

/// The methods that the text of peft_core/methods/builtin_methods.cpp lists: the X of each `X_method()` call.
std::vector<std::string> listed_methods(const std::string& builtin_methods);

/// For each method that `listing` registers, what is missing among `files`: its card, and a case TEST(LoraPlus, …) for a method lora_plus in
/// a file of tests/peft_core/methods. Relatives may share a file.
std::vector<std::string> incomplete_methods(const SourceFile& listing, const std::vector<SourceFile>& files);

/// C++ sources that no CMakeLists.txt of their own or an upper folder names. `files` holds both kinds.
std::vector<std::string> unbuilt_sources(const std::vector<SourceFile>& files);

/// Paths of which one word says nothing (util, helper, misc, ...); words are split at '/', '_', '-' and '.'.
std::vector<std::string> empty_words(const std::vector<std::string>& paths);

/// Lines that name a place of one machine, or the host of a package registry.
std::vector<std::string> machine_names(const std::vector<SourceFile>& files);

}  // namespace graft::testing
