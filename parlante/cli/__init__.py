"""The command line: one module per command, all of them built on `parlante.client`."""
