# plumbline: `make demo` shows it, `make test` proves it, `make check` is quick and needs no root.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := iproute2 nftables procps iputils-ping util-linux
TOOLS := ip bridge nft sysctl ping nsenter unshare

.PHONY: setup packages bpf cni demo test test-vm test-kube test-containerd faults soak check golden schema images metrics manifests bench requirements clean

setup: $(VENV)/ready packages

$(VENV)/ready: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "plumbline needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# Debian packages: installed when root, else the one command that is missing is printed.
packages:
	@.ci/packages $(TOOLS) -- $(PACKAGES)

# The eBPF programs, for `plumbline` from this tree and for the wheel. Options of one's own: OBJECTS=FOLDER, BPF_CFLAGS=...
OBJECTS ?= reconciler/bpf
bpf: $(patsubst bpf/%.bpf.c,$(OBJECTS)/%.o,$(wildcard bpf/*.bpf.c))

$(OBJECTS)/%.o: bpf/%.bpf.c $(wildcard bpf/*.h) .ci/object
	@.ci/object $< $@ $(BPF_CFLAGS)

# The CNI plugin, a static program for the host. For another machine: CC=aarch64-linux-gnu-gcc PLUGIN=FILE
PLUGIN ?= reconciler/cni/plumbline
cni: $(PLUGIN)

$(PLUGIN): cni/plumbline.c .ci/plugin
	@.ci/plugin $< $@ $(CNI_CFLAGS)

demo: setup
	$(BIN)/plumbline lab demo examples/quickstart/network.yaml

test: setup
	@.ci/test $(BIN)

# Link types that this kernel may lack, in a stock Debian kernel under QEMU (minutes; root; its image is kept in .cache/vm).
test-vm: setup
	$(BIN)/python -m tests.vm $(ARGS)

# The tests of the API on a real kube-apiserver, and with a real kubelet: built once with Go (eleven minutes of two cores), kept in .cache/kube;
# with Debian's etcd, and for the kubelet with what test-containerd needs.
test-kube: setup
	$(BIN)/python -m tests.kube $(ARGS)

# Pods that containerd and runc run, in a room of their own (under a minute; root); what it needs is named where it is missing.
PLUMBLINE_CONTAINERD ?= 1
test-containerd: setup bpf
	PLUMBLINE_CONTAINERD=$(PLUMBLINE_CONTAINERD) .ci/test $(BIN) -n 0 tests/containerd

# One daemon, edited and broken this many times (about ten a second); says what it held before and after.
ACTS ?= 6000
soak: setup
	PLUMBLINE_SOAK=$(ACTS) .ci/test $(BIN) -n 0 -s tests/soak

# Every scenario under every fault, and kill -9 behind every line of every example: some ten minutes. `make test` takes a part of each.
faults: setup
	PLUMBLINE_FAULTS=all PATH=$$PATH:/usr/sbin:/sbin $(BIN)/python -m pytest -n 2 --dist worksteal -q tests/faults

check: $(VENV)/ready
	$(BIN)/ruff check reconciler tests
	$(BIN)/ruff format --check reconciler tests
	$(BIN)/mypy
	$(BIN)/lint-imports

golden: $(VENV)/ready
	PLUMBLINE_GOLDEN=write $(BIN)/pytest -q tests/golden

schema: $(VENV)/ready
	$(BIN)/plumbline schema > schema/network.schema.json

images: $(VENV)/ready
	$(BIN)/plumbline graph docs/images/network.yaml > docs/images/network.svg

metrics: $(VENV)/ready
	$(BIN)/python -c 'import sys; from reconciler.daemon.reference import page; sys.stdout.write(page())' > docs/metrics.md

# deploy/ from the chart; needs helm.
manifests:
	python3 deploy/generate.py "$$(PATH=$$PATH:$(CURDIR)/.cache/bin command -v helm || echo helm)"

bench: setup
	$(BIN)/python -m tests.bench
	$(BIN)/python -m tests.bench.joins
	$(BIN)/python -m tests.bench.repairs
	$(BIN)/python -m tests.bench.outage
	$(BIN)/python -m tests.bench.idle
	$(BIN)/python -m tests.bench.watches
	$(BIN)/python -m tests.bench.connects
	$(BIN)/python -m tests.bench.services

# The hashes of every dependency, development tools included, and of those alone that the image installs; no index address in the files.
requirements: pyproject.toml
	$(BIN)/pip-compile --quiet --strip-extras --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	  --allow-unsafe --extra dev --output-file requirements.txt pyproject.toml
	$(BIN)/pip-compile --quiet --strip-extras --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	  --allow-unsafe --no-header --constraint requirements.txt --output-file deploy/requirements.txt pyproject.toml

clean:
	rm -rf $(VENV) .cache build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis reconciler/bpf/*.o reconciler/cni/plumbline
