// A run's folder as one page of HTML that needs no other file: curves, pictures, settings.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <ddpm/io/image.hpp>
#include <ddpm/train/metrics.hpp>
#include <map>
#include <nlohmann/json.hpp>

namespace examples {

using namespace ddpm;

namespace detail {

using Json = nlohmann::ordered_json;

inline std::string text_of(const std::filesystem::path& path) {
  const io::Bytes bytes = io::read_file(path);
  return {bytes.begin(), bytes.end()};
}

/// Bytes as text (RFC 4648).
inline std::string base64(const io::Bytes& bytes) {
  static constexpr char digits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const auto byte = [&](std::size_t k) {
      return i + k < bytes.size() ? std::uint32_t{bytes[i + k]} : 0U;
    };
    const std::uint32_t three = byte(0) << 16 | byte(1) << 8 | byte(2);
    for (std::size_t k = 0; k < 4; ++k)
      text += i + k > bytes.size() ? '=' : digits[three >> (18 - 6 * k) & 63];
  }
  return text;
}

/// A picture as an address that holds it.
inline Json source_of(const std::filesystem::path& picture) {
  if (!std::filesystem::exists(picture)) return nullptr;
  return "data:image/png;base64," + base64(io::read_file(picture));
}

/// The lines of metrics; of many, the means of groups that follow each other.
inline Json metrics_of(const std::filesystem::path& folder) {
  constexpr std::size_t most = 4000;
  std::vector<Json> lines;
  std::ifstream file(folder / metrics_name);
  for (std::string line; std::getline(file, line);)
    if (step_of_metrics(line) > 0)
      if (Json read = Json::parse(line, nullptr, false); read.is_object()) lines.push_back(read);
  const std::size_t group = (lines.size() + most - 1) / most;
  Json result = Json::array();
  const auto mean = [](const std::vector<Json>& values) -> Json {
    double sum = 0, count = 0;
    for (const Json& value : values)
      if (value.is_number()) sum += value.get<double>(), ++count;
    return count > 0 ? Json(sum / count) : Json();
  };
  for (std::size_t first = 0; first < lines.size(); first += group) {
    const std::size_t end = std::min(first + group, lines.size());
    const auto over = [&](const std::string& pointer) {
      std::vector<Json> values;
      for (std::size_t i = first; i < end; ++i)
        values.push_back(lines[i].value(Json::json_pointer(pointer), Json()));
      return mean(values);
    };
    Json point{{"step", lines[end - 1].value("step", 0)}};
    for (const char* name : {"loss", "gradient_norm", "learning_rate", "images_per_second"})
      point[name] = over(std::string("/") + name);
    for (const char* quarter : {"0", "1", "2", "3"})
      point["loss_by_time"].push_back(over(std::string("/loss_by_time/") + quarter));
    result.push_back(point);
  }
  return result;
}

/// The grids samples-500.png and so on, by their update, and samples.png after the last.
inline Json grids_of(const std::filesystem::path& folder, const Json& metrics) {
  std::map<Index, std::filesystem::path> grids;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    Index step = 0;
    if (name.starts_with("samples-") && name.ends_with(".png") &&
        ddpm::detail::from_text(name.substr(8, name.size() - 12), step))
      grids[step] = entry.path();
  }
  if (std::filesystem::exists(folder / "samples.png"))
    grids[metrics.empty() ? 0 : metrics.back()["step"].get<Index>()] = folder / "samples.png";
  Json result = Json::array();
  for (const auto& [step, path] : grids)
    result.push_back({{"step", step}, {"source", source_of(path)}});
  return result;
}

inline std::string html_text(const std::string& text) {
  std::string result;
  for (const char c : text)
    if (c == '<' || c == '>' || c == '&')
      result += c == '<' ? "&lt;" : c == '>' ? "&gt;" : "&amp;";
    else
      result += c;
  return result;
}

/// The template with each @name@ replaced.
inline std::string filled(const std::string& page,
                          const std::map<std::string, std::string>& parts) {
  std::string result;
  for (std::size_t at = 0; at < page.size();) {
    const std::size_t start = page.find('@', at);
    const std::size_t end = start == page.npos ? page.npos : page.find('@', start + 1);
    const auto part =
        end == page.npos ? parts.end() : parts.find(page.substr(start + 1, end - start - 1));
    if (part == parts.end()) {
      const std::size_t next = start == page.npos ? page.size() : start + 1;
      result.append(page, at, next - at);
      at = next;
    } else {
      result.append(page, at, start - at);
      result += part->second;
      at = end + 1;
    }
  }
  return result;
}

}  // namespace detail

/// Writes report.html into a run's folder, while the run goes on or later. Throws IoError if there
/// is no run, or the page cannot be written.
inline std::filesystem::path write_report(const std::filesystem::path& folder) {
  using detail::Json;
  const std::filesystem::path parts = DDPM_REPORT_PARTS;
  if (!std::filesystem::exists(folder / metrics_name))
    throw IoError(
        message(folder.string(), ": holds no ", metrics_name, ", so no run that was recorded"));
  Json settings = Json::object();
  double aspect = 1;
  if (std::filesystem::exists(folder / "run.json")) {
    settings = Json::parse(detail::text_of(folder / "run.json"), nullptr, false);
    if (!settings.is_object()) settings = Json::object();
    aspect = settings.value("aspect", 1.0);
    settings.erase("aspect");
  }
  const Json metrics = detail::metrics_of(folder);
  const Json data{{"metrics", metrics},
                  {"grids", detail::grids_of(folder, metrics)},
                  {"strip", detail::source_of(folder / "strip.png")},
                  {"nearest", detail::source_of(folder / "nearest.png")},
                  {"aspect", aspect},
                  {"settings", settings}};
  std::string script = data.dump(-1, ' ', true, Json::error_handler_t::replace);
  for (std::size_t at = 0; (at = script.find('<', at)) != script.npos;)
    script.replace(at, 1, "\\u003c");  // no end of the script in a text
  const std::string title =
      "Training of " + settings.value("network", std::string("a diffusion model"));
  const std::string summary =
      metrics.empty() ? "No update was made yet."
                      : message(metrics.back()["step"].get<Index>(), " updates, ",
                                settings.value("images", std::string("unknown images")));
  const std::string page = detail::filled(
      detail::text_of(parts / "report.html"),
      {{"title", detail::html_text(title)},
       {"summary", detail::html_text(summary)},
       {"data", script},
       {"plot_code", detail::text_of(parts / "dygraph.min.js")},
       {"plot_style", detail::text_of(parts / "dygraph.min.css")},
       {"plot_licence", detail::html_text(detail::text_of(parts / "LICENSE-dygraphs"))}});
  io::write_file(folder / "report.html", page.data(), page.size());
  return folder / "report.html";
}

}  // namespace examples
