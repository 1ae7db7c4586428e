"""The RealWorld "Conduit" API. The package imports nothing, so `conduit.traffic` needs no library."""
