// Processes that work on one run together, the ranks, and what they need of each other.
//
// Only bytes go between ranks: every sum is made by this library, in an order of its own
// (distributed/tree_sum.hpp), so that results do not depend on the engine that moves them.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "ddpm/core/shape.hpp"

namespace ddpm::DDPM_ABI::distributed {

/// One of `size()` ranks, this one being number `rank()`. Arrays of n bytes are cut into blocks of
/// `block` bytes, one a rank; the last ones may be shorter, or empty.
///
///   all_to_all(from, to, block)   block r of `from` goes to rank r; `to`, as long as size() times
///                                 this rank's block, gets those that the others have for this one,
///                                 each in its rank's place; this rank's own place is left as it is
///   all_gather(from, to, block)   this rank's block `from` goes into the same place of every
///                                 rank's `to`; it may stand there already
///   abort(message)                ends the work of all ranks, which tell the message
///
/// Every rank makes the same calls with the same sizes in the same order, from one thread at a
/// time; a call returns when this rank's bytes have come and gone.
template <class C>
concept Communicator = requires(C& ranks, std::span<const std::byte> from, std::span<std::byte> to,
                                std::size_t block, const std::string& message) {
  { ranks.rank() } -> std::convertible_to<Index>;
  { ranks.size() } -> std::convertible_to<Index>;
  ranks.all_to_all(from, to, block);
  ranks.all_gather(from, to, block);
  ranks.abort(message);
};

/// A part [first, first + count) of something that the ranks share.
struct Share {
  Index first, count;
};

/// Block number `rank` of n things in blocks of `block`.
inline Share block_of(Index n, Index block, Index rank) {
  const Index first = std::min(n, rank * block);
  return {first, std::min(n - first, block)};
}

/// A communicator, whatever its type; it must outlive this. By default one process on its own.
class Ranks {
 public:
  Ranks() = default;
  template <Communicator C>
  requires(!std::same_as<C, Ranks>) explicit Ranks(C& communicator)
      : link_(std::make_shared<LinkTo<C>>(communicator)) {}

  Index rank() const { return link_ ? link_->rank() : 0; }
  Index size() const { return link_ ? link_->size() : 1; }

  /// As the communicator's, of values; `block` counts values.
  template <class T>
  void all_to_all(std::span<const T> from, std::span<T> to, Index block) const {
    if (link_) link_->all_to_all(std::as_bytes(from), std::as_writable_bytes(to), bytes<T>(block));
  }
  template <class T>
  void all_gather(std::span<const T> from, std::span<T> to, Index block) const {
    if (link_)
      link_->all_gather(std::as_bytes(from), std::as_writable_bytes(to), bytes<T>(block));
    else if (from.data() != to.data())
      std::copy(from.begin(), from.end(), to.begin());
  }
  /// The values of all ranks, one rank's behind the other's; each gives as many.
  template <class T>
  std::vector<T> gather(std::span<const T> mine) const {
    std::vector<T> all(mine.size() * static_cast<std::size_t>(size()));
    all_gather(mine, std::span(all), std::ssize(mine));
    return all;
  }
  /// Ends the others too, if there are any.
  void abort(const std::string& message) const {
    if (size() > 1) link_->abort(message);
  }

 private:
  struct Link {
    virtual ~Link() = default;
    virtual Index rank() const = 0;
    virtual Index size() const = 0;
    virtual void all_to_all(std::span<const std::byte>, std::span<std::byte>, std::size_t) = 0;
    virtual void all_gather(std::span<const std::byte>, std::span<std::byte>, std::size_t) = 0;
    virtual void abort(const std::string&) = 0;
  };

  template <class C>
  struct LinkTo final : Link {
    C& to;
    explicit LinkTo(C& communicator) : to(communicator) {}
    Index rank() const override { return to.rank(); }
    Index size() const override { return to.size(); }
    void all_to_all(std::span<const std::byte> a, std::span<std::byte> b, std::size_t n) override {
      to.all_to_all(a, b, n);
    }
    void all_gather(std::span<const std::byte> a, std::span<std::byte> b, std::size_t n) override {
      to.all_gather(a, b, n);
    }
    void abort(const std::string& message) override { to.abort(message); }
  };

  template <class T>
  static std::size_t bytes(Index count) {
    static_assert(std::is_trivially_copyable_v<T>);
    return static_cast<std::size_t>(count) * sizeof(T);
  }

  std::shared_ptr<Link> link_;
};

/// Whether mpirun, or another launcher of MPI programs, started this process.
inline bool started_by_mpi() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE"})
    if (std::getenv(name) != nullptr) return true;
  return false;
}

}  // namespace ddpm::DDPM_ABI::distributed
