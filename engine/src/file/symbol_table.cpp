#include "file/symbol_table.h"

#include <cmath>
#include <set>
#include <string_view>

namespace peephole {

namespace {

const std::vector<std::string> kSpecials = {"<pad>", "<s>", "</s>", "<unk>"};

[[noreturn]] void fail_table(const std::string &what) { throw FileError("symbol table: " + what); }

void append_list(std::vector<std::string> &names, const Json *symbols) {
  if (symbols == nullptr || symbols->array() == nullptr)
    fail_table("wanted a list of symbols, got " + (symbols ? symbols->describe() : "none"));
  std::set<std::string_view> seen;
  for (const Json &symbol : *symbols->array()) {
    if (symbol.text() == nullptr) fail_table("wanted a list of symbols, got one with " + symbol.describe());
    if (!seen.insert(*symbol.text()).second) fail_table("wanted each symbol once, got " + quoted(*symbol.text()) + " twice");
    names.push_back(*symbol.text());
  }
}

// The pieces of a segmenter by their ids: byte pairs are {piece: id}, a unigram model is [[piece, score], …].
std::vector<std::string> read_pieces(const Json &vocabulary) {
  if (const Json::Object *members = vocabulary.object()) {
    std::vector<std::string> pieces(members->size());
    std::vector<bool> taken(members->size());
    for (const auto &[piece, id] : *members) {
      const double *number = id.number();
      if (number == nullptr || !(*number >= 0 && *number < double(pieces.size())) || std::floor(*number) != *number ||
          taken[size_t(*number)])
        fail_table("wanted the pieces numbered from 0 to " + std::to_string(pieces.size() - 1) + ", got " +
                    quoted(piece) + " with " + id.describe());
      pieces[size_t(*number)] = piece;
      taken[size_t(*number)] = true;
    }
    return pieces;
  }
  if (vocabulary.array() == nullptr) fail_table("wanted the segmenter's pieces, got " + vocabulary.describe());
  std::vector<std::string> pieces;
  std::set<std::string_view> seen;
  for (const Json &entry : *vocabulary.array()) {
    const Json::Array *pair = entry.array();
    if (pair == nullptr || pair->size() != 2 || (*pair)[0].text() == nullptr || (*pair)[1].number() == nullptr)
      fail_table("wanted pieces with scores, got " + entry.describe());
    if (!seen.insert(*(*pair)[0].text()).second)
      fail_table("wanted each piece once, got " + quoted(*(*pair)[0].text()) + " twice");
    pieces.push_back(*(*pair)[0].text());
  }
  return pieces;
}

// The segmenter is a JSON text of the `tokenizers` library. Its piece 0, the unknown, is <unk>; piece k has id k + 3.
void append_pieces(std::vector<std::string> &names, const std::string &kind, const Json *segmenter) {
  if (segmenter == nullptr || segmenter->text() == nullptr)
    fail_table("cannot read the " + kind + " segmenter: wanted a text, got " +
                (segmenter ? segmenter->describe() : "none"));
  Json tree;
  try {
    tree = read_json(*segmenter->text());
  } catch (const FileError &error) {
    fail_table("cannot read the " + kind + " segmenter: " + error.what());
  }
  const Json *model = tree.find("model");
  const Json *vocabulary = model ? model->find("vocab") : nullptr;
  if (vocabulary == nullptr) fail_table("cannot read the " + kind + " segmenter: it has no model.vocab");
  const std::vector<std::string> pieces = read_pieces(*vocabulary);
  if (!pieces.empty()) names.insert(names.end(), pieces.begin() + 1, pieces.end());
}

}  // namespace

SymbolTable read_symbols(const Json &tree) {
  auto text = [&](const char *name) {
    const Json *value = tree.find(name);
    return value == nullptr || value->text() == nullptr ? std::string() : *value->text();
  };
  SymbolTable table{text("kind"), text("normalize"), kSpecials};
  const bool subwords = table.kind == "bpe" || table.kind == "unigram";
  const bool plain = table.kind == "characters" || table.kind == "whitespace";
  const bool frames = table.kind == "sound" || table.kind == "image" || table.kind == "numbers";
  if (!(subwords || plain || frames) || (table.normalize != "NFC" && table.normalize != "NFKC" && table.normalize != "none"))
    fail_table("unknown kind " + quoted(table.kind) + " or normalisation " + quoted(table.normalize));
  if (subwords)
    append_pieces(table.names, table.kind, tree.find("segmenter"));
  else if (plain)
    append_list(table.names, tree.find("symbols"));
  return table;
}

}  // namespace peephole
