// Answers calls on descriptor 3 (see wire.py); stands before the program, its table comes after it.
#include <bits/stdc++.h>
#include <cxxabi.h>
#include <unistd.h>

namespace tamis {

// kind: n null, b bool, i integer, f float, s string, l list, o object (with keys)
struct Json {
  char kind = 'n';
  long long integer = 0;
  double real = 0;
  std::string text;
  std::vector<Json> items;
  std::vector<std::string> keys;
};

struct Reader {
  const std::string& body;
  size_t at = 0;

  char next() {
    while (at < body.size() && std::isspace((unsigned char)body[at])) at++;
    return at < body.size() ? body[at] : 0;
  }

  Json value() {
    char c = next();
    if (c == '[' || c == '{') return many(c == '{');
    if (c == '"') return string();
    if (c == 't' || c == 'f') return word('b', c == 't' ? 4 : 5, c == 't');
    if (c == 'n') return word('n', 4, 0);
    return number();
  }

  Json word(char kind, int length, long long truth) {
    at += length;
    Json json;
    json.kind = kind;
    json.integer = truth;
    return json;
  }

  Json number() {
    size_t end = body.find_first_not_of("+-.0123456789eE", at);
    std::string digits = body.substr(at, end - at);
    at = end;
    Json json;
    json.kind = digits.find_first_of(".eE") == std::string::npos ? 'i' : 'f';
    json.real = std::stod(digits);
    if (json.kind == 'i') json.integer = std::stoll(digits);
    return json;
  }

  Json many(bool object) {
    Json json;
    json.kind = object ? 'o' : 'l';
    at++;
    while (next() != ']' && next() != '}') {
      if (object) {
        json.keys.push_back(string().text);
        next();
        at++;
      }
      json.items.push_back(value());
      if (next() == ',') at++;
    }
    at++;
    return json;
  }

  unsigned hex() {
    unsigned code = std::stoul(body.substr(at, 4), nullptr, 16);
    at += 4;
    return code;
  }

  Json string() {
    Json json;
    json.kind = 's';
    next();
    for (at++; body[at] != '"';) {
      char c = body[at++];
      if (c != '\\') {
        json.text += c;
        continue;
      }
      c = body[at++];
      if (c == 'u') append(json.text, hex());
      else json.text += c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c == 'b' ? '\b' : c == 'f' ? '\f' : c;
    }
    at++;
    return json;
  }

