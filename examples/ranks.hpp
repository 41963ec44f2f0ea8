// The processes that mpirun started, if it did, or only this one.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <ddpm/distributed/communicator.hpp>
#include <ddpm/io/crc32.hpp>
#include <ddpm/io/safetensors_writer.hpp>
#ifdef DDPM_WITH_MPI
#include <ddpm/distributed/mpi.hpp>
#endif
#include <iostream>

namespace examples {

using ddpm::distributed::Ranks;

/// Runs body(ranks) on every process that mpirun started, or on this one. The exit status: body's,
/// which ends all processes if it tells an error, or 1.
template <class Body>
int on_ranks(const Body& body) {
  if (!ddpm::distributed::started_by_mpi()) return body(Ranks());
#ifdef DDPM_WITH_MPI
  int interrupted = 0;
  const int status = ddpm::distributed::run_with_mpi([&](ddpm::distributed::MpiRanks& mpi) {
    if (mpi.rank() != 0) std::cout.setstate(std::ios::failbit);  // rank 0 speaks for all
    const int own = body(Ranks(mpi));
    if (own <= 128) return own;
    interrupted = own;  // by a signal; nobody waits for this rank, and the others end by themselves
    return 0;
  });
  return status != 0 ? status : interrupted;
#else
  std::cerr << "error: started by mpirun, but built without MPI (Debian: libopenmpi-dev)\n";
  return 1;
#endif
}

/// Throws PreconditionError, on all ranks, unless `mine` is the same text on each.
inline void require_same(const Ranks& ranks, const ddpm::io::Metadata& mine) {
  if (ranks.size() == 1) return;
  std::vector<ddpm::Index> sums;
  for (const auto& [key, value] : mine) {
    ddpm::io::Crc32 sum;
    sum.add(value.data(), value.size());
    sums.push_back(static_cast<ddpm::Index>(sum.value()));
  }
  const auto all = ranks.gather(std::span<const ddpm::Index>(sums));
  for (std::size_t i = 0; i < all.size(); ++i)
    ddpm::require(
        all[i] == all[i % sums.size()], "rank ", i / sums.size(), " has other ",
        std::next(mine.begin(), static_cast<std::ptrdiff_t>(i % sums.size()))->first,
        " than rank 0; if a run is still going on, give a run state instead of its folder");
}

}  // namespace examples
