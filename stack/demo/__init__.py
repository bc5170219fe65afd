"""The whole flow on this machine: servers, simulated exchanges and the three stages, watched and accounted for."""