  void append(std::string& text, unsigned code) {
    if (code >= 0xD800 && code < 0xDC00 && body[at] == '\\' && body[at + 1] == 'u') {
      at += 2;
      code = 0x10000 + ((code - 0xD800) << 10) + (hex() - 0xDC00);
    }
    if (code < 0x80) text += char(code);
    else if (code < 0x800) (text += char(0xC0 | code >> 6)) += char(0x80 | (code & 63));
    else {
      if (code < 0x10000) text += char(0xE0 | code >> 12);
      else (text += char(0xF0 | code >> 18)) += char(0x80 | (code >> 12 & 63));
      (text += char(0x80 | (code >> 6 & 63))) += char(0x80 | (code & 63));
    }
  }
};

struct Mismatch : std::invalid_argument {
  Mismatch() : std::invalid_argument("an argument does not fit the type of its parameter") {}
};

// The content of a list, tuple, set or frozenset.
inline const std::vector<Json>& items_of(const Json& json) {
  if (json.kind == 'l') return json.items;
  if (json.kind == 'o' && json.keys.size() == 1) return json.items[0].items;
  throw Mismatch();
}

template <class T> struct is_optional : std::false_type {};
template <class T> struct is_optional<std::optional<T>> : std::true_type {};
template <class T, class = void> struct is_tuple : std::false_type {};
template <class T> struct is_tuple<T, std::void_t<decltype(std::tuple_size<T>::value)>> : std::true_type {};
template <class T, class = void> struct is_range : std::false_type {};
template <class T> struct is_range<T, std::void_t<typename T::value_type, decltype(std::declval<T>().begin())>> : std::true_type {};
template <class T, class = void> struct is_set : std::false_type {};
template <class T> struct is_set<T, std::void_t<typename T::key_type>> : std::true_type {};
template <class T, class = void> struct is_map : std::false_type {};
template <class T> struct is_map<T, std::void_t<typename T::mapped_type>> : std::true_type {};
template <class> constexpr bool never = false;

template <class T> T from(const Json& json);

template <class T, size_t... I> T each_from(const std::vector<Json>& items, std::index_sequence<I...>) {
  if (items.size() != sizeof...(I)) throw Mismatch();
  return T{from<std::decay_t<std::tuple_element_t<I, T>>>(items[I])...};
}

template <class T> T number_from(const Json& json) {
  if (json.kind == 'o' && json.items.size() == 1) return T(std::stod(json.items[0].text));
  if (json.kind != 'i' && json.kind != 'f' && json.kind != 'b') throw Mismatch();
  if constexpr (std::is_floating_point_v<T>) return json.kind == 'f' ? T(json.real) : T(json.integer);
  if (json.kind == 'f' || (long long)T(json.integer) != json.integer) throw Mismatch();
  return T(json.integer);
}

template <class T> T from(const Json& json) {
  if constexpr (std::is_same_v<T, std::string>) {
    if (json.kind != 's') throw Mismatch();
    return json.text;
  } else if constexpr (std::is_same_v<T, char>) {
    if (json.kind != 's' || json.text.size() != 1) throw Mismatch();
    return json.text[0];
  } else if constexpr (std::is_arithmetic_v<T>) {
    return number_from<T>(json);
  } else if constexpr (is_optional<T>::value) {
    if (json.kind == 'n') return std::nullopt;
    return from<typename T::value_type>(json);
  } else if constexpr (is_tuple<T>::value) {
    return each_from<T>(items_of(json), std::make_index_sequence<std::tuple_size_v<T>>());
  } else if constexpr (is_map<T>::value) {
    T result;
    for (auto& pair : items_of(json))
      result.emplace(from<typename T::key_type>(pair.items.at(0)), from<typename T::mapped_type>(pair.items.at(1)));
    return result;
  } else if constexpr (is_range<T>::value) {
    T result;
    for (auto& item : items_of(json)) result.insert(result.end(), from<typename T::value_type>(item));
    return result;
  } else {
    static_assert(never<T>, "a parameter has a type that tests cannot give");
  }
}

template <class T> void write(std::string& out, const T& value);

template <class T> void write_all(std::string& out, const T& range) {
  out += '[';
  bool first = true;
  for (auto&& item : range) {
    if (!first) out += ", ";
    first = false;
    write<typename T::value_type>(out, item);
  }
  out += ']';
}

inline void write_text(std::string& out, const std::string& text) {
  char escape[8];
  out += '"';
  for (unsigned char c : text) {
    if (c >= 0x20 && c != '"' && c != '\\') out += c;
    else out.append(escape, std::snprintf(escape, sizeof escape, "\\u%04x", c));
  }
  out += '"';
}

template <class T> void write(std::string& out, const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    out += value ? "true" : "false";
  } else if constexpr (std::is_same_v<T, char>) {
    write_text(out, std::string(1, value));
  } else if constexpr (std::is_integral_v<T>) {
    out += std::to_string(value);
  } else if constexpr (std::is_floating_point_v<T>) {
    char digits[40];
    if (std::isfinite(value)) out.append(digits, std::snprintf(digits, sizeof digits, "%.17g", double(value)));
    else out += std::isnan(value) ? "{\"f\": \"nan\"}" : value > 0 ? "{\"f\": \"inf\"}" : "{\"f\": \"-inf\"}";
  } else if constexpr (std::is_convertible_v<T, std::string>) {
    write_text(out, value);
  } else if constexpr (is_optional<T>::value) {
    if (value) write(out, *value);
    else out += "null";
  } else if constexpr (is_tuple<T>::value) {
    out += '[';
    std::apply([&](auto&... part) { int n = 0; ((out += n++ ? ", " : "", write(out, part)), ...); }, value);
    out += ']';
  } else if constexpr (is_range<T>::value) {
    const char* tag = is_map<T>::value ? "{\"d\": " : is_set<T>::value ? "{\"s\": " : "";
    out += tag;
    write_all(out, value);
    if (*tag) out += '}';
  } else {
    static_assert(never<T>, "the result has a type that tests cannot compare");
  }
}

