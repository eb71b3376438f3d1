"""Generated protocol code of package parlante.v1; regenerate with `make gen`."""
