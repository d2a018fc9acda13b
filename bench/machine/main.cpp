// `./graft bench`: what this machine can do, and how near kernels and a training step come to it, beside LibTorch. See bench/README.md.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <charconv>
#include <vector>

#include "bench/machine/bench.h"
#include "kernels/base/cpu_features.h"
#include "kernels/kernel_list.h"
#include "kernels/base/error.h"
#include "peft_core/base/json_files.h"
#include "peft_core/memory/block_cache.h"
#include "pipelines/cli/prepare_process.h"

namespace {

using namespace graft;
using namespace graft::bench;

struct Part {
  std::string name;
  void (*measure)(Bench&);
  bool on_request_only = false;
};

const std::vector<Part> kParts = {{"products", measure_products}, {"nf4", measure_quantised_products}, {"attention", measure_attention},
                                  {"head", measure_head},         {"rows", measure_row_operators},     {"adamw", measure_optimizer},
                                  {"step", measure_step},         {"scaling", measure_scaling, true}};

std::string part_names() {
  std::string text;
  for (const auto& part : kParts) text += (text.empty() ? "" : ", ") + part.name;
  return text;
}

struct Options {
  bool quick = false, help = false;
  std::string json_file, only;
  int threads = 0;
};

int thread_count(const std::string& text) {
  int count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error == std::errc() && end == text.data() + text.size() && count > 0) return count;
  throw InvalidArgument({.where = "--threads", .what = "is no number of threads", .got = text});
}

Options parse(const std::vector<std::string>& words) {
  Options options;
  for (size_t i = 0; i < words.size(); ++i) {
    const auto& word = words[i];
    const auto value = [&] {
      if (i + 1 >= words.size()) throw InvalidArgument({.where = word, .what = "needs a value"});
      return words[++i];
    };
    if (word == "--quick") {
      options.quick = true;
    } else if (word == "--help" || word == "-h") {
      options.help = true;
    } else if (word == "--json") {
      options.json_file = value();
    } else if (word == "--only") {
      options.only = value();
    } else if (word == "--threads") {
      options.threads = thread_count(value());
    } else {
      throw InvalidArgument({.where = "bench", .what = "unknown option " + word, .hint = "--help lists them"});
    }
  }
  const bool known = options.only.empty() || std::any_of(kParts.begin(), kParts.end(), [&](const Part& part) { return part.name == options.only; });
  if (!known) throw InvalidArgument({.where = "--only", .what = "names no part", .expected = part_names(), .got = options.only});
  return options;
}

void print_help() {
  fmt::print("measures this machine's ceilings, and kernels and a training step beside LibTorch\n\n"
             "  --quick         few runs of each, about a minute; for a first look, not for quoting\n"
             "  --json FILE     all figures as JSON too\n"
             "  --only PART     one of {}; scaling runs only when asked for\n"
             "  --threads N     of both sides; without it as many as LibTorch takes\n\n"
             "ratio is LibTorch's time over ours, median (smallest-largest) of neighbouring runs; ceiling is the share of the machine's\n"
             "limit that our median reaches. exit codes: 0 done, 2 wrong use, 3 files or environment, 4 the two sides' results differ\n",
             part_names());
}

void measure(const Options& options) {
  if (options.threads > 0) at::set_num_threads(options.threads);
  omp_set_num_threads(at::get_num_threads());
  at::manual_seed(7);
  Report report;
  report.print_machine(at::get_num_threads(), options.quick);
  const auto ceilings = measure_ceilings();
  report.print_ceilings(ceilings);
  peft::use_block_cache();  // for both sides, as in our programs: without it the clearing of pages hides the arithmetic
  Bench bench{report, ceilings, options.quick ? Budget{0.25, 3} : Budget{1.2, 5}, options.quick,
              kernels::bfloat16_pays() ? at::kBFloat16 : at::kFloat, kernels::has_fast_bfloat16() ? at::kBFloat16 : at::kFloat};
  for (const auto& part : kParts) {
    if (options.only.empty() ? !part.on_request_only : options.only == part.name) part.measure(bench);
  }
  report.print_targets();
  if (!options.json_file.empty()) write_json_file(options.json_file, report.json());
}

}  // namespace

int main(int argc, char** argv) {
  pipelines::prepare_process(argv);
  try {
    const auto options = parse({argv + 1, argv + argc});
    options.help ? print_help() : measure(options);
  } catch (const Error& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    const std::string text = error.what();
    fmt::print(stderr, "error: a bug in this program: {}\n", text.substr(0, text.find('\n')));
    return 1;
  }
}