using Answer = std::function<std::string(const std::vector<Json>&)>;

template <class R, class F, class... A> Answer wrap_as(F call) {
  return [call](const std::vector<Json>& given) -> std::string {
    if (given.size() != sizeof...(A)) throw std::invalid_argument("another number of parameters");
    auto arguments = each_from<std::tuple<std::decay_t<A>...>>(given, std::index_sequence_for<A...>());
    std::string out;
    if constexpr (std::is_void_v<R>) std::apply(call, arguments), out = "null";
    else write<std::decay_t<R>>(out, std::apply(call, arguments));
    return out;
  };
}

template <class R, class... A> Answer wrap(R (*call)(A...)) {
  auto f = [call](std::decay_t<A>&... a) -> R { return call(static_cast<A&&>(a)...); };
  return wrap_as<R, decltype(f), A...>(f);
}

template <class R, class C, class... A> Answer wrap(R (C::*call)(A...)) {
  auto f = [call](std::decay_t<A>&... a) -> R { C made; return (made.*call)(static_cast<A&&>(a)...); };
  return wrap_as<R, decltype(f), A...>(f);
}

template <class R, class C, class... A> Answer wrap(R (C::*call)(A...) const) {
  auto f = [call](std::decay_t<A>&... a) -> R { C made; return (made.*call)(static_cast<A&&>(a)...); };
  return wrap_as<R, decltype(f), A...>(f);
}

inline bool read_all(char* to, size_t length) {
  for (size_t done = 0; done < length;) {
    ssize_t count = ::read(3, to + done, length - done);
    if (count <= 0) return false;
    done += count;
  }
  return true;
}

inline void send(const std::string& body) {
  std::cout.flush();
  std::fflush(nullptr);
  unsigned n = body.size();
  std::string frame{char(n >> 24), char(n >> 16), char(n >> 8), char(n)};
  frame += body;
  for (size_t done = 0; done < frame.size();) {
    ssize_t count = ::write(3, frame.data() + done, frame.size() - done);
    if (count <= 0) std::_Exit(1);
    done += count;
  }
}

inline std::string raised(const std::string& number, const std::string& name, const std::string& what) {
  std::string out = "[" + number + ", \"raised\", ";
  write_text(out, name);
  out += ", ";
  write_text(out, what.substr(0, 300));
  return out + "]";
}

inline std::string respond(const std::map<std::string, Answer>& table, const Json& question) {
  std::string number = std::to_string(question.items.at(0).integer);
  try {
    if (question.items.at(3).items.size()) throw std::invalid_argument("C++ has no keyword arguments");
    return "[" + number + ", \"value\", " + table.at(question.items.at(1).text)(question.items.at(2).items) + "]";
  } catch (const std::bad_alloc&) {
    return raised(number, "MemoryError", "");
  } catch (const std::exception& error) {
    char* name = abi::__cxa_demangle(typeid(error).name(), nullptr, nullptr, nullptr);
    return raised(number, name ? name : "exception", error.what());
  } catch (...) {
    return raised(number, "exception", "");
  }
}

inline int answer(const std::map<std::string, Answer>& table) {
  send("[\"ready\"]");
  unsigned char head[4];
  while (read_all((char*)head, 4)) {
    std::string body(size_t(head[0]) << 24 | head[1] << 16 | head[2] << 8 | head[3], 0);
    if (!read_all(&body[0], body.size())) break;
    Reader reader{body};
    send("[" + respond(table, reader.value()) + "]");
  }
  std::_Exit(0);
}

}  // namespace tamis
