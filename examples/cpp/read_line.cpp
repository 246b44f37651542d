// Reads images with a model that `mlx_vedec export` wrote, without Python.
//
//   read_line FOLDER PIXELS... [--compile] [--max-tokens N] [--seconds]
//
// FOLDER is what `mlx_vedec export --path FOLDER` wrote; each of PIXELS is a file of pixels
// (1, H, W, C) in float32, as `mlx_vedec export --sample IMAGE` writes it. For each it prints a line
// of token ids and a line of text. Decoding is greedy. Rules of the checkpoint that it does not
// follow (beams, n-grams that may not come twice) are said on standard error.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <functional>
#include <iostream>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "mlx/mlx.h"
#include "mlx/export.h"

namespace mx = mlx::core;
using Arrays = std::vector<mx::array>;
using Weights = std::unordered_map<std::string, mx::array>;
using Ids = std::vector<int>;

// One exported function, with the weights that it takes as its last inputs.
struct Function {
  std::function<Arrays(const Arrays&)> call;

  Function(const std::string& path, const Weights& all, const std::string& names, bool compiled) {
    mx::ImportedFunction imported = mx::import_function(path);
    Weights own;
    std::istringstream list(names);
    for (std::string name; list >> name;) own.insert({name, all.at(name)});
    call = [imported, own](const Arrays& inputs) { return imported(inputs, own); };
    if (compiled) call = mx::compile(call);
  }
};

// What FOLDER/model.safetensors says beside the weights: names with values, as text.
class Settings {
  std::unordered_map<std::string, std::string> values;

 public:
  explicit Settings(std::unordered_map<std::string, std::string> given) : values(std::move(given)) {}

  std::string text(const std::string& name) const {
    auto found = values.find(name);
    if (found == values.end()) throw std::runtime_error("model.safetensors does not say " + name);
    return found->second;
  }

  Ids ids(const std::string& name) const {
    std::istringstream list(text(name));
    Ids found;
    for (int id; list >> id;) found.push_back(id);
    return found;
  }

  int number(const std::string& name) const { return ids(name).at(0); }
};

class Reader {
  std::pair<Weights, std::unordered_map<std::string, std::string>> file;
  Function encoder, prefill, step;
  std::vector<std::string> bytes_of;
  bool drops_first_space;

 public:
  Settings settings;

  Reader(const std::string& folder, bool compiled)
      : file(mx::load_safetensors(folder + "/model.safetensors")),
        encoder(load(folder, "encoder", compiled)),
        prefill(load(folder, "prefill", compiled)),
        step(load(folder, "step", compiled)),
        settings(file.second) {
    auto table = mx::load_safetensors(folder + "/tokens.safetensors");
    mx::array bytes = table.first.at("bytes"), starts = table.first.at("starts");
    mx::eval(bytes, starts);
    const auto* text = reinterpret_cast<const char*>(bytes.data<uint8_t>());
    const auto* at = starts.data<int32_t>();
    for (size_t id = 0; id + 1 < starts.size(); ++id)
      bytes_of.emplace_back(text + at[id], text + at[id + 1]);
    if (settings.number("batch_size") != 1)
      throw std::runtime_error("the functions take " + settings.text("batch_size") +
                               " images at once, and this reader one; export with --batch-size 1");
    drops_first_space = settings.number("drops_first_space") == 1;
  }

  // The ids that follow the prompt, the end token among them.
  Ids read(const mx::array& pixels, int most) const {
    check(pixels);
    const Ids prompt = settings.ids("prompt"), ends = settings.ids("eos_token_id");
    const int capacity = settings.number("capacity"), length = prompt.size();
    Arrays memory = encoder.call({pixels});
    Arrays inputs = {mx::array(prompt.data(), {1, length}, mx::int32)};
    inputs.insert(inputs.end(), memory.begin(), memory.end());
    Arrays outputs = prefill.call(inputs);
    Ids found;
    while (true) {
      found.push_back(choose(outputs[0], found.size(), most));
      if (std::find(ends.begin(), ends.end(), found.back()) != ends.end()) break;
      if (static_cast<int>(found.size()) == most) break;
      const int position = length + found.size() - 1;
      if (position >= capacity)
        throw std::runtime_error(
            "position " + std::to_string(position) + " is past the caches, of " +
            std::to_string(capacity) + " tokens; export with a larger --max-tokens");
      inputs = {mx::array({found.back()}, mx::int32), mx::array({position}, mx::int32)};
      inputs.insert(inputs.end(), outputs.begin() + 1, outputs.end());
      inputs.insert(inputs.end(), memory.begin(), memory.end());
      outputs = step.call(inputs);
    }
    return found;
  }

