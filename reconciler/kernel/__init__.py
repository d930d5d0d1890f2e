"""The only place that touches a kernel: sockets, namespaces, tools."""
