#include "file/json.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <utility>

namespace peephole {

namespace {

constexpr int kMostLevels = 64;
constexpr size_t kLongestQuote = 60;  // bytes

// Characters of a string that need no escape: ASCII except quotes, backslashes and control characters.
bool is_plain(char c) { return c >= 0x20 && c < 0x7F && c != '"' && c != '\\'; }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The size of the valid UTF-8 sequence at the beginning of a text, or 0 (Unicode 15, table 3-7).
size_t utf8_length(std::string_view text) {
  auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  auto follows = [&](size_t i, unsigned low = 0x80, unsigned high = 0xBF) { return byte(i) >= low && byte(i) <= high; };
  unsigned first = byte(0);
  if (first < 0x80) return text.empty() ? 0 : 1;
  if (first >= 0xC2 && first <= 0xDF) return follows(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF)
    return follows(1, first == 0xE0 ? 0xA0 : 0x80, first == 0xED ? 0x9F : 0xBF) && follows(2) ? 3 : 0;
  if (first >= 0xF0 && first <= 0xF4)
    return follows(1, first == 0xF0 ? 0x90 : 0x80, first == 0xF4 ? 0x8F : 0xBF) && follows(2) && follows(3) ? 4 : 0;
  return 0;
}

void append_utf8(std::string &text, uint32_t code) {
  auto follow = [&](int shift) { text += char(0x80 | (code >> shift & 0x3F)); };
  if (code < 0x80) {
    text += char(code);
  } else if (code < 0x800) {
    text += char(0xC0 | code >> 6);
    follow(0);
  } else if (code < 0x10000) {
    text += char(0xE0 | code >> 12);
    follow(6), follow(0);
  } else {
    text += char(0xF0 | code >> 18);
    follow(12), follow(6), follow(0);
  }
}

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  Json read_all() {
    Json value = read_value(1);
    skip_space();
    if (position_ != text_.size()) fail("wanted nothing after the value");
    return value;
  }

 private:
  [[noreturn]] void fail(const char *what) const {
    std::string got = position_ < text_.size() ? quoted(text_.substr(position_, 1)) : "the end";
    throw FileError("JSON, byte " + std::to_string(position_) + ": " + what + ", got " + got);
  }

  bool next_is(char c) const { return position_ < text_.size() && text_[position_] == c; }

  bool take(char c) {
    if (!next_is(c)) return false;
    ++position_;
    return true;
  }

  void skip_space() {
    while (next_is(' ') || next_is('\t') || next_is('\n') || next_is('\r')) ++position_;
  }

  // Level 1 is the outermost value.
  Json read_value(int level) {
    if (level > kMostLevels) fail("wanted at most 64 levels of arrays and objects");
    skip_space();
    if (next_is('"')) return {read_string()};
    if (take('[')) return {read_array(level)};
    if (take('{')) return {read_object(level)};
    if (take_word("true")) return {true};
    if (take_word("false")) return {false};
    if (take_word("null")) return {};
    return {read_number()};
  }

  bool take_word(std::string_view word) {
    if (text_.substr(position_, word.size()) != word) return false;
    position_ += word.size();
    return true;
  }

  Json::Array read_array(int level) {
    Json::Array items;
    skip_space();
    if (take(']')) return items;
    items.reserve(2);
    do {
      items.push_back(read_value(level + 1));
      skip_space();
    } while (take(','));
    if (!take(']')) fail("wanted , or ]");
    return items;
  }

  Json::Object read_object(int level) {
    Json::Object members;
    skip_space();
    if (take('}')) return members;
    members.reserve(3);
    do {
      skip_space();
      std::string name = read_string();
      skip_space();
      if (!take(':')) fail("wanted :");
      members.push_back({std::move(name), read_value(level + 1)});
      skip_space();
    } while (take(','));
    if (!take('}')) fail("wanted , or }");
    std::sort(members.begin(), members.end(), [](const auto &a, const auto &b) { return a.name < b.name; });
    auto twice = std::adjacent_find(members.begin(), members.end(), [](const auto &a, const auto &b) { return a.name == b.name; });
    if (twice != members.end()) throw FileError("JSON: wanted each name once in an object, got " + quoted(twice->name) + " twice");
    return members;
  }

  std::string read_string() {
    if (!take('"')) fail("wanted a string");
    std::string found;
    for (;;) {
      const size_t begin = position_;
      while (position_ < text_.size() && is_plain(text_[position_])) ++position_;
      found.append(text_, begin, position_ - begin);
      if (take('"')) return found;
      if (take('\\')) {
        read_escape(found);
        continue;
      }
      size_t length = utf8_length(text_.substr(position_, 4));
      if (length == 0) fail("wanted UTF-8 up to a closing quote");
      if (static_cast<unsigned char>(text_[position_]) < 0x20) fail("wanted no control character in a string");
      found.append(text_, position_, length);
      position_ += length;
    }
  }