  std::string text(const Ids& ids) const {
    std::string joined;
    for (int id : ids)
      if (id < static_cast<int>(bytes_of.size())) joined += bytes_of[id];
    return drops_first_space && joined.rfind(' ', 0) == 0 ? joined.substr(1) : joined;
  }

 private:
  Function load(const std::string& folder, const std::string& name, bool compiled) const {
    const std::string path = folder + "/" + name + ".mlxfn";
    return Function(path, file.first, Settings(file.second).text(name + ".weights"), compiled);
  }

  void check(const mx::array& pixels) const {
    const Ids shape(pixels.shape().begin(), pixels.shape().end());
    if (shape != settings.ids("pixels") || pixels.dtype() != mx::float32)
      throw std::runtime_error("the pixels are not of the shape " + settings.text("pixels") +
                               " in float32; write them with mlx_vedec export --sample IMAGE");
  }

  // The likeliest id that the checkpoint's rules allow as number `count` after the prompt.
  int choose(const mx::array& logits, int count, int most) const {
    const Ids first = settings.ids("forced_bos_token_id"), last = settings.ids("forced_eos_token_id");
    if (count == 0 && !first.empty()) return first[0];
    if (count == most - 1 && !last.empty()) return last[0];
    mx::array floats = mx::astype(logits, mx::float32);
    floats.eval();
    std::vector<float> scores(floats.data<float>(), floats.data<float>() + floats.size());
    if (std::isnan(scores[0])) throw std::runtime_error("the logits are no numbers");
    auto forbid = [&scores](const Ids& ids) {
      for (int id : ids) scores.at(id) = -std::numeric_limits<float>::infinity();
    };
    forbid(settings.ids("suppress_tokens"));
    if (count == static_cast<int>(first.size())) forbid(settings.ids("begin_suppress_tokens"));
    if (count < settings.number("min_new_tokens")) forbid(settings.ids("eos_token_id"));
    return std::max_element(scores.begin(), scores.end()) - scores.begin();
  }
};

int whole(const std::string& text) {
  const bool digits = text.find_first_not_of("0123456789") == std::string::npos;
  if (text.empty() || text.size() > 9 || !digits || std::stoi(text) < 1)
    throw std::runtime_error("--max-tokens is '" + text + "'; expected a whole number, at least 1");
  return std::stoi(text);
}

int main(int argc, char** argv) try {
  std::vector<std::string> words;
  bool compiled = false, timed = false;
  int most = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--compile") compiled = true;
    else if (word == "--seconds") timed = true;
    else if (word == "--max-tokens") most = whole(i + 1 < argc ? argv[++i] : "");
    else if (word.rfind("--", 0) == 0)
      throw std::runtime_error(word + " is no flag; there are --compile, --max-tokens N, --seconds");
    else words.push_back(word);
  }
  if (words.size() < 2) throw std::runtime_error("expected: read_line FOLDER PIXELS...");
  const Reader reader(words[0], compiled);
  if (most < 1) most = reader.settings.number("max_new_tokens");
  if (auto rules = reader.settings.text("rules_not_followed"); !rules.empty())
    std::cerr << "not followed: " << rules << "\n";
  for (size_t i = 1; i < words.size(); ++i) {
    const mx::array pixels = mx::load(words[i]);
    const auto begin = std::chrono::steady_clock::now();
    const Ids ids = reader.read(pixels, most);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    for (size_t k = 0; k < ids.size(); ++k) std::cout << (k ? " " : "") << ids[k];
    std::cout << "\n" << reader.text(ids) << "\n";
    if (timed) std::cerr << seconds.count() << " s\n";
  }
  return 0;
} catch (const std::exception& error) {
  std::cerr << "read_line: " << error.what() << "\n";
  return 1;
}
