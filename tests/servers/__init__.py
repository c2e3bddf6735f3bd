"""Several servers on one store are one chat."""
