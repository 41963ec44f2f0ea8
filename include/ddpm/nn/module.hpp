// Modules are plain structs that name their members once:
//
//   static void members(auto& self, auto&& visit) {
//     visit("weight", self.weight);
//     visit("norm", self.norm);
//   }
//
// A member is a Variable (a parameter), a module, or a std::vector or std::optional of modules.
// walk() turns that into dotted names ("down.0.block.norm1.gamma"): parameter counts, optimisers,
// EMA and weight files all stand on it.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "ddpm/autograd/variable.hpp"

namespace ddpm::DDPM_ABI::nn {

/// What walk() calls for each parameter. One type, so that a module's walk is compiled once.
template <class T>
using ParameterVisitor = std::function<void(const std::string& name, Variable<T>& parameter)>;

namespace detail {

inline std::string dotted(const std::string& name, const char* own) {
  return name.empty() ? std::string(own) : name + "." + own;
}

template <class T, class M>
void walk_member(const std::string& name, M& member, const ParameterVisitor<T>& f) {
  if constexpr (std::is_same_v<M, Variable<T>>) {
    f(name, member);
  } else if constexpr (requires { member.has_value(); }) {  // std::optional
    if (member) walk_member<T>(name, *member, f);
  } else if constexpr (requires { member.size(); }) {  // std::vector
    for (std::size_t i = 0; i < member.size(); ++i)
      walk_member<T>(dotted(name, std::to_string(i).c_str()), member[i], f);
  } else {
    M::members(member,
               [&](const char* own, auto& inner) { walk_member<T>(dotted(name, own), inner, f); });
  }
}

/// What members() is called with, to see whether it can be.
struct AnyVisitor {
  void operator()(const char*, auto&) const {}
};

}  // namespace detail

/// A struct that names its members, see the head of this file.
template <class M>
concept Module = requires(M& module) {
  M::members(module, detail::AnyVisitor{});
};

/// Calls f(name, parameter) for every parameter, in a fixed order.
template <class T, class M>
void walk(M& module, const ParameterVisitor<T>& f) {
  detail::walk_member<T>(std::string(), module, f);
}

/// A parameter and its dotted name.
template <class T>
struct NamedParameter {
  std::string name;
  Variable<T> parameter;
};

/// All parameters, as handles: changing a value changes the module.
template <class T, class M>
std::vector<NamedParameter<T>> named_parameters(const M& module) {
  std::vector<NamedParameter<T>> result;
  M handles = module;
  walk<T>(handles, [&](const std::string& name, Variable<T>& parameter) {
    result.push_back({name, parameter});
  });
  return result;
}

template <class T, class M>
std::vector<Variable<T>> parameters(const M& module) {
  std::vector<Variable<T>> result;
  for (auto& named : named_parameters<T>(module)) result.push_back(named.parameter);
  return result;
}

/// Number of values in all parameters.
template <class T, class M>
Index parameter_count(const M& module) {
  Index count = 0;
  for (const auto& parameter : parameters<T>(module)) count += parameter.value().size();
  return count;
}

/// A module with parameters of its own, equal in value. (Copying a module copies handles.)
template <class T, class M>
M clone(const M& module) {
  M copy = module;
  walk<T>(copy, [](const std::string&, Variable<T>& parameter) {
    parameter = Variable<T>::parameter(parameter.value().clone());
  });
  return copy;
}

}  // namespace ddpm::DDPM_ABI::nn