  void read_escape(std::string &found) {
    static constexpr std::string_view escapes = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    if (take('u')) return append_utf8(found, read_code());
    size_t which = position_ < text_.size() ? escapes.find(text_[position_]) : std::string_view::npos;
    if (which == std::string_view::npos) fail("wanted an escape");
    found += meanings[which];
    ++position_;
  }

  // A code point outside the basic plane is written as two \u, a pair of surrogates.
  uint32_t read_code() {
    uint32_t code = read_hex();
    if (code < 0xD800 || code > 0xDFFF) return code;
    if (code > 0xDBFF || !take('\\') || !take('u')) fail("wanted a pair of surrogates");
    uint32_t low = read_hex();
    if (low < 0xDC00 || low > 0xDFFF) fail("wanted a pair of surrogates");
    return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  }

  uint32_t read_hex() {
    uint32_t code = 0;
    for (int digit = 0; digit < 4; ++digit, ++position_) {
      char c = position_ < text_.size() ? text_[position_] : ' ';
      if (is_digit(c))
        code = code << 4 | uint32_t(c - '0');
      else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
        code = code << 4 | uint32_t((c | 0x20) - 'a' + 10);
      else
        fail("wanted four hexadecimal digits");
    }
    return code;
  }

  // Not strtod, which reads 1.5 as 1 where the locale writes 1,5.
  double read_number() {
    bool negative = take('-');
    if (position_ >= text_.size() || !is_digit(text_[position_])) fail("wanted a value");
    digits_ = 0, exponent_ = 0;
    if (!take('0')) read_digits(0);
    if (take('.')) read_digits(-1);
    if (take('e') || take('E')) exponent_ += read_exponent();
    double number = double(digits_);
    if (digits_ != 0) number = exponent_ < 0 ? number / std::pow(10.0, -exponent_) : number * std::pow(10.0, exponent_);
    if (!std::isfinite(number)) fail("wanted a number below 1e308");
    return negative ? -number : number;
  }

  // Takes at least one digit, each worth a tenth of the one before; `step` is -1 after the decimal point.
  void read_digits(int step) {
    if (position_ >= text_.size() || !is_digit(text_[position_])) fail("wanted a digit");
    for (; position_ < text_.size() && is_digit(text_[position_]); ++position_) {
      bool fits = digits_ < UINT64_MAX / 10 - 1;
      if (fits) digits_ = digits_ * 10 + uint64_t(text_[position_] - '0');
      exponent_ += fits ? step : step + 1;
    }
  }

  double read_exponent() {
    bool negative = take('-');
    if (!negative) take('+');
    if (position_ >= text_.size() || !is_digit(text_[position_])) fail("wanted a digit");
    double exponent = 0;
    for (; position_ < text_.size() && is_digit(text_[position_]); ++position_)
      exponent = std::min(exponent * 10 + (text_[position_] - '0'), 1e9);
    return negative ? -exponent : exponent;
  }

  std::string_view text_;
  size_t position_ = 0;
  uint64_t digits_ = 0;  // of the number being read, which is digits_ · 10^exponent_
  double exponent_ = 0;
};

}  // namespace

const Json *Json::find(std::string_view name) const {
  const Object *members = object();
  if (members == nullptr) return nullptr;
  auto found = std::lower_bound(members->begin(), members->end(), name,
                                [](const JsonMember &member, std::string_view wanted) { return member.name < wanted; });
  return found != members->end() && found->name == name ? &found->value : nullptr;
}

std::string Json::describe() const {
  if (is_null()) return "null";
  if (boolean()) return *boolean() ? "true" : "false";
  if (text()) return quoted(*text());
  if (array()) return "a list";
  if (object()) return "an object";
  if (std::floor(*number()) == *number() && std::fabs(*number()) < 1e18) return std::to_string(int64_t(*number()));
  return std::to_string(*number());
}

Json read_json(std::string_view text) { return Reader(text).read_all(); }

std::string quoted(std::string_view text) {
  std::string found = "'";
  for (size_t position = 0; position < text.size();) {
    if (position >= kLongestQuote) return found + "…'";
    size_t length = utf8_length(text.substr(position, 4));
    unsigned char first = static_cast<unsigned char>(text[position]);
    if (length == 0 || first < 0x20 || first == 0x7F) {
      char escape[5];
      std::snprintf(escape, sizeof escape, "\\x%02x", first);
      found += escape;
      length = 1;
    } else {
      found += text.substr(position, length);
    }
    position += length;
  }
  return found + "'";
}

}  // namespace peephole
