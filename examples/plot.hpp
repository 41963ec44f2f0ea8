// A line plot as SVG.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <sstream>
#include <string>
#include <vector>

namespace examples {

struct PlotPoint {
  double x, y;
};

struct Plot {
  std::string title, x_label, y_label;
  std::vector<PlotPoint> points;

  std::string svg() const {
    double right = 0, top = 0;
    for (const auto& p : points) {
      right = std::max(right, p.x);
      top = std::max(top, p.y);
    }
    const double x_step = tick(right), y_step = tick(top);
    right = std::max(1.0, std::ceil(right / x_step)) * x_step;
    top = std::max(1.0, std::ceil(top / y_step)) * y_step;
    const auto x_of = [&](double x) { return 70 + 480 * x / right; };
    const auto y_of = [&](double y) { return 340 - 290 * y / top; };
    std::ostringstream out;
    out << "<svg xmlns='http://www.w3.org/2000/svg' width='580' height='400' "
           "font-family='sans-serif' font-size='12'>\n<rect width='580' height='400' "
           "fill='white'/>\n";
    const auto text = [&](double x, double y, const char* more, const std::string& what) {
      out << "<text x='" << x << "' y='" << y << "' text-anchor='middle' " << more << '>' << what
          << "</text>\n";
    };
    const auto line = [&](double x1, double y1, double x2, double y2, const char* colour) {
      out << "<line x1='" << x1 << "' y1='" << y1 << "' x2='" << x2 << "' y2='" << y2
          << "' stroke='" << colour << "'/>\n";
    };
    for (double x = 0; x < right + x_step / 2; x += x_step) {
      line(x_of(x), 50, x_of(x), 340, "#dddddd");
      text(x_of(x), 358, "", number(x));
    }
    for (double y = 0; y < top + y_step / 2; y += y_step) {
      line(70, y_of(y), 550, y_of(y), "#dddddd");
      text(52, y_of(y) + 4, "", number(y));
    }
    line(70, 340, 550, 340, "black");
    line(70, 50, 70, 340, "black");
    text(310, 30, "font-size='15'", title);
    text(310, 385, "", x_label);
    text(20, 195, "transform='rotate(-90 20 195)'", y_label);
    out << "<polyline fill='none' stroke='#1f6fb4' stroke-width='2' points='";
    for (const auto& p : points) out << x_of(p.x) << ',' << y_of(p.y) << ' ';
    out << "'/>\n</svg>\n";
    return out.str();
  }

 private:
  /// A round distance between marks: five or so from 0 to `largest`.
  static double tick(double largest) {
    if (!(largest > 0)) return 1;
    const double power = std::pow(10.0, std::floor(std::log10(largest / 5)));
    for (const double factor : {1.0, 2.0, 5.0})
      if (largest / (factor * power) <= 6) return factor * power;
    return 10 * power;
  }

  static std::string number(double value) {
    std::ostringstream out;
    out << std::round(value * 1e6) / 1e6;
    return out.str();
  }
};

}  // namespace examples
