"""Transport: servers, channels, interceptors and the ports over gRPC stubs."""
