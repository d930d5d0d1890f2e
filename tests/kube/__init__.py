"""The tier of a real Kubernetes API: kube-apiserver, built once from the Go module proxy, with Debian's etcd, on loopback."""
