#include "ddpm/train/progress.hpp"

#include <fcntl.h>
#include <poll.h>

#include <sstream>

#include "../support.hpp"

using namespace test;

namespace {

/// What three updates print to `out`, read back from `in`. A terminal hands on what was written in
/// its own time, so read until a mark comes.
std::string shown(std::FILE* out, int in, Progress mode, Index done = 3) {
  {
    ProgressDisplay display("training", 3, mode, out);
    for (Index i = 1; i <= done; ++i) display.update(i, 32, 0.25);
  }
  std::fputc('$', out);
  std::fflush(out);
  std::string text;
  pollfd ready{in, POLLIN, 0};
  while (!text.ends_with('$') && ::poll(&ready, 1, 10'000) == 1) {
    char part[4096];
    const ssize_t size = ::read(in, part, sizeof part);
    REQUIRE(size > 0);
    text.append(part, std::size_t(size));
  }
  REQUIRE(text.ends_with('$'));
  text.pop_back();
  return text;
}

struct Pipe {
  int ends[2];
  std::FILE* out;
  Pipe() {
    REQUIRE(::pipe2(ends, O_NONBLOCK) == 0);
    out = ::fdopen(ends[1], "w");
  }
  ~Pipe() {
    std::fclose(out);
    ::close(ends[0]);
  }
};

}  // namespace

TEST_CASE("progress: plain lines into a pipe, nothing when silent") {
  Pipe pipe;
  const std::string text = shown(pipe.out, pipe.ends[0], Progress::automatic);
  CHECK(contains(text, "training 1/3  loss 0.2500"));
  CHECK(contains(text, "training 3/3  loss 0.2500"));
  CHECK(contains(text, "images/s  0:00 left\n"));
  CHECK_FALSE(contains(text, "\r"));
  CHECK_FALSE(contains(text, "\033"));
  Pipe quiet;
  CHECK(shown(quiet.out, quiet.ends[0], Progress::silent).empty());
}

namespace {

/// A terminal of its own, and what is written to it.
struct Terminal {
  int master;
  std::FILE* out;

  explicit Terminal(unsigned short columns)
      : master(::posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK)) {
    REQUIRE(master >= 0);
    REQUIRE(::grantpt(master) == 0);
    REQUIRE(::unlockpt(master) == 0);
    out = std::fopen(::ptsname(master), "w");
    REQUIRE(out != nullptr);
    winsize size{};
    size.ws_row = 25;
    size.ws_col = columns;
    REQUIRE(::ioctl(master, TIOCSWINSZ, &size) == 0);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  ~Terminal() {
    std::fclose(out);
    ::close(master);
  }
};

/// TERM as a test wants it, and as it was afterwards.
struct TermVariable {
  std::string before;
  explicit TermVariable(const char* value) {
    if (const char* old = std::getenv("TERM")) before = old;
    ::setenv("TERM", value, 1);
  }
  ~TermVariable() { ::setenv("TERM", before.c_str(), 1); }
};

}  // namespace

TEST_CASE("progress: a bar on a terminal, its line ended even if it stops early") {
  const TermVariable term("xterm");
  const Terminal terminal(200);
  const std::string whole = shown(terminal.out, terminal.master, Progress::automatic);
  CHECK(contains(whole, "\rtraining [########                ] 1/3"));
  CHECK(contains(whole, "\rtraining [########################] 3/3"));
  const std::string part = shown(terminal.out, terminal.master, Progress::automatic, 1);
  CHECK(part.ends_with("\n"));
}

TEST_CASE("progress: no line is longer than the terminal is wide") {
  const TermVariable term("xterm");
  for (const int columns : {10, 20, 39, 40, 60, 79, 80, 100, 132}) {
    CAPTURE(columns);
    const Terminal terminal(static_cast<unsigned short>(columns));
    const std::string text = shown(terminal.out, terminal.master, Progress::automatic);
    std::stringstream lines(text);
    for (std::string line; std::getline(lines, line, '\r');) {
      const std::string plain = line.substr(0, line.find('\033'));
      CHECK(std::ssize(plain) < columns);
    }
    if (columns >= 80) CHECK(contains(text, "[#"));
  }
}

TEST_CASE("progress: a terminal that cannot move its cursor gets plain lines") {
  const TermVariable term("dumb");
  const Terminal terminal(80);
  const std::string text = shown(terminal.out, terminal.master, Progress::automatic);
  CHECK_FALSE(contains(text, "\033"));
  CHECK(contains(text, "training 3/3"));
}
