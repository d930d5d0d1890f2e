"""The eBPF objects, stub.o, sock.o and device.o: built by `make bpf` from bpf/*.bpf.c, never in git, in every wheel and image."""
