// The processes that mpirun started, if it did, or only this one.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <ddpm/distributed/communicator.hpp>
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
    interrupted = own;  // by a signal, which all ranks got: no reason to end the others
    return 0;
  });
  return status != 0 ? status : interrupted;
#else
  std::cerr << "error: started by mpirun, but built without MPI (Debian: libopenmpi-dev)\n";
  return 1;
#endif
}

}  // namespace examples
