// A small strict JSON reader for model files.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace peephole {

// An error in a file, in one line.
class FileError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct JsonMember;

// A value. Members of an object are sorted by name.
struct Json {
  using Array = std::vector<Json>;
  using Object = std::vector<JsonMember>;

  std::variant<std::monostate, bool, double, std::string, Array, Object> value;

  // The value as one of its kinds; NULL if it is of another kind.
  const bool *boolean() const { return std::get_if<bool>(&value); }
  const double *number() const { return std::get_if<double>(&value); }
  const std::string *text() const { return std::get_if<std::string>(&value); }
  const Array *array() const { return std::get_if<Array>(&value); }
  const Object *object() const { return std::get_if<Object>(&value); }
  bool is_null() const { return value.index() == 0; }

  // The member of that name; NULL if there is none, or if this is no object.
  const Json *find(std::string_view name) const;

  // The value in a few words, for errors.
  std::string describe() const;
};

struct JsonMember {
  std::string name;
  Json value;
};

// Reads one JSON value with nothing but whitespace around it: RFC 8259, with at most 64 levels, no name twice in an
// object, and only whole, valid Unicode. Numbers of more than 15 digits are right to about 1e-15 of their value.
// Throws FileError; its message has the byte position and the expected text.
Json read_json(std::string_view text);

// Quotes a text for a one-line error: control characters are escaped, and a long text is cut.
std::string quoted(std::string_view text);

}  // namespace peephole
