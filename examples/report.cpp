// Writes a run's folder as one page of HTML.
//
// SPDX-License-Identifier: MIT
#include "report.hpp"

#include "common.hpp"

int main(int count, char** arguments) {
  CLI::App app{
      "Writes report.html into a run's folder: curves, pictures over time, settings, in one file "
      "that a browser opens. The run may be going on."};
  std::string folder;
  app.add_option("folder", folder, "the folder that a training writes to (--out)")->required();
  CLI11_PARSE(app, count, arguments);
  return examples::report_errors(
      [&] { std::cout << "wrote " << examples::write_report(folder).string() << '\n'; });
}
