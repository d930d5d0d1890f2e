//go:build tools

// What tests/kube builds: a real API server and a real kubelet, at the version that go.mod names.
package tools

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kubelet"
)
