// Enums whose values have names: what stands in files, on command lines and in messages.
//
//   enum class Colour { red, green };
//   template <>
//   inline constexpr auto enum_names<Colour> = named<Colour>("red", "green");
//
// The names stand beside the enum, in the order of its values, which count from 0. One name too few
// or too many does not compile.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cassert>
#include <optional>
#include <string>
#include <string_view>

#include "ddpm/core/error.hpp"

namespace ddpm::DDPM_ABI {

/// The names of E's values, for those enums that have a specialisation.
template <class E>
inline constexpr std::array<std::string_view, 0> enum_names{};

template <class E>
concept NamedEnum = std::is_enum_v<E> && !enum_names<E>.empty();

namespace detail {

/// Whether `value` is one of its enum's: the compiler then spells it by name, else as a cast.
template <auto value>
consteval bool is_enumerator() {
  const std::string_view name = __PRETTY_FUNCTION__;
  const std::size_t place = name.find("value = ") + 8;
  return name[place] != '(' && !(name[place] >= '0' && name[place] <= '9');
}

}  // namespace detail

/// The table for enum_names<E>.
template <class E, class... Names>
consteval std::array<std::string_view, sizeof...(Names)> named(Names... names) {
  constexpr int count = sizeof...(Names);
  static_assert(detail::is_enumerator<static_cast<E>(count - 1)>(),
                "named(): more names than the enum has values");
  static_assert(!detail::is_enumerator<static_cast<E>(count)>(),
                "named(): the enum has values without a name");
  return {names...};
}

template <NamedEnum E>
constexpr std::string_view name_of(E value) {
  assert(static_cast<std::size_t>(value) < enum_names<E>.size());
  return enum_names<E>[static_cast<std::size_t>(value)];
}

/// The value of that name, or nothing.
template <NamedEnum E>
constexpr std::optional<E> value_of(std::string_view name) {
  for (std::size_t i = 0; i < enum_names<E>.size(); ++i)
    if (enum_names<E>[i] == name) return static_cast<E>(i);
  return std::nullopt;
}

/// All names, "red, green", for messages and help texts.
template <NamedEnum E>
std::string list_of_names() {
  std::string list;
  for (const std::string_view name : enum_names<E>)
    list.append(list.empty() ? "" : ", ").append(name);
  return list;
}

}  // namespace ddpm::DDPM_ABI
